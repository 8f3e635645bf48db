-- A customer may hand in so many messages an hour as the table "customer" says (column "hourly"); who has no
-- row, as many as STRANGERS. Counted over all workers in four windows of a quarter of an hour, which slide.

require("msys.core")
require("msys.extended.message")
require("msys.audit_series")
require("msys.db")
require("msys.datasource")

local SERIES = "per_customer"
local STRANGERS = 100

local mod = {}

function mod:init()
  msys.audit_series.define(SERIES, "string", 900, 4)
  return true
end

function mod:validate_data(msg, ac, vctx)
  local customer = (msg:header("X-Customer") or {})[1]
  if not customer or customer == "" then
    return msys.core.VALIDATE_CONT
  end
  local row = msys.db.fetch_row("crm", "SELECT hourly FROM customer WHERE name = ?", { customer })
  local allowed = tonumber(row and row.hourly) or STRANGERS
  local key = row and customer or "strangers"
  if msys.audit_series.count(SERIES, { key = key, startv = 0, endv = 3 }) >= allowed then
    vctx:set_code(451, "4.7.1 The hourly allowance is used up")
    return msys.core.VALIDATE_DONE
  end
  msys.audit_series.add(SERIES, { key = key })
  return msys.core.VALIDATE_CONT
end

msys.registerModule("customer_allowance", mod)
