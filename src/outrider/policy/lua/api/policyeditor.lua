-- `msys.policyeditor`: the functions that Momentum's policy editor wrote calls of; each is another name of a method.
--
-- Every function is called (ctx, vars, params): the message is ctx.ec_message, `vars` are the script's own variables.

local native = require("outrider.msys.policyeditor")

module("msys.policyeditor", package.seeall)

local check = native.check -- refuses what the phase does not permit
local MESS, CONN = msys.core.ECMESS_CTX_MESS, msys.core.ECMESS_CTX_CONN

local function message(ctx)
  local msg = type(ctx) == "table" and ctx.ec_message
  if not msg then error("ctx.ec_message is no message", 3) end
  return msg
end

local function named(params, name)
  local value = type(params) == "table" and params[name]
  if value == nil then error("params." .. name .. " is missing", 3) end
  return value
end

function get_mailfrom(ctx) check("get_mailfrom") return message(ctx):mailfrom() end
function get_rcptto(ctx) check("get_rcptto") return message(ctx):rcptto() end
function get_mess_recv_from(ctx) check("get_mess_recv_from") return message(ctx):reception_peer() end
function get_mess_recv_via(ctx) check("get_mess_recv_via") return message(ctx):listener_addr() end

function get_header(ctx, _, params) check("get_header")
  return (message(ctx):header(named(params, "header")) or {})[1]
end
function del_header(ctx, _, params) check("del_header")
  local name = named(params, "header")
  message(ctx):header(name, "")
  return name
end

local function note(ctx, kind, params)
  local there, value = message(ctx):context_exists_and_get(kind, named(params, "key"))
  if there == 1 then return value end
end
function vctx_mess_get(ctx, _, params) check("vctx_mess_get") return note(ctx, MESS, params) end
function vctx_conn_get(ctx, _, params) check("vctx_conn_get") return note(ctx, CONN, params) end
function vctx_mess_set(ctx, _, params) check("vctx_mess_set")
  message(ctx):context_set(MESS, named(params, "key"), named(params, "value"))
  return params.value
end
function vctx_conn_set(ctx, _, params) check("vctx_conn_set")
  message(ctx):context_set(CONN, named(params, "key"), named(params, "value"))
  return params.value
end

function get_variable(_, vars, params) return vars[named(params, "name")] end
function set_variable(_, vars, params)
  vars[named(params, "name")] = params.value
  return params.value
end

function pcre_match(_, vars, params)
  local subject = named(params, "subject")
  local found, wrong = msys.pcre.match(subject, named(params, "pattern"))
  if wrong then error("the pattern cannot be used: " .. wrong, 2) end
  if not found then return false end
  vars["$0"] = subject
  for key, value in pairs(found) do
    if key ~= 0 then vars["$" .. key] = value end
  end
  return true
end

local function one_of(names)
  local list = {}
  for name in names:gmatch("[^,%s]+") do list[#list + 1] = name end
  if #list == 0 then error("no name is given", 3) end
  return list[math.random(#list)]
end
function set_binding(ctx, _, params) check("set_binding")
  return message(ctx):binding(one_of(named(params, "binding"))) ~= nil
end
function set_binding_group(ctx, _, params) check("set_binding_group")
  return message(ctx):binding_group(one_of(named(params, "binding_group"))) ~= nil
end

function send_email(_, _, params)
  native.send_email(named(params, "from"), named(params, "to"), params.subject, params.body, params.throttle)
end
get_binding_domain_failure_rate, send_trap = native.get_binding_domain_failure_rate, native.send_trap
