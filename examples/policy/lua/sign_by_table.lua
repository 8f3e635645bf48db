-- DKIM keys are in the table "dkim": a row for each domain and selector, so a domain with an RSA and an
-- Ed25519 key gets two signatures. A domain without a row is not signed.

require("msys.core")
require("msys.extended.message")
require("msys.db")
require("msys.datasource")
require("msys.validate.opendkim")

local mod = {}

function mod:core_final_validation(msg, ac, vctx)
  local domain = msg:address_header("From", "domain")[1]
  if not domain then
    return msys.core.VALIDATE_CONT
  end
  local query = "SELECT selector, pem FROM dkim WHERE domain = ? ORDER BY selector"
  for row in msys.db.query("crm", query, { domain:lower() }) do
    msys.validate.opendkim.sign(msg, vctx, {
      signing_domain = domain:lower(),
      selector = row.selector,
      keybuf = row.pem,
    })
  end
  return msys.core.VALIDATE_CONT
end

msys.registerModule("sign_by_table", mod)
