require("msys.core"); require("msys.audit_series")
local mod = {}
function mod:init() msys.audit_series.define("per_user", "string", 900, 4); return true end
function mod:validate_mailfrom(str, ac, vctx)
  local user = vctx:get(msys.core.VCTX_CONN, "auth_user")
  if user and user != "" then
    msys.audit_series.add("per_user", {key = user})
    if msys.audit_series.count("per_user", {key = user, startv = 0, endv = 3}) > 5000 then
      vctx:set_code(451, "4.7.1 hourly allowance used up")
      return msys.core.VALIDATE_DONE
    end
  end
  return msys.core.VALIDATE_CONT
end
msys.registerModule("allowance", mod)
