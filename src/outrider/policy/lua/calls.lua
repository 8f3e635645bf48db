-- Calls of a script's functions: in a coroutine each, within a budget, with the globals of a session.
--
-- Python calls `begin`; the answer begins with a code: 0 and what the function returned; 2 and how it failed; 3 and a
-- record to `go_on` with once what the script waits for is there. A coroutine that ended its call serves the next one.

local R = ...
local type, tostring, pcall, xpcall = type, tostring, pcall, xpcall
local create, resume, yield = coroutine.create, coroutine.resume, coroutine.yield
local match, sub, rawget, setmetatable, min = string.match, string.sub, rawget, setmetatable, math.min
local getmetatable, getinfo, collectgarbage, tonumber = debug.getmetatable, debug.getinfo, collectgarbage, tonumber
local WAIT, SPENT, NO_MEMORY, where = R.WAIT, R.SPENT, R.NO_MEMORY, R.where
local arm, disarm, enter, give_head, drop_head = R.arm, R.disarm, R.enter, R.give_head, R.drop_head
local hooks = R.hooks
local DONE = {}
local VALUES, RAISE, WAITS = 0, 2, 3
local TEXT_MAX = 1000 -- octets of a message, chosen: what a log line holds
local ALL_MEMORY, GROWTH = R.memory, R.growth -- kilobytes
local TICKS, LOAD_TICKS = R.ticks, R.load_ticks -- thousands of instructions

local failed_text, failed_script, failed_line

-- What the value that was raised says; a table says it by its __tostring, within the budget.
local function text_of(e)
  local kind = type(e)
  if kind == "string" then return e end
  if kind == "number" then return tostring(e) end
  local meta = getmetatable(e)
  local to_text = type(meta) == "table" and rawget(meta, "__tostring")
  if to_text then
    local ok, text = pcall(to_text, e)
    if ok and type(text) == "string" then return text end
  end
  return "(error object is a " .. kind .. " value)"
end

local function on_error(e)
  if e == SPENT then
    failed_text = SPENT
    return
  end
  failed_script, failed_line = where(2)
  local text = text_of(e)
  local script, line, rest = match(text, "^([^:\n]+):(%d+): (.*)$")
  if script and R.is_script(script) then
    failed_script, failed_line, text = script, tonumber(line), rest
  else
    text = R.told_to_script(text)
  end
  failed_text = #text > TEXT_MAX and sub(text, 1, TEXT_MAX) or text
end

local function serve(...)
  return serve(yield(DONE, xpcall(...)))
end

local idle -- a coroutine that has nothing to do

-- Where no line is known, as when memory ran out or a tail call left no trace, it is the function's first.
local function failure(f, text, script, line, kind)
  if not script then
    local info = type(f) == "function" and getinfo(f, "S")
    if info and sub(info.source, 1, 1) == "@" then script, line = sub(info.source, 2), info.linedefined end
  end
  return RAISE, kind, text, script or "", line or 0
end

-- Functions that a hook has called for it while it waits have one budget together, or a hook could go on for ever.
local pool_left = setmetatable({}, {__mode = "k"}) -- globals of the hook's session -> ticks that they have left
local in_pool -- these globals, while such a function runs

local function leave_pool(left)
  local globals = in_pool
  in_pool = nil
  pool_left[globals] = min(pool_left[globals] or left, left)
  return globals
end

local function ended(co, globals, f, ok, tag, done, ...)
  local left, spent, script, line = disarm()
  drop_head()
  local pool = in_pool and leave_pool(left)
  if ok and tag == WAIT then
    return WAITS, {co = co, left = left, globals = globals, f = f, pool = pool}
  end
  local text, at_script, at_line = failed_text, failed_script, failed_line
  failed_text, failed_script, failed_line = nil, nil, nil
  if ok then
    idle = co
    if done and not spent then return VALUES, ... end
    -- LuaJIT asks no handler when memory or stack ran out
    text = text or tostring((...))
  else
    text = tostring(tag) -- the coroutine itself died
  end
  R.end_loading()
  if spent then return failure(f, SPENT, script, line, spent) end
  return failure(f, text, at_script, at_line, text == NO_MEMORY and "memory" or "error")
end

local function limit()
  local growing = collectgarbage("count") + GROWTH
  return growing < ALL_MEMORY and growing or ALL_MEMORY
end

-- Calls `f(...)`. `globals`: the session's; `deadline`: until when it may run without waiting, on the clock of `R.clock`.
function R.begin(globals, deadline, f, ...)
  enter(globals)
  local co = idle
  if co then idle = nil else co = create(serve) end
  arm(co, TICKS, deadline, limit())
  return ended(co, globals, f, resume(co, f, on_error, ...))
end

-- The same for a function that a hook has called for it and waits for.
function R.begin_pool(globals, deadline, f, ...)
  enter(globals)
  local co = idle
  if co then idle = nil else co = create(serve) end
  in_pool = globals
  arm(co, pool_left[globals] or TICKS, deadline, limit())
  return ended(co, globals, f, resume(co, f, on_error, ...))
end

-- The same while scripts are loaded: what it makes is there to stay.
local function begin_loading(deadline, f, ...)
  enter(R.base)
  local co = create(serve)
  arm(co, LOAD_TICKS, deadline, ALL_MEMORY)
  return ended(co, R.base, f, resume(co, R.top_level, on_error, f, ...))
end

-- Goes on with a call that waited; the rest is the answer, as of a function of Python's.
function R.go_on(record, deadline, ...)
  enter(record.globals)
  in_pool = record.pool
  arm(record.co, record.left, deadline, limit())
  return ended(record.co, record.globals, record.f, resume(record.co, ...))
end

-- Calls a method of a module, with the table that is private to session and module as its `self`.
function R.hook(globals, deadline, selves, index, ...)
  local hook = hooks[index]
  local module, f = hook[1], hook[2]
  local self = selves[module]
  if not self then
    self = setmetatable({}, {__index = module})
    selves[module] = self
  end
  pool_left[globals] = nil
  enter(globals)
  local co = idle
  if co then idle = nil else co = create(serve) end
  arm(co, TICKS, deadline, limit())
  return ended(co, globals, f, resume(co, f, on_error, self, ...))
end

-- The same for a method that is given objects only: up to three, each by its class and number.
local hook, object = R.hook, R.object
function R.hook_objects(globals, deadline, selves, index, class, id, class2, id2, class3, id3)
  if not class2 then return hook(globals, deadline, selves, index, object(class, id)) end
  local second = object(class2, id2)
  if not class3 then return hook(globals, deadline, selves, index, object(class, id), second) end
  return hook(globals, deadline, selves, index, object(class, id), second, object(class3, id3))
end

-- The same with the header fields of the first one, see head.lua.
local hook_objects = R.hook_objects
function R.hook_head(fields, lowered, globals, deadline, selves, index, class, id, ...)
  give_head(id, fields, lowered)
  return hook_objects(globals, deadline, selves, index, class, id, ...)
end

-- Loads: compiles and runs a script's top level.
function R.load(deadline, text, name)
  local chunk, wrong = R.compile(text, name)
  if not chunk then
    local script, line, rest = match(wrong, "^([^:\n]+):(%d+): (.*)$")
    return failure(nil, rest or wrong, script or name, tonumber(line), "error")
  end
  return begin_loading(deadline, chunk)
end

-- Calls a hook as part of loading, as `init`: its `self` is the module.
function R.start(deadline, index)
  local hook = hooks[index]
  return begin_loading(deadline, hook[2], hook[1])
end

-- The line in which a hook begins.
function R.first_line(index) return getinfo(hooks[index][2], "S").linedefined end

-- The line of a script in which a call waits; nil where none of it is a script's.
function R.waiting_line(record)
  for at = 0, 200 do
    local info = getinfo(record.co, at, "Sl")
    if not info then return nil end
    if sub(info.source, 1, 1) == "@" and info.currentline > 0 then return info.currentline end
  end
end

function R.collect() collectgarbage() end

function R.function_at(id) return R.functions[id] end

local kept = 0
-- Functions that come back as results count downwards, so that they do not meet those that are staged.
function R.keep(f)
  kept = kept - 1
  R.functions[kept] = f
  return kept
end
