-- Lua's patterns in Lua, so that the hook counts their steps. Used only where LuaJIT's own matcher, which nothing can
-- interrupt, might take long; see text.lua.
--
-- A pattern becomes a list of items once; matching follows the reference implementation step by step, so that it finds
-- the same and raises the same. Sets of characters are asked of LuaJIT's matcher, one character at a time.
--
-- What cannot match is not tried, where nothing in the pattern could tell: a repetition is followed only where what
-- comes next can begin (`prepare`), a search goes on behind the run that its first item has failed with (`search`), and
-- runs of characters are LuaJIT's to count. So ordinary patterns take some steps for each word of a long subject, and
-- not for each pair of its characters.
--
-- Source: Lua 5.1 reference manual, section 5.4.1.

local R = ...
local byte, char, sub, find, gsub = string.byte, string.char, string.sub, string.find, string.gsub
local concat, error, type, tonumber, tostring, next = table.concat, error, type, tonumber, tostring, next
local native_find, native_match, look_sometimes = string.find, string.match, R.look_sometimes

local CHAR, OPEN, CLOSE, POSITION, BACK, BALANCE, FRONTIER, FINISH, ERROR = 1, 2, 3, 4, 5, 6, 7, 8, 9
local UNFINISHED, PLACE = -1, -2
local CAPTURES_MAX = 32 -- LUA_MAXCAPTURES of luaconf.h
local SETS_KEPT = 200 -- chosen: more than the scripts of one installation hold
local UNCOUNTED_MAX = 16384 -- octets, chosen: passed over in some ten microseconds

local sets, sets_kept = {}, 0

-- The octets that a class such as `%a`, `[^x]` or `.` holds, as a table octet -> true.
local function members(class)
  local set = sets[class]
  if set then return set end
  set = {}
  local pattern = "^" .. class
  for octet = 0, 255 do
    if find(char(octet), pattern) then set[octet] = true end
  end
  if sets_kept >= SETS_KEPT then sets, sets_kept = {}, 0 end
  sets[class], sets_kept = set, sets_kept + 1
  return set
end

-- Where a class that begins at `at` ends; nil and what is wrong.
local function class_end(p, at)
  local c = sub(p, at, at)
  if c == "%" then
    if at >= #p then return nil, "malformed pattern (ends with '%')" end
    return at + 1
  end
  if c ~= "[" then return at end
  local i = at + 1
  if sub(p, i, i) == "^" then i = i + 1 end
  repeat
    if i > #p then return nil, "malformed pattern (missing ']')" end
    local x = sub(p, i, i)
    i = i + 1
    if x == "%" then
      if i > #p then return nil, "malformed pattern (missing ']')" end
      i = i + 1
    end
  until sub(p, i, i) == "]"
  return i
end

-- A character's class that LuaJIT's matcher reads as that character, whatever it is.
local function literal(c)
  if find(c, "[%w%z\128-\255]") then return c == "\0" and "%z" or c end
  return "%" .. c
end

local function single(p, at, items)
  local last, wrong = class_end(p, at)
  if not last then
    items[#items + 1] = {kind = ERROR, text = wrong}
    return #p + 1
  end
  local class = sub(p, at, last)
  if last == at and class ~= "." then class = literal(class) end
  local item = {kind = CHAR, class = class}
  local suffix = sub(p, last + 1, last + 1)
  if suffix == "*" or suffix == "+" or suffix == "-" or suffix == "?" then
    item.repeats = suffix
    last = last + 1
  end
  items[#items + 1] = item
  return last + 1
end

local function escaped(p, at, items)
  local c = sub(p, at + 1, at + 1)
  if c == "b" then
    if at + 3 > #p then
      items[#items + 1] = {kind = ERROR, text = "unbalanced pattern"}
      return #p + 1
    end
    items[#items + 1] = {kind = BALANCE, first = byte(p, at + 2), last = byte(p, at + 3)}
    return at + 4
  end
  if c == "f" then
    local last, wrong
    if sub(p, at + 2, at + 2) ~= "[" then
      wrong = "missing '[' after '%f' in pattern"
    else
      last, wrong = class_end(p, at + 2)
    end
    if not last then
      items[#items + 1] = {kind = ERROR, text = wrong}
      return #p + 1
    end
    items[#items + 1] = {kind = FRONTIER, class = sub(p, at + 2, last)}
    return last + 1
  end
  if find(c, "^%d") then
    items[#items + 1] = {kind = BACK, index = tonumber(c)}
    return at + 2
  end
  return single(p, at, items)
end

-- The items of a pattern; `anchored` says whether it begins with a `^` that means the start.
local function compile(p, honours_anchor)
  local items = {}
  local at = 1
  if honours_anchor and sub(p, 1, 1) == "^" then
    items.anchored = true
    at = 2
  end
  while at <= #p do
    local c = sub(p, at, at)
    if c == "(" then
      if sub(p, at + 1, at + 1) == ")" then
        items[#items + 1] = {kind = POSITION}
        at = at + 2
      else
        items[#items + 1] = {kind = OPEN}
        at = at + 1
      end
    elseif c == ")" then
      items[#items + 1] = {kind = CLOSE}
      at = at + 1
    elseif c == "$" and at == #p then
      items[#items + 1] = {kind = FINISH}
      at = at + 1
    elseif c == "%" then
      at = escaped(p, at, items)
    else
      at = single(p, at, items)
    end
  end
  return items
end

local match -- of items from `i` on at octet `at` of the subject: where it ends, or nil

-- Octets that LuaJIT has looked at, which no hook counts.
local uncounted = 0
local function count(octets)
  uncounted = uncounted + octets
  if uncounted > UNCOUNTED_MAX then
    uncounted = 0
    look_sometimes()
  end
end

-- Behind the run of an item's characters that begins at `at`.
local function run_end(m, item, at)
  if item.class == "." then return m.length + 1 end
  if not item.set[byte(m.subject, at)] then return at end
  local stop = native_match(m.subject, item.run, at)
  count(stop - at)
  return stop
end

local function greedy(m, item, at, i)
  local last = run_end(m, item, at)
  local follows = item.follows
  if not follows then
    while last >= at do
      local stop = match(m, last, i + 1)
      if stop then return stop end
      last = last - 1
    end
    return nil
  end
  local subject, n = m.subject, m.length
  if last > n then
    if item.may_end then
      local stop = match(m, last, i + 1)
      if stop then return stop end
    end
    last = n
  end
  if item.is_apart then -- nothing of the run can begin what follows
    if last >= at and follows[byte(subject, last)] then return match(m, last, i + 1) end
    return nil
  end
  while last >= at do
    if follows[byte(subject, last)] then
      local stop = match(m, last, i + 1)
      if stop then return stop end
    end
    last = last - 1
  end
end

-- The same for a `.-` of which it is known what may follow.
local function lazy_any(m, item, at, i)
  local subject, n, wanted = m.subject, m.length, item.wanted
  while wanted and at <= n do
    local next_one = native_find(subject, wanted, at)
    count((next_one or n) - at)
    if not next_one then break end
    local stop = match(m, next_one, i + 1)
    if stop then return stop end
    at = next_one + 1
  end
  if item.may_end then return match(m, n + 1, i + 1) end
end

local function lazy(m, item, at, i)
  local follows = item.follows
  if follows and item.class == "." then return lazy_any(m, item, at, i) end
  local set, subject, n = item.set, m.subject, m.length
  while true do
    if not follows or follows[byte(subject, at)] or at > n and item.may_end then
      local stop = match(m, at, i + 1)
      if stop then return stop end
    end
    if at > n or not set[byte(subject, at)] then return nil end
    at = at + 1
  end
end

local function open(m, at, i, length)
  if m.level >= CAPTURES_MAX then error("too many captures", 0) end
  local level = m.level + 1
  m.level, m.from[level], m.size[level] = level, at, length
  local stop = match(m, at, i + 1)
  if not stop then m.level = level - 1 end
  return stop
end

local function close(m, at, i)
  local level = m.level
  while level > 0 and m.size[level] ~= UNFINISHED do level = level - 1 end
  if level == 0 then error("invalid pattern capture", 0) end
  m.size[level] = at - m.from[level]
  local stop = match(m, at, i + 1)
  if not stop then m.size[level] = UNFINISHED end
  return stop
end

local function back(m, at, i, index)
  if index < 1 or index > m.level or m.size[index] == UNFINISHED then error("invalid capture index", 0) end
  local size = m.size[index]
  if size < 0 or at + size - 1 > m.length then return nil end
  if sub(m.subject, m.from[index], m.from[index] + size - 1) ~= sub(m.subject, at, at + size - 1) then
    return nil
  end
  return match(m, at + size, i + 1)
end

local function balance(m, at, i, item)
  local subject, n, first, last = m.subject, m.length, item.first, item.last
  if at > n or byte(subject, at) ~= first then return nil end
  local depth = 1
  for here = at + 1, n do
    local c = byte(subject, here)
    if c == last then
      depth = depth - 1
      if depth == 0 then return match(m, here + 1, i + 1) end
    elseif c == first then
      depth = depth + 1
    end
  end
end

function match(m, at, i)
  local items, subject, n = m.items, m.subject, m.length
  while true do
    local item = items[i]
    if not item then return at end
    local kind = item.kind
    if kind == CHAR then
      local repeats = item.repeats
      if repeats == nil then
        if at > n or not item.set[byte(subject, at)] then return nil end
        at, i = at + 1, i + 1
      elseif repeats == "?" then
        if at <= n and item.set[byte(subject, at)] then
          local stop = match(m, at + 1, i + 1)
          if stop then return stop end
        end
        i = i + 1
      elseif repeats == "-" then
        return lazy(m, item, at, i)
      elseif repeats == "*" then
        return greedy(m, item, at, i)
      else
        if at > n or not item.set[byte(subject, at)] then return nil end
        return greedy(m, item, at + 1, i)
      end
    elseif kind == FINISH then
      return at == n + 1 and at or nil
    elseif kind == OPEN then
      return open(m, at, i, UNFINISHED)
    elseif kind == POSITION then
      return open(m, at, i, PLACE)
    elseif kind == CLOSE then
      return close(m, at, i)
    elseif kind == BACK then
      return back(m, at, i, item.index)
    elseif kind == BALANCE then
      return balance(m, at, i, item)
    elseif kind == FRONTIER then
      local before = at == 1 and 0 or byte(subject, at - 1)
      local after = at > n and 0 or byte(subject, at)
      if item.set[before] or not item.set[after] then return nil end
      i = i + 1
    else
      error(item.text, 0)
    end
  end
end

local function capture(m, index, start, stop)
  if index > m.level then
    if index ~= 1 then error("invalid capture index", 0) end
    return sub(m.subject, start, stop - 1)
  end
  local size = m.size[index]
  if size == UNFINISHED then error("unfinished capture", 0) end
  if size == PLACE then return m.from[index] end
  return sub(m.subject, m.from[index], m.from[index] + size - 1)
end

-- The captures, the whole match if there are none and `whole` is set; as a list and their number.
local function captures(m, start, stop, whole)
  local count = (m.level == 0 and whole) and 1 or m.level
  local list = {}
  for index = 1, count do list[index] = capture(m, index, start, stop) end
  return list, count
end

-- Whether the items can neither raise an error nor depend on what a capture holds.
local function is_plain(items)
  local open_ones, all = 0, 0
  for i = 1, #items do
    local kind = items[i].kind
    if kind == OPEN then
      open_ones, all = open_ones + 1, all + 1
    elseif kind == POSITION then
      all = all + 1
    elseif kind == CLOSE then
      open_ones = open_ones - 1
    end
    if kind == ERROR or kind == BACK or open_ones < 0 or all > CAPTURES_MAX then return false end
  end
  return true
end

local classes, classes_kept = {}, 0 -- names of sets -> a class that holds all of them

local function class_of(key, set)
  local class = classes[key]
  if class then return class end
  local parts = {}
  for octet = 0, 255 do
    if set[octet] then parts[#parts + 1] = literal(char(octet)) end
  end
  class = "[" .. concat(parts) .. "]"
  if classes_kept >= SETS_KEPT then classes, classes_kept = {}, 0 end
  classes[key], classes_kept = class, classes_kept + 1
  return class
end

-- What the items from `from` on can begin with: octets, their names, whether the subject may end there; nil: anything.
local function first_of(items, from)
  local set, names = {}, {}
  for i = from, #items do
    local item = items[i]
    local kind, repeats = item.kind, item.repeats
    if kind == CHAR then
      for octet in next, item.set do set[octet] = true end
      names[#names + 1] = item.class
      if repeats == nil or repeats == "+" then return set, concat(names, "\0"), false end
    elseif kind == FINISH then
      return set, concat(names, "\0"), true
    elseif kind == BALANCE then
      set[item.first] = true
      names[#names + 1] = "%b" .. char(item.first)
      return set, concat(names, "\0"), false
    elseif kind == FRONTIER then
      return nil
    end
  end
end

-- Says of each repetition what can follow it, and of the first item how a search goes on.
local function prepare(items)
  if not is_plain(items) then return end
  for i = 1, #items do
    local item = items[i]
    if item.repeats and item.repeats ~= "?" then
      local follows, key, may_end = first_of(items, i + 1)
      if follows then
        item.follows, item.may_end, item.is_apart = follows, may_end, true
        for octet in next, follows do
          if item.set[octet] then item.is_apart = false break end
        end
        if item.class == "." and item.repeats == "-" and next(follows) ~= nil then
          item.wanted = class_of(key, follows)
        end
      end
    end
  end
  local at = 1
  while items[at] and (items[at].kind == OPEN or items[at].kind == POSITION) do at = at + 1 end
  local first = items[at]
  if not first or first.kind ~= CHAR then return end
  if first.repeats == nil or first.repeats == "+" then items.jump = first.class end
  if first.repeats and first.repeats ~= "?" then items.run = first end
end

local function machine(s, items)
  for i = 1, #items do
    local item = items[i]
    if item.class then
      item.set = members(item.class)
      if item.repeats then item.run = "^" .. item.class .. "*()" end
    end
  end
  prepare(items)
  return {subject = s, length = #s, items = items, level = 0, from = {}, size = {}}
end

-- The first place from `at` on where a match may begin; nil if there is none.
local function candidate(m, at)
  local items, subject, n = m.items, m.subject, m.length
  local jump, run = items.jump, items.run
  while true do
    if jump then
      local found = native_find(subject, jump, at)
      if not found then return nil end
      count(found - at)
      at = found
    end
    if not run or not run.is_apart then return at end
    local last = run_end(m, run, at)
    if last > n then return run.may_end and at or nil end
    if run.follows[byte(subject, last)] then return at end
    at = last + 1
  end
end

-- The first match at `init` or later: start, end behind it, the machine; nil if there is none.
local function search(m, init)
  local anchored, run = m.items.anchored, m.items.run
  local at = init
  while at <= m.length + 1 do
    if not anchored then
      at = candidate(m, at)
      if not at then return nil end
    end
    m.level = 0
    local stop = match(m, at, 1)
    if stop then return at, stop end
    if anchored then return nil end
    -- from within the run, the items behind it would be tried where they have failed
    at = run and run_end(m, run, at) + 1 or at + 1
  end
end

local function start_of(s, init)
  init = init or 1
  if init < 0 then init = #s + init + 1 end
  if init < 1 then init = 1 end
  if init > #s + 1 then init = #s + 1 end
  return init
end

local unpack = unpack
local slow = {}

-- As find with `plain`: a search that the hook can interrupt.
function slow.plain(s, p, init)
  local items = {}
  for at = 1, #p do items[at] = {kind = CHAR, class = literal(sub(p, at, at))} end
  local start, stop = search(machine(s, items), start_of(s, init))
  if not start then return nil end
  return start, stop - 1
end

function slow.find(s, p, init)
  -- without any of these, LuaJIT takes the pattern for text
  if not find(p, "[%^%$%*%+%?%.%(%[%%%-]") then return slow.plain(s, p, init) end
  local m = machine(s, compile(p, true))
  local start, stop = search(m, start_of(s, init))
  if not start then return nil end
  local list, count = captures(m, start, stop, false)
  return start, stop - 1, unpack(list, 1, count)
end

function slow.match(s, p, init)
  local m = machine(s, compile(p, true))
  local start, stop = search(m, start_of(s, init))
  if not start then return nil end
  local list, count = captures(m, start, stop, true)
  return unpack(list, 1, count)
end

function slow.gmatch(s, p)
  local m = machine(s, compile(p, false))
  local at = 1
  return function()
    if at > m.length + 1 then return nil end
    local start, stop = search(m, at)
    if not start then
      at = m.length + 2
      return nil
    end
    at = stop == start and stop + 1 or stop
    local list, count = captures(m, start, stop, true)
    return unpack(list, 1, count)
  end
end

-- A string that stands for matches, with %0 to %9 replaced.
local function expand(m, template, start, stop)
  local parts, at, n = {}, 1, #template
  while at <= n do
    local mark = find(template, "%", at, true)
    if not mark then
      parts[#parts + 1] = sub(template, at)
      break
    end
    parts[#parts + 1] = sub(template, at, mark - 1)
    local c = sub(template, mark + 1, mark + 1)
    if c == "0" then
      parts[#parts + 1] = sub(m.subject, start, stop - 1)
    elseif find(c, "^%d") then
      parts[#parts + 1] = capture(m, tonumber(c), start, stop)
    else
      parts[#parts + 1] = c == "" and "\0" or c
    end
    at = mark + 2
  end
  return concat(parts)
end

-- Calls back from within a C function, so that a wait is refused here as it is in LuaJIT's own gsub.
local function within_c(f, list, count)
  local result
  gsub("x", "x", function() result = f(unpack(list, 1, count)) end)
  return result
end

local function replacement(m, repl, start, stop)
  local kind = type(repl)
  local value
  if kind == "string" then return expand(m, repl, start, stop) end
  if kind == "function" then
    value = within_c(repl, captures(m, start, stop, true))
  else
    value = repl[capture(m, 1, start, stop)]
  end
  if not value then return sub(m.subject, start, stop - 1) end
  if type(value) ~= "string" and type(value) ~= "number" then
    error("invalid replacement value (a " .. type(value) .. ")", 0)
  end
  return value
end

function slow.gsub(s, p, repl, limit)
  local m = machine(s, compile(p, true))
  local parts, done, at, n = {}, 0, 1, #s
  local made, claimed = 0, 0
  if type(repl) == "number" then repl = tostring(repl) end
  while done < limit do
    local start, stop = search(m, at)
    if not start then break end
    done = done + 1
    if start > at then parts[#parts + 1] = sub(s, at, start - 1) end
    local value = replacement(m, repl, start, stop)
    parts[#parts + 1] = value
    made = made + (type(value) == "string" and #value or 24)
    if made > claimed then
      claimed = made + 65536
      R.claim(claimed)
    end
    at = stop
    if stop == start then -- an empty match: the character behind it stays
      if start > n then break end
      parts[#parts + 1] = sub(s, start, start)
      at = start + 1
    end
    if m.items.anchored then break end
  end
  parts[#parts + 1] = sub(s, at)
  R.claim(#s)
  return concat(parts), done
end

-- How long a subject LuaJIT's own matcher may be given: what it may need grows with its length, to a power that
-- depends on how many repetitions have to be tried against what follows them.
local STEPS_MAX = 1e6 -- chosen: some 3 milliseconds
function R.subject_max(p)
  local items = compile(p, true)
  local power = items.anchored and 0 or 1
  local weight = 1
  for i = 1, #items do
    local item = items[i]
    local repeats = item.repeats
    local closes = true -- only captures follow
    for after = i + 1, #items do
      if items[after].kind ~= CLOSE and items[after].kind ~= OPEN then closes = false break end
    end
    if repeats == "?" then
      if not closes then weight = weight * 2 end
    elseif (repeats or item.kind == BACK or item.kind == BALANCE) and not closes then
      power = power + 1
    elseif repeats and power > (items.anchored and 0 or 1) then
      power = power + 1
    elseif item.kind == BALANCE or item.kind == BACK then
      power = power + 1
    end
  end
  weight = weight * #items
  if power <= 1 then return STEPS_MAX / weight * 4 end
  return (STEPS_MAX / weight) ^ (1 / power)
end

R.slow = slow
