-- What a call may use, and why nothing that a script does can catch a spent budget.
--
-- A hook counts instructions, in coroutines too; every TICK of them it looks at the clock and at the memory. What it
-- finds spent stays spent until the call ends: it is raised there, and raised again by every function through which a
-- script could get an error back (`pcall`, `xpcall`, `coroutine.resume`, `coroutine.wrap`). C functions that take long
-- call `look` themselves, see text.lua.

local R = ...
local error, pcall, xpcall, type, tostring = error, pcall, xpcall, type, tostring
local create, resume, yield = coroutine.create, coroutine.resume, coroutine.yield
local running, isyieldable, status = coroutine.running, coroutine.isyieldable, coroutine.status
local getinfo, sub, collectgarbage = debug.getinfo, string.sub, collectgarbage
local clock = R.clock

local TICK = 1000
-- chosen: some 4 microseconds; counting costs 40 % of the interpreter's speed whatever it is, a look 0.4 microseconds
local SPENT = "the budget of this call is spent"
local NO_MEMORY = "not enough memory"
-- the text of LuaJIT when its allocator refuses
local WAIT, FAIL = {}, {}
-- what only our own coroutine functions hand around

local armed = false
local left, deadline, memory = 0, 0, 0
local spent, spent_script, spent_line
local top -- the coroutine that the call runs in

R.SPENT, R.WAIT, R.FAIL = SPENT, WAIT, FAIL

-- The script and line that runs at a level of the stack or above it; nil if none of it is a script's.
local function where(level)
  for at = level, level + 200 do
    local info = getinfo(at, "Sl")
    if not info then return nil end
    if sub(info.source, 1, 1) == "@" and info.currentline > 0 then
      return sub(info.source, 2), info.currentline
    end
  end
end
R.where = where

-- Raises a text with the script and line that runs, however our functions stand between.
local function raise(text)
  local script, line = where(3)
  return error(script and script .. ":" .. line .. ": " .. text or text, 0)
end
R.raise = raise

local function spend(reason)
  if not spent then
    spent_script, spent_line = where(3)
    spent = reason
  end
  return error(SPENT, 0)
end

R.spend = spend

-- Raises when the call is over its time or the state over its memory.
local function look()
  if spent then return error(SPENT, 0) end
  if clock() > deadline then return spend("time") end
  if collectgarbage("count") > memory then
    collectgarbage()
    if collectgarbage("count") > memory then return spend("memory") end
  end
end

local function tick()
  -- outside of any coroutine only our own code runs, which must not be interrupted
  if not armed or not running() then return end
  left = left - 1
  if left < 0 then return spend("instructions") end
  return look()
end
debug.sethook(tick, "", TICK)

-- As `look`, for what is too short to look at the clock each time.
local unlooked = 0
function R.look_sometimes()
  if not armed then return end
  unlooked = unlooked + 1
  if unlooked >= 16 then
    unlooked = 0
    return look()
  end
end

local told -- hears of each line that calls Python, while scripts are tried out

function R.watch(hears) told = hears end

-- Cheap, before Python is called: it must find memory for its answer, because no error may come from there.
function R.look_at_memory()
  if told then told(where(2)) end
  if collectgarbage("count") > memory and armed then return look() end
end

-- At most so many octets may be made at once.
function R.claim(octets)
  if armed and collectgarbage("count") + octets / 1024 > memory then
    collectgarbage()
    if collectgarbage("count") + octets / 1024 > memory then return spend("memory") end
  end
end

function R.arm(co, ticks, until_, kilobytes)
  top, left, deadline, memory, spent = co, ticks, until_, kilobytes, nil
  spent_script, spent_line = nil, nil
  armed = true
end

function R.disarm()
  armed = false
  return left, spent, spent_script, spent_line
end

function R.is_armed() return armed end
function R.is_spent() return spent end

local function settle(ok, ...)
  if not ok then
    if spent then return error(SPENT, 0) end
    if ... == NO_MEMORY then return spend("memory") end
  end
  return ok, ...
end

local out = {}

function out.pcall(...)
  return settle(pcall(...))
end

function out.xpcall(f, handler, ...)
  if type(handler) ~= "function" then return settle(pcall(f, ...)) end
  return settle(xpcall(f, function(e)
    if spent or e == NO_MEMORY then return e end
    return handler(e)
  end, ...))
end

local NOT_HERE = "a function that waits cannot be called from within table.sort, string.gsub or another function"
  .. " that calls back"
R.NOT_HERE = NOT_HERE

-- What a coroutine of the script gave: a wait goes on to the coroutine outside of it, up to the call's own.
local function relay(co, ok, tag, ...)
  if ok then
    if tag ~= WAIT then return true, tag, ... end
    if not isyieldable() then return relay(co, resume(co, FAIL, NOT_HERE)) end
    return relay(co, resume(co, yield(WAIT)))
  end
  if spent then return error(SPENT, 0) end
  if tag == NO_MEMORY then return spend("memory") end
  return false, tag, ...
end

local coroutines = {create = create, status = status}

function coroutines.resume(co, ...)
  return relay(co, resume(co, ...))
end

local function unwrap(ok, ...)
  if ok then return ... end
  return error(..., 0)
end

function coroutines.wrap(f)
  local co = create(f)
  return function(...) return unwrap(relay(co, resume(co, ...))) end
end

function coroutines.yield(...)
  if running() == top then raise("attempt to yield from outside a coroutine") end
  return yield(...)
end

function coroutines.running()
  local co = running()
  if co ~= top then return co end
end

out.coroutine = coroutines
R.budgeted = out
R.NO_MEMORY = NO_MEMORY
