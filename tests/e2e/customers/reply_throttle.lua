require("msys.core")
require("msys.audit_series")
require("msys.bounce")
local mod = {}

function mod:init()
  msys.audit_series.define("deferred", "string", 60, 5)
  return true
end

function mod:outrider_response(attempt, vctx)
  local code = tonumber(attempt.code) or 0
  if code >= 400 and code < 500 then
    local class, name = msys.bounce.classify_smtp_response(code .. " " .. tostring(attempt.text), attempt.routing_domain)
    print("deferred " .. tostring(attempt.routing_domain) .. " " .. tostring(name))
    msys.audit_series.add("deferred", { key = tostring(attempt.routing_domain) })
  end
  return msys.core.VALIDATE_CONT
end

function mod:validate_rcptto(msg, str, ac, vctx)
  local domain = vctx:get(msys.core.VCTX_MESS, "rcptto_domain")
  if msys.audit_series.count("deferred", { key = domain, startv = 0, endv = 4 }) > 0 then
    vctx:set_code(451, "4.7.1 " .. domain .. " asks us to slow down")
  end
  return msys.core.VALIDATE_CONT
end

msys.registerModule("reply_throttle", mod)
