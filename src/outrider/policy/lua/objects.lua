-- How scripts see what Python gives them: functions, and objects with methods and fields.
--
-- An object is a userdata of its class; the number of what it stands for is in its environment, where no script comes.
-- Python is called with that number and plain values, and answers with a code first: see convert.py. It never raises.

local R = ...
local error, type, tostring, pairs, next, select = error, type, tostring, pairs, next, select
local getfenv, setfenv, newproxy, setmetatable = debug.getfenv, debug.setfenv, newproxy, setmetatable
local isyieldable, yield, unpack = coroutine.isyieldable, coroutine.yield, unpack
local getmetatable, collectgarbage, raise = debug.getmetatable, collectgarbage, R.raise
local WAIT, FAIL, NOT_HERE, look_at_memory, pass = R.WAIT, R.FAIL, R.NOT_HERE, R.look_at_memory, R.pass
local values_of, drop_head = R.values_of, R.drop_head

-- What answers begin with.
local VALUES, LIST, RAISE, WAITS, SPENT, FLAT, ROOM, MANY = 0, 1, 2, 3, 4, 5, 6, 7
-- What values in a row begin with: a plain value, a table's pairs, an object, a function, nil; a list's items.
local PLAIN, TABLE, OBJECT, FUNCTION, NIL, ITEMS = 0, 1, 2, 3, 4, 5
local ROW_MAX = 2000 -- values passed at once, chosen: a quarter of what LuaJIT's stack takes (LUAI_MAXCSTACK)
local DEPTH_MAX = 100 -- chosen: deeper tables are loops
local ENTRIES_MAX = 200000 -- chosen: parts of the largest messages, some megabytes

local IS_PLAIN = {["nil"] = true, string = true, number = true, boolean = true}

local functions, last_function = {}, 0 -- what scripts gave to Python
R.functions = functions

-- From tables and the like to a row of values.

local row, length, entries, passed

local function put(value)
  if length >= ROW_MAX then
    R.stage(unpack(row, 1, length))
    length = 0
  end
  length = length + 1
  row[length] = value
end

local encode

local function encode_table(t, depth)
  if depth >= DEPTH_MAX then error("a table is nested deeper than " .. DEPTH_MAX .. ", or holds itself", 0) end
  local count = 0
  for _ in next, t do count = count + 1 end
  entries = entries + count
  if entries > ENTRIES_MAX then error("a table has more than " .. ENTRIES_MAX .. " entries", 0) end
  put(TABLE)
  put(count)
  for key, value in next, t do
    local kind = type(key)
    if not IS_PLAIN[kind] then error("a table's key is neither a string nor a number", 0) end
    if kind == "string" then passed = pass(#key, passed) end
    put(key)
    encode(value, depth + 1)
  end
end

function encode(value, depth)
  local kind = type(value)
  if kind == "nil" then
    put(NIL)
  elseif kind == "string" then
    passed = pass(#value, passed)
    put(PLAIN)
    put(value)
  elseif IS_PLAIN[kind] then
    put(PLAIN)
    put(value)
  elseif kind == "table" then
    encode_table(value, depth)
  elseif kind == "userdata" then
    put(OBJECT)
    put(getfenv(value).id)
  elseif kind == "function" then
    last_function = last_function + 1
    functions[last_function] = value
    put(FUNCTION)
    put(last_function)
  else
    error("a " .. kind .. " cannot be passed", 0)
  end
end

local function encode_all(...)
  row, length, entries, passed = {}, 0, 0, 0
  for i = 1, select("#", ...) do encode((select(i, ...)), 0) end
  R.stage(unpack(row, 1, length))
end

local function are_plain(...)
  local a, b, c, d = ...
  local n = select("#", ...)
  if not (IS_PLAIN[type(a)] and IS_PLAIN[type(b)] and IS_PLAIN[type(c)] and IS_PLAIN[type(d)]) then return false end
  return n <= 4 -- more of them are staged: they are counted there
end

local pcall = R.budgeted.pcall

-- Gives arguments to Python in rows; what cannot be given is an error of the script that calls.
local function stage(...)
  local ok, wrong = pcall(encode_all, ...)
  if not ok then
    R.unstage()
    return raise(wrong)
  end
end

-- From a row of values to tables and the like.

local known = setmetatable({}, {__mode = "v"}) -- number -> object
local classes = {}

local function object(index, id)
  local found = known[id]
  if found then return found end
  local class = classes[index]
  found = newproxy(class.proto)
  setfenv(found, {class = class, id = id})
  known[id] = found
  return found
end
R.object = object

-- What a function in C may give without asking LuaJIT for room is LUA_MINSTACK values. An error for want of room would
-- go through Python's own frames, which cannot be left so; here it is an ordinary one.
local FILL = {}
for i = 1, ROW_MAX + 50 do FILL[i] = 0 end
local function make_room() return select("#", unpack(FILL)) end

local incoming, at, last

local function take()
  if at >= last then
    make_room()
    incoming = {R.more()}
    at, last = 0, #incoming
  end
  at = at + 1
  return incoming[at]
end

local function decode()
  local kind = take()
  if kind == PLAIN then return take() end
  if kind == NIL then return nil end
  if kind == OBJECT then return object(take(), take()) end
  if kind == FUNCTION then return functions[take()] end
  local t = {}
  if kind == ITEMS then
    for i = 1, take() do t[i] = decode() end
  else
    for _ = 1, take() do
      local key = take()
      t[key] = decode()
    end
  end
  return t
end

local function decode_all(...)
  incoming, at = {...}, 0
  last = #incoming
  local count = take()
  local values = {}
  for i = 1, count do values[i] = decode() end
  incoming = nil
  return unpack(values, 1, count)
end

local finish

-- The answer to a wait: what came, or why it could not be waited for.
local function resumed(code, ...)
  if code == FAIL then
    R.drop()
    return raise(...)
  end
  return finish(code, ...)
end

-- What Python answered.
function finish(code, ...)
  if code == VALUES then return ... end
  if code == LIST then return {...} end
  if code == RAISE then return raise(...) end
  if code == FLAT then return decode_all(...) end
  if code == SPENT then return R.spend(...) end
  if code == MANY then
    make_room()
    return finish(R.more())
  end
  if code == ROOM then
    collectgarbage()
    return finish(R.again())
  end
  if R.is_loading() then
    R.drop()
    return raise("a function that waits cannot be called while a script is loaded")
  end
  if not isyieldable() then
    R.drop()
    return raise(NOT_HERE)
  end
  return resumed(yield(WAIT))
end

-- A function of Python's as one of Lua's: `py` for plain arguments, `py_staged` for those that were staged.
function R.wrap(py, py_staged)
  return function(...)
    look_at_memory()
    drop_head()
    if are_plain(...) then return finish(py(...)) end
    stage(...)
    return finish(py_staged())
  end
end


local function id_of(object, class, member)
  if type(object) == "userdata" then
    local box = getfenv(object)
    if box.class == class then return box.id end
  end
  local mark = member and ":" .. member or ""
  return raise("bad self for '" .. class.name .. mark .. "': " .. class.name .. " expected, got " .. type(object)
    .. " (call methods with ':')")
end

-- Makes a class. `methods`, `staged`, `getters`, `setters`: tables of Python's functions, which get the number first.
-- `length_of`, `text_of`: one such function or nil. `header`: the method that reads fields by name, or nil.
function R.define(name, methods, staged, getters, setters, length_of, text_of, header)
  local class = {name = name}
  local members = {}
  for member, py in pairs(methods) do
    local py_staged = staged[member]
    members[member] = function(self, ...)
      local id = id_of(self, class, member)
      look_at_memory()
      drop_head()
      if are_plain(...) then return finish(py(id, ...)) end
      stage(...)
      return finish(py_staged(id))
    end
  end
  if header then
    local ask = members[header]
    members[header] = function(self, field, ...)
      if select("#", ...) == 0 then
        local values = values_of(id_of(self, class, header), field)
        if values then
          look_at_memory()
          return values
        end
      end
      return ask(self, field, ...)
    end
  end
  local proto = newproxy(true)
  local meta = getmetatable(proto)
  if next(getters) then
    meta.__index = function(self, key)
      local member = members[key]
      if member then return member end
      local getter = getters[key]
      if getter then
        drop_head()
        return finish(getter(getfenv(self).id))
      end
    end
  else
    meta.__index = members
  end
  meta.__newindex = function(self, key, value)
    local setter = setters[key]
    if not setter then
      return raise(name .. " has no field '" .. tostring(key) .. "' that can be set")
    end
    if not IS_PLAIN[type(value)] then
      return raise("field '" .. key .. "' of " .. name .. " cannot be a " .. type(value))
    end
    drop_head()
    return finish(setter(getfenv(self).id, value))
  end
  if length_of then
    meta.__len = function(self)
      drop_head()
      return finish(length_of(getfenv(self).id))
    end
  end
  meta.__tostring = function(self)
    if text_of then
      drop_head()
      return finish(text_of(getfenv(self).id))
    end
    return name
  end
  if text_of then
    meta.__concat = function(a, b) return tostring(a) .. tostring(b) end
  end
  meta.__metatable = name
  class.proto = proto
  classes[#classes + 1] = class
  return #classes
end

-- The number of an object; nil for anything else.
function R.identify(object)
  return type(object) == "userdata" and getfenv(object).id or nil
end

-- True while a script holds the object of a number, or the collector did not find out yet that none does.
function R.is_held(id) return known[id] ~= nil end

-- Functions that Python does not hold any more.
function R.release(...)
  for i = 1, select("#", ...) do functions[(select(i, ...))] = nil end
end
