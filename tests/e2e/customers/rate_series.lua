require("msys.core")
require("msys.audit_series")
require("msys.counter")
require("msys.extended.message")
local mod = {}
local LIMITS = { ["127.0.0.1"] = 100000, default = 50 }

function mod:init()
  msys.audit_series.define("by_ip", "cidr", 60, 10)
  msys.audit_series.define("by_sender", "string", 60, 60, { persist = true })
  return true
end

function mod:validate_connect(ac, vctx)
  msys.audit_series.add("by_ip", ac)
  msys.audit_series.add("by_ip")
  local n = msys.audit_series.count("by_ip", { key = ac, startv = 0, endv = 9 })
  local net = msys.audit_series.count("by_ip", { key = "/24", endv = 9 })
  local ip = tostring(ac.remote_addr):match("^[%d.]+")
  if n > (LIMITS[ip] or LIMITS.default) or net < n then
    vctx:disconnect(421, "4.7.0 too many connections from " .. ip)
    return msys.core.VALIDATE_DONE
  end
  vctx:set(msys.core.VCTX_CONN, "connections", n)
  return msys.core.VALIDATE_CONT
end

function mod:validate_data(msg, ac, vctx)
  local sender = vctx:get(msys.core.VCTX_MESS, "mailfrom_localpart")
  local key = sender .. "@" .. vctx:get(msys.core.VCTX_MESS, "mailfrom_domain")
  msys.audit_series.add("by_sender", { key = key, count = #vctx:recipient_list() })
  local now = msys.audit_series.count("by_sender", key)
  local hour = msys.audit_series.count("by_sender", { key = key, startv = 0, endv = 59 })
  if hour < now then error("an hour is more than a minute") end
  msys.counter.inc("site/messages")
  if sender == "limited" and now > 2 then
    vctx:set_code(452, string.format("4.7.1 %d recipients in this minute, %.1f%% of what is yours", now, now / 2 * 100))
    return msys.core.VALIDATE_DONE
  end
  return msys.core.VALIDATE_CONT
end

msys.registerModule("rate_series", mod)
