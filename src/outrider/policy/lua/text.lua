-- The functions of `string` and `table` that could take long where no hook fires: within LuaJIT's C code.
--
-- A pattern is given to LuaJIT's own matcher only if the worst that it could need is bounded (`R.subject_max`), and to
-- patterns.lua otherwise. What makes much text claims its memory first.

local R = ...
local find, match, gmatch, gsub, rep = string.find, string.match, string.gmatch, string.gsub, string.rep
local concat, sort, insert, remove = table.concat, table.sort, table.insert, table.remove
local type, tonumber, rawget, floor, sub = type, tonumber, rawget, math.floor, string.sub
local claim, look_sometimes, slow, subject_max = R.claim, R.look_sometimes, R.slow, R.subject_max
local call_back, raise, setmetatable = R.call_back, R.raise, setmetatable

local PATTERNS_KEPT = 500 -- chosen: more than the scripts of one installation hold
local PATTERN_KEPT_MAX = 256 -- octets, chosen: longer ones are made up by a program and do not come again
local SHORT = 256 -- octets, chosen: what takes a microsecond
local LARGE = 65536 -- octets, chosen: what is worth asking for first
local PLAIN_MAX = 1e8 -- octets compared at the worst, chosen: some 10 milliseconds
local GSUB_MAX = 1e7 -- octets made at the worst, chosen: some milliseconds
local LONG_TABLE = 10000 -- entries, chosen: moving or sorting them takes tens of microseconds
local SORT_MAX = 50000 -- entries, chosen: sorted without a hook in some 10 milliseconds

local limits, kept = {}, 0

local function longest(p)
  local n = limits[p]
  if n then return n end
  n = subject_max(p)
  if #p <= PATTERN_KEPT_MAX then
    if kept >= PATTERNS_KEPT then limits, kept = {}, 0 end
    limits[p], kept = n, kept + 1
  end
  return n
end

local strings = {}
for name, f in pairs(string) do
  if name ~= "dump" then strings[name] = f end
end

local function whole(init) return init and floor(tonumber(init) or 1) end

function strings.find(s, p, init, plain)
  if type(s) == "string" and type(p) == "string" and #s > SHORT / 8 then
    if plain then
      if #s * #p > PLAIN_MAX then return slow.plain(s, p, whole(init)) end
    elseif #s > longest(p) then
      return slow.find(s, p, whole(init))
    end
    if #s > SHORT then look_sometimes() end
  elseif type(p) == "string" and not plain and longest(p) < SHORT / 8 and type(s) == "string" then
    return slow.find(s, p, whole(init))
  end
  return find(s, p, init, plain)
end

function strings.match(s, p, init)
  if type(s) == "string" and type(p) == "string" then
    if #s > longest(p) then return slow.match(s, p, whole(init)) end
    if #s > SHORT then look_sometimes() end
  end
  return match(s, p, init)
end

function strings.gmatch(s, p)
  if type(s) == "string" and type(p) == "string" then
    -- here a `^` at the start is no anchor
    if #s > longest(sub(p, 1, 1) == "^" and "%" .. p or p) then return slow.gmatch(s, p) end
    if #s > SHORT then look_sometimes() end
  end
  return gmatch(s, p)
end
strings.gfind = strings.gmatch -- as Lua 5.1 still calls it

local function substitute(s, p, repl, n)
  if type(s) == "string" and type(p) == "string" then
    local kind = type(repl)
    local is_long = #s > longest(p) or kind == "string" and #s * #repl > GSUB_MAX
    if is_long and (kind == "string" or kind == "number" or kind == "table" or kind == "function") then
      return slow.gsub(s, p, repl, n and tonumber(n) or #s + 1)
    end
    if #s > SHORT then look_sometimes() end
  end
  return gsub(s, p, repl, n)
end

function strings.gsub(s, p, repl, n)
  if type(repl) == "string" then return substitute(s, p, repl, n) end
  return call_back(substitute, s, p, repl, n)
end

function strings.rep(s, n, separator)
  local size = (type(s) == "string" and #s or 24) + (type(separator) == "string" and #separator or 0)
  if type(n) == "number" and size * n > LARGE then
    claim(size * n)
    look_sometimes()
  end
  return rep(s, n, separator)
end

local tables = {}
for name, f in pairs(table) do tables[name] = f end

-- Tables that all sessions share change by assignment alone, which knows whether it is time.
local shared = setmetatable({}, {__mode = "k"})
R.shared = shared

local function check_own(t)
  if shared[t] ~= nil then raise("a library, or the globals, cannot be a list") end
end

function tables.concat(t, separator, first, last)
  if type(t) == "table" then
    local size = 0
    local gap = type(separator) == "string" and #separator or 24
    for at = tonumber(first) or 1, tonumber(last) or #t do
      local value = rawget(t, at)
      if value == nil then break end
      size = size + gap + (type(value) == "string" and #value or 24)
    end
    if size > LARGE then
      claim(size)
      look_sometimes()
    end
  end
  return concat(t, separator, first, last)
end

local function is_less(a, b) return a < b end

function tables.sort(t, compare)
  check_own(t)
  -- a comparison in Lua counts, one in C does not
  if compare == nil and type(t) == "table" and #t > SORT_MAX then compare = is_less end
  return call_back(sort, t, compare)
end

function tables.insert(t, ...)
  check_own(t)
  if type(t) == "table" and #t > LONG_TABLE then look_sometimes() end
  return insert(t, ...)
end

function tables.remove(t, ...)
  check_own(t)
  if type(t) == "table" and #t > LONG_TABLE then look_sometimes() end
  return remove(t, ...)
end

local move = table.move
function tables.move(from, first, last, at, to)
  check_own(to == nil and from or to)
  return move(from, first, last, at, to)
end

R.strings, R.tables = strings, tables
