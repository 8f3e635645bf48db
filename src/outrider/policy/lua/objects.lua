-- How scripts see what Python gives them: functions, and objects with methods and fields.
--
-- An object is a userdata of its class; the number of what it stands for is in its environment, where no script comes.
-- Python is called with that number and plain values, and answers with a code first: see convert.py. It never raises.

local R = ...
local error, type, tostring, pairs, next = error, type, tostring, pairs, next
local getfenv, setfenv, newproxy = debug.getfenv, debug.setfenv, newproxy
local isyieldable, yield = coroutine.isyieldable, coroutine.yield
local getmetatable = debug.getmetatable
local WAIT, FAIL, NOT_HERE, look_at_memory = R.WAIT, R.FAIL, R.NOT_HERE, R.look_at_memory

local VALUES, LIST, RAISE, WAITS, SPENT = 0, 1, 2, 3, 4

local finish

-- The answer to a wait: what came, or why it could not be waited for.
local function resumed(code, ...)
  if code == FAIL then
    R.drop()
    return error(..., 2)
  end
  return finish(code, ...)
end

-- Levels: this function is called in tail position, so 2 is the script.
function finish(code, ...)
  if code == VALUES then return ... end
  if code == LIST then return {...} end
  if code == RAISE then return error(..., 2) end
  if code == SPENT then return R.spend(...) end
  if R.is_loading() then
    R.drop()
    return error("a function that waits cannot be called while a script is loaded", 2)
  end
  if not isyieldable() then
    R.drop()
    return error(NOT_HERE, 2)
  end
  return resumed(yield(WAIT))
end

R.finish = finish

-- A function of Python's as one of Lua's.
function R.wrap(py)
  return function(...)
    look_at_memory()
    return finish(py(...))
  end
end

local classes = {}

local function id_of(object, class, member)
  if type(object) == "userdata" then
    local box = getfenv(object)
    if box.class == class then return box.id end
  end
  local mark = member and ":" .. member or ""
  return error("bad self for '" .. class.name .. mark .. "': " .. class.name .. " expected, got " .. type(object)
    .. " (call methods with ':')", 3)
end

-- Makes a class. `methods`, `getters`, `setters`: tables of Python's functions, which get the number first. `length`,
-- `text`: one such function or nil.
function R.define(name, methods, getters, setters, length, text)
  local class = {name = name}
  local members = {}
  for member, py in pairs(methods) do
    members[member] = function(self, ...)
      local id = id_of(self, class, member)
      look_at_memory()
      return finish(py(id, ...))
    end
  end
  local proto = newproxy(true)
  local meta = getmetatable(proto)
  if next(getters) then
    meta.__index = function(self, key)
      local member = members[key]
      if member then return member end
      local getter = getters[key]
      if getter then return finish(getter(getfenv(self).id)) end
    end
  else
    meta.__index = members
  end
  meta.__newindex = function(self, key, value)
    local setter = setters[key]
    if not setter then
      return error(name .. " has no field '" .. tostring(key) .. "' that can be set", 2)
    end
    return finish(setter(getfenv(self).id, value))
  end
  if length then
    meta.__len = function(self) return finish(length(getfenv(self).id)) end
  end
  meta.__tostring = function(self)
    if text then return finish(text(getfenv(self).id)) end
    return name
  end
  if text then
    meta.__concat = function(a, b) return tostring(a) .. tostring(b) end
  end
  meta.__metatable = name
  class.proto = proto
  classes[#classes + 1] = class
  return #classes
end

function R.object(index, id)
  local class = classes[index]
  local object = newproxy(class.proto)
  setfenv(object, {class = class, id = id})
  return object
end

-- The number of an object; nil for anything else.
function R.identify(object)
  return type(object) == "userdata" and getfenv(object).id or nil
end
