-- Which binding sends a customer's mail is in the table "customer".
--
-- Takes X-Customer of the message. Who has no row, or a row that names no binding, is sent by "shared".
-- While the database is down the client hears 451 and tries again.

require("msys.core")
require("msys.extended.message")
require("msys.db")
require("msys.datasource")

local FALLBACK = "shared"

local mod = {}

function mod:validate_set_binding(msg)
  local customer = (msg:header("X-Customer") or {})[1]
  local row
  if customer and customer != "" then
    row = msys.db.fetch_row("crm", "SELECT binding FROM customer WHERE name = ?", { customer })
  end
  if not (row and row.binding and msg:binding(row.binding)) then
    msg:binding(FALLBACK)
  end
  return msys.core.VALIDATE_CONT
end

msys.registerModule("customer_binding", mod)
