require("msys.core"); require("msys.extended.message"); require("msys.db"); require("msys.datasource"); require("msys.validate.opendkim")
local mod = {}
function mod:core_final_validation(msg, ac, vctx)
  local domain = msg:address_header("From", "domain")[1]
  local key = msys.db.fetch_row("keys", "SELECT selector, pem FROM dkim WHERE domain = ?", {domain}, {raise_error = false})
  if key then
    msys.validate.opendkim.sign(msg, vctx, {signing_domain = domain, selector = key.selector, keybuf = key.pem})
  end
  return msys.core.VALIDATE_CONT
end
msys.registerModule("sign_by_table", mod)
