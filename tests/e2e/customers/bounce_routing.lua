require("msys.core")
require("msys.extended.message")
require("msys.extended.message_routing")
require("msys.bounce")
require("msys.rfc3464")
require("msys.pcre")
local mod = {}

local ROUTES = {
  { pattern = "^b-(.+)-[0-9a-f]{6}$", domain = "head-office.test" },
  { pattern = "^(?:fbl|complaints?)[\\w.-]*$", domain = "head-office.test" },
}

local function is_bounce(msg)
  local from = msg:mailfrom()
  return from == nil or from == "" or from:lower():find("^mailer%-daemon@") ~= nil
end

function mod:validate_data_spool_each_rcpt(msg, ac, vctx)
  local local_part, domain = msys.core.string_new(), msys.core.string_new()
  msg:get_envelope2(msys.core.EC_MSG_ENV_TO, local_part, domain)
  for i, route in ipairs(ROUTES) do
    local m, err, num = msys.pcre.match(tostring(local_part), route.pattern)
    if err then error("route " .. i .. ": " .. err) end
    if m then
      msg:header("X-Route", i .. ":" .. (m[1] or ""))
      msg:routing_domain(route.domain:upper())
      break
    end
  end
  if is_bounce(msg) then
    local code, symbol, why, who = msys.bounce.classify(msg)
    local fields = msys.rfc3464.extract_delivery_status(msg)
    msg:header("X-Bounce", string.format("%s %s %s", tostring(code), tostring(symbol), tostring(who)))
    if fields then
      for name, value in pairs(fields) do
        if name == "Status" then msg:header("X-Bounce-Status", value) end
      end
    end
    local c, s = msys.bounce.classify_smtp_response("452 4.2.2 over quota", tostring(domain))
    msg:context_set(msys.core.ECMESS_CTX_MESS, "class", c)
    msg:header("X-Class", msg:context_get(msys.core.ECMESS_CTX_MESS, "class") .. " " .. s)
  end
  return msys.core.VALIDATE_CONT
end

msys.registerModule("bounce_routing", mod)
