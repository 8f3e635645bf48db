-- What a script finds: its globals, its libraries, the modules that it requires.
--
-- All scripts are compiled into one environment that holds nothing. Its metatable leads reads and writes to the globals
-- of the session that runs, and is switched with it; they lead on to `base`, where the top level of scripts writes while
-- they are loaded. So every function that a script has, however it came by it, sees the globals of the session that
-- called it. Libraries are guarded: they change only while scripts are loaded.

local R = ...
local setmetatable, rawget, rawset = setmetatable, rawget, rawset
local error, type, tostring, tonumber, pairs, next, select = error, type, tostring, tonumber, pairs, next, select
local getmetatable = getmetatable
local setfenv, loadstring, gmatch, match, gsub = setfenv, loadstring, string.gmatch, string.match, string.gsub
local getmeta, setmeta, collectgarbage, raise = debug.getmetatable, debug.setmetatable, collectgarbage, R.raise

local running, isyieldable, reading = coroutine.running, coroutine.isyieldable, R.reading

local loading = 0
function R.is_loading() return loading > 0 end

local targets = R.shared -- guard -> what it guards; the globals -> false

local function guard(target, name)
  local proxy = setmetatable({}, {
    __index = target,
    __newindex = function(_, key, value)
      if loading == 0 then
        raise("'" .. name .. "' changes only while a script is loaded ('" .. tostring(key) .. "' was set)")
      end
      target[key] = value
    end,
    __metatable = false,
  })
  targets[proxy] = target
  return proxy
end

local base = {}
local empty_meta = {__index = base, __metatable = false}
local environment = setmetatable({}, empty_meta)
targets[environment] = false
local globals_meta = {__index = base, __metatable = false}
base._G = environment
base._TLS = {}

local function enter(globals) empty_meta.__index = globals end
R.enter = enter

local gone = setmetatable({}, {__mode = "k"}) -- globals of a session -> names of `base` that it set to nil

local function hide(globals, key)
  local names = gone[globals]
  if not names then
    names = {}
    gone[globals] = names
    setmeta(globals, {
      __index = function(_, name)
        if names[name] then return nil end
        return base[name]
      end,
      __metatable = false,
    })
  end
  names[key] = true
end

local function assign(_, key, value)
  local globals = empty_meta.__index
  if value == nil and globals ~= base and rawget(base, key) ~= nil then hide(globals, key) end
  globals[key] = value
end
empty_meta.__newindex = assign

local function enter_base() enter(base) end

function R.new_globals()
  return setmetatable({_TLS = {}}, globals_meta)
end

-- Standard functions.
for _, name in pairs({"assert", "error", "ipairs", "rawequal", "select", "setmetatable", "getmetatable",
  "tostring", "type", "unpack"}) do
  base[name] = _G[name]
end
base._VERSION = "Lua 5.1"

-- As literals are, a string of digits with a leading zero is octal; one with an 8 or 9 in it is what it was.
-- Source: luaO_str2d in lobject.c of thrlua.
function base.tonumber(value, ...)
  local radix = ...
  if type(value) == "string" and (radix == nil or radix == 10) then
    local sign, digits = match(value, "^(%-?)(0[0-7]+)%s*$")
    if digits then return sign == "-" and -tonumber(digits, 8) or tonumber(digits, 8) end
  end
  return tonumber(value, ...)
end

base._OSTLS = {}
base.pcall, base.xpcall = R.budgeted.pcall, R.budgeted.xpcall

-- What `t` stands for: a library behind its guard, the globals behind `_G`.
local function behind(t)
  if t == environment then return empty_meta.__index end
  return targets[t] or t
end

function base.rawget(t, key) return rawget(behind(t), key) end

function base.rawset(t, key, value)
  if targets[t] and loading == 0 then raise("a library changes only while a script is loaded") end
  if t == environment then assign(t, key, value) else rawset(behind(t), key, value) end
  return t
end

function base.next(t, key) return next(behind(t), key) end

function base.pairs(t)
  local meta = getmeta(t)
  local through = type(meta) == "table" and rawget(meta, "__pairs") -- objects of `json` have one
  if through then return through(t) end
  local target = behind(t)
  if target ~= t then return function(_, key) return next(target, key) end, t, nil end
  if type(t) ~= "table" then
    raise("bad argument #1 to 'pairs' (table expected, got " .. type(t) .. ")")
  end
  return next, t, nil
end

-- Collecting is the server's business; scripts of Lua 5.1 may ask for it and are not refused.
function base.collectgarbage(what)
  if what == "count" then return collectgarbage("count") end
  return 0
end

function base.print(...)
  local parts = {}
  for i = 1, select("#", ...) do parts[i] = tostring((select(i, ...))) end
  local script, line = R.where(2)
  R.print(R.tables.concat(parts, "\t"), script or "", line or 0)
end

base.string, base.table = guard(R.strings, "string"), guard(R.tables, "table")
base.coroutine = guard(R.budgeted.coroutine, "coroutine")
local mathematics = {}
for name, f in pairs(math) do mathematics[name] = f end
mathematics.mod = math.fmod -- the name of Lua 5.0, which 5.1 keeps and LuaJIT does not, as string.gfind
-- Scripts of each worker, and of each reload, draw other numbers, though all of them take the time for their seed.
local randomseed, seed = math.randomseed, R.seed
function mathematics.randomseed(x)
  local number = tonumber(x)
  return randomseed(number and number + seed or x)
end
randomseed(seed)
base.math = guard(mathematics, "math")
for name, f in pairs(R.operators) do base[name] = f end

local of_strings = getmeta("")
of_strings.__index = R.strings
of_strings.__metatable = false

-- Modules.
local loaded = {}
for _, name in pairs({"string", "table", "math", "coroutine"}) do loaded[name] = base[name] end
local sources = {} -- name -> text in Lua, for modules that Python has registered as text
local registered = {} -- name -> guard
local BUSY = {}

-- `mark`: "@" for scripts; "=" for our own modules, which errors are not told of but of the script that calls them.
local function compile(text, name, mark)
  local chunk, wrong = loadstring(text, (mark or "@") .. name, "t")
  if not chunk then return nil, wrong end
  return setfenv(chunk, environment)
end
R.compile = compile

-- Runs a chunk as the top level of a script: what it defines is there for all sessions.
local function end_level(...)
  loading = loading - 1
  return ...
end

function R.top_level(chunk, ...)
  loading = loading + 1
  enter_base()
  return end_level(chunk(...))
end

-- After a call that failed, wherever it was.
function R.end_loading()
  if loading == 0 then return end
  loading = 0
  for co in next, reading do reading[co] = nil end
  for name, module in next, loaded do
    if module == BUSY then loaded[name] = nil end
  end
end

-- The table at a dotted name under `base`, made where it is missing.
local function at_path(name)
  local at, path = base, ""
  for part in gmatch(name, "[^.]+") do
    path = path == "" and part or path .. "." .. part
    local next_table = rawget(targets[at] or at, part)
    if next_table == nil then
      next_table = guard({}, path)
      rawset(targets[at] or at, part, next_table)
    elseif type(next_table) ~= "table" then
      raise("name conflict for module '" .. name .. "'")
    end
    at = next_table
  end
  return at
end

-- Called by Python before scripts are loaded: a module's functions and constants.
function R.fill(name, members)
  local module = at_path(name)
  local target = targets[module]
  for key, value in pairs(members) do target[key] = value end
  registered[name] = module
end

function R.fill_globals(members)
  for key, value in pairs(members) do base[key] = value end
end

function R.add_source(name, text, chunk)
  sources[name] = {text, chunk}
end

-- Runs a module's file, for all sessions even if one of them asked for it.
local function end_file(name, globals, co, ok, result)
  loading = loading - 1
  reading[co] = reading[co] > 1 and reading[co] - 1 or nil
  enter(globals)
  if not ok then
    loaded[name] = nil
    return error(result, 0)
  end
  if result ~= nil then
    loaded[name] = result
  elseif loaded[name] == BUSY then
    loaded[name] = true
  end
  return loaded[name]
end

local function run_file(name, text, chunk_name, mark)
  local chunk, wrong = compile(text, chunk_name, mark)
  if not chunk then return error(wrong, 0) end
  local globals, co = empty_meta.__index, running()
  loaded[name] = BUSY
  loading = loading + 1
  reading[co] = (reading[co] or 0) + 1
  enter_base()
  return end_file(name, globals, co, R.budgeted.pcall(chunk, name))
end

function base.require(name)
  if type(name) ~= "string" then raise("bad argument #1 to 'require' (string expected, got " .. type(name) .. ")") end
  name = gsub(name, "/", ".")
  local module = loaded[name]
  if module == BUSY then raise("loop or previous error loading module '" .. name .. "'") end
  if module ~= nil then return module end
  module = registered[name]
  if module then
    if name == "strict" then
      if loading == 0 then raise("'strict' is required while a script is loaded: it is for all sessions") end
      R.be_strict()
    end
    loaded[name] = module
    return module
  end
  local source = sources[name]
  if source then return run_file(name, source[1], source[2], "=") end
  R.look_at_memory()
  local text, chunk_name = R.read(name)
  if not text then
    if match(chunk_name, "^[^:\n]+:%d+: ") then return error(chunk_name, 0) end -- it says where
    return raise(chunk_name)
  end
  return run_file(name, text, chunk_name)
end

function base.loadstring(text, name)
  R.look_at_memory()
  local translated, wrong = R.translate(text, type(name) == "string" and name or "loadstring")
  if not translated then return nil, wrong end
  return compile(translated, type(name) == "string" and name or "loadstring")
end

-- `module(name, package.seeall)`: the rest of the file writes its globals into a table of that name. What functions
-- write there once a session calls them is that session's.
local NONE = {} -- what a session set to nil
local overlays = setmetatable({}, {__mode = "k"}) -- globals of a session -> module's table -> its own

local function overlay(target, is_made)
  local globals = empty_meta.__index
  if globals == base then return target end
  local of_session = overlays[globals]
  if not of_session then
    if not is_made then return target end
    of_session = {}
    overlays[globals] = of_session
  end
  local own = of_session[target]
  if not own then
    if not is_made then return target end
    own = {}
    of_session[target] = own
  end
  return own
end

local function seeall(_, sees)
  if type(sees) == "table" then sees.all = true end
end

function base.module(name, ...)
  if type(name) ~= "string" then raise("bad argument #1 to 'module' (string expected, got " .. type(name) .. ")") end
  if loading == 0 then raise("'module' works only while a script is loaded") end
  local module = at_path(name)
  local target = targets[module] or module
  local sees = {}
  target._M, target._NAME, target._PACKAGE = module, name, match(name, "^(.*%.)[^.]*$") or ""
  for i = 1, select("#", ...) do
    local option = select(i, ...)
    if option == seeall then option(module, sees) else option(module) end
  end
  loaded[name] = module
  setfenv(2, setmetatable({}, {
    __index = function(_, key)
      local value = rawget(overlay(target, false), key)
      if value == NONE then return nil end
      if value == nil then value = target[key] end
      if value == nil and sees.all then value = environment[key] end
      return value
    end,
    __newindex = function(_, key, value)
      local own = overlay(target, true)
      if value == nil and own ~= target then value = NONE end
      own[key] = value
    end,
    __metatable = false,
  }))
end

base.package = guard({
  loaded = guard(loaded, "package.loaded"), seeall = seeall, path = "", cpath = "", config = "/\n;\n?\n!\n-",
}, "package")

local hooks = {} -- number -> module's table, function
R.hooks = hooks

-- `msys.registerModule(name, table)`: its functions, in the order in which `next` gives them; Python knows the hooks.
-- `msys.asyncOk()`: functions that wait can be called here. `msys.type(x)`: Lua's type, or the class of an object, which
-- its metatable tells; nothing of a table is looked at.
R.fill("msys", {
  type = function(x)
    local kind = type(x)
    return kind == "userdata" and getmetatable(x) or kind
  end,
  asyncOk = function() return loading == 0 and isyieldable() end,
  registerModule = function(name, module)
    if type(name) ~= "string" or type(module) ~= "table" then
      raise("registerModule takes a name and a table, got " .. type(name) .. " and " .. type(module))
    end
    if loading == 0 then raise("registerModule works only while a script is loaded") end
    local wrong = R.register(name)
    if wrong then raise(wrong) end
    for key, f in next, module do
      if type(key) == "string" and type(f) == "function" then
        hooks[#hooks + 1] = {module, f}
        R.register_function(name, key, #hooks)
      end
    end
    R.registered(name)
  end,
})
registered["msys.core"], registered["msys.pcre"] = at_path("msys.core"), at_path("msys.pcre")
registered["msys"] = base.msys

-- `require("strict")`: what was never assigned at the top level of a script cannot be read.
registered.strict = guard({}, "strict")
function R.be_strict()
  setmetatable(base, {
    __index = function(_, key) raise("variable '" .. tostring(key) .. "' is not declared") end,
    __metatable = false,
  })
end

R.base, R.environment = base, environment
