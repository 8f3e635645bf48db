-- What a call may use, and why nothing that a script does can catch a spent budget.
--
-- A hook counts instructions, in coroutines too; every TICK of them it looks at the clock and at the memory. What it
-- finds spent stays spent until the call ends: it is raised there, and raised again by every function through which a
-- script could get an error back (`pcall`, `xpcall`, `coroutine.resume`, `coroutine.wrap`). C functions that take long
-- call `look` themselves, see text.lua.
--
-- Functions in C that call back, and coroutines within coroutines, take C's stack, whose end LuaJIT does not see: they
-- are counted, and are an error before it is reached.

local R = ...
local error, pcall, xpcall, type, tostring = error, pcall, xpcall, type, tostring
local create, resume, yield = coroutine.create, coroutine.resume, coroutine.yield
local running, isyieldable, status = coroutine.running, coroutine.isyieldable, coroutine.status
local getinfo, sub, find, collectgarbage = debug.getinfo, string.sub, string.find, collectgarbage
local byte, match = string.byte, string.match
local setmetatable = setmetatable
local clock = R.clock

local TICK = 1000
-- chosen: some 4 microseconds; counting costs 40 % of the interpreter's speed whatever it is, a look 0.4 microseconds
local SPENT = "the budget of this call is spent"
local NO_MEMORY = "not enough memory"
-- the text of LuaJIT when its allocator refuses
local WAIT, FAIL = {}, {}
-- what only our own coroutine functions hand around
local NESTED_MAX = 200
-- LUAI_MAXCCALLS of luaconf.h; LuaJIT's gsub takes some 9 KiB of C's stack for each, its coroutines some hundred octets
local TOO_DEEP = "C stack overflow"
local OVERFLOW_TICKS = 10
-- chosen: LuaJIT takes as long to give up a full stack as for ten thousand instructions
local PASSED_MIN = 1024
-- octets, chosen: shorter strings are not counted, because copying them costs less than that

local armed = false
local left, deadline, memory = 0, 0, 0
local spent, spent_script, spent_line
local top -- the coroutine that the call runs in
local nested = 0 -- functions in C that called back, and coroutines, one within the other

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

-- Strings are copied when they are given to Python: those of one call have room together, or it is the call's end.
function R.pass(octets, before)
  if octets < PASSED_MIN then return before end
  local passed = before + octets
  if passed / 1024 > R.memory then return spend("memory") end
  return passed
end

function R.arm(co, ticks, until_, kilobytes)
  top, left, deadline, memory, spent = co, ticks, until_, kilobytes, nil
  spent_script, spent_line, nested = nil, nil, 0
  armed = true
end

function R.disarm()
  armed = false
  return left, spent, spent_script, spent_line
end

function R.is_armed() return armed end
function R.is_spent() return spent end

-- What an error costs that was caught. At the stack's end there is no room for the hook, so a script that goes on after
-- each overflow would go on for ever there: it pays, where there is room, or is not the one that catches.
local function pay(e)
  if e == NO_MEMORY then return spend("memory") end
  if type(e) == "string" and (find(e, "stack overflow", 1, true) or e == "error in error handling") then
    left = left - OVERFLOW_TICKS
    if left < 0 then return spend("instructions") end
    return look()
  end
end

-- An error without the line of our own that a function in C puts before it, where it was called by one of ours.
local function told_to_script(e, ...)
  if type(e) == "string" and byte(e) == 40 then e = match(e, "^%(%a+%.lua%):%d+: (.*)$") or e end
  return e, ...
end
R.told_to_script = told_to_script

local function settle(before, ok, ...)
  nested = before
  if ok then return ok, ... end
  if spent then return error(SPENT, 0) end
  pay((...))
  return false, told_to_script(...)
end

local out = {}

function out.pcall(...)
  return settle(nested, pcall(...))
end

function out.xpcall(f, handler, ...)
  if type(handler) ~= "function" then return settle(nested, pcall(f, ...)) end
  return settle(nested, xpcall(f, function(e)
    if spent or e == NO_MEMORY then return e end
    return handler((told_to_script(e)))
  end, ...))
end

local NOT_HERE = "a function that waits cannot be called from within table.sort, string.gsub or another function"
  .. " that calls back"
R.NOT_HERE = NOT_HERE

local function leave(before, ...)
  nested = before
  return ...
end

-- Calls a function in C that may call back.
function R.call_back(f, ...)
  local before = nested
  if before >= NESTED_MAX then return raise(TOO_DEEP) end
  nested = before + 1
  return leave(before, f(...))
end

local waiting = setmetatable({}, {__mode = "k"}) -- coroutines that wait, which only the answer may resume

local function go_on(co, before, ...)
  waiting[co], nested = nil, before + 1
  return resume(co, ...)
end

-- What a coroutine of the script gave: a wait goes on to the coroutine outside of it, up to the call's own.
local function relay(co, before, ok, tag, ...)
  nested = before
  if ok then
    if tag ~= WAIT then return true, tag, ... end
    if not isyieldable() then return relay(co, before, go_on(co, before, FAIL, NOT_HERE)) end
    waiting[co] = true
    return relay(co, before, go_on(co, before, yield(WAIT)))
  end
  if spent then return error(SPENT, 0) end
  pay(tag)
  return false, told_to_script(tag, ...)
end

local coroutines = {create = create, status = status}

local function begin(co, ...)
  local before = nested
  if before >= NESTED_MAX then return false, TOO_DEEP end
  if waiting[co] then return false, "cannot resume a coroutine that waits" end
  nested = before + 1
  return relay(co, before, resume(co, ...))
end
coroutines.resume = begin

local function unwrap(ok, ...)
  if ok then return ... end
  return error(..., 0)
end

function coroutines.wrap(f)
  local co = create(f)
  return function(...) return unwrap(begin(co, ...)) end
end

local reading = setmetatable({}, {__mode = "k"}) -- coroutine -> files that it runs the top level of
R.reading = reading

function coroutines.yield(...)
  local co = running()
  if co == top then raise("attempt to yield from outside a coroutine") end
  if reading[co] then raise("attempt to yield from the top level of a module") end
  return yield(...)
end

function coroutines.running()
  local co = running()
  if co ~= top then return co end
end

out.coroutine = coroutines
R.budgeted = out
R.NO_MEMORY = NO_MEMORY
