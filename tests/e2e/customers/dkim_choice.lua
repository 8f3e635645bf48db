require("msys.core")
require("msys.extended.message")
require("msys.validate.opendkim")
require("msys.db")
require("msys.datasource")
local mod = {}
local cached = {}

local function key_for(domain)
  local at = domain
  while at and at:find(".", 1, true) do
    local row = msys.db.fetch_row("crm", "SELECT domain, selector, pem FROM dkim WHERE domain = ?", { at },
      { raise_error = false })
    if row then return row end
    at = at:match("^[^.]+%.(.+)$")
  end
  return nil
end

function mod:core_final_validation(msg, ac, vctx)
  local domains = msg:address_header("From", "domain")
  if not domains or #domains == 0 then return end
  local domain = domains[1]:lower()
  local row = key_for(domain)
  if not row then
    return msys.core.VALIDATE_CONT
  end
  local payload = row.pem:gsub("%-%-%-%-%-[^-]+%-%-%-%-%-", ""):gsub("%s+", "")
  local options = {
    signing_domain = row.domain,
    selector = row.selector,
    header_canon = "relaxed",
    body_canon = "relaxed",
    digest = "rsa-sha256",
    headerlist = "From:To:Subject:Date:Message-ID:MIME-Version",
    keybuf = payload,
  }
  local ok, err = pcall(msys.validate.opendkim.sign, msg, vctx, options)
  if not ok then print("dkim: " .. err) end
  return msys.core.VALIDATE_CONT
end

msys.registerModule("dkim_choice", mod)
