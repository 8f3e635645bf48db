require("msys.core"); require("msys.extended.message"); require("msys.db"); require("msys.datasource")
local mod = {}
function mod:validate_set_binding(msg)
  local id = (msg:header("X-Customer") or {})[1]
  local row = id and msys.db.fetch_row("crm", "SELECT binding FROM customer WHERE id = ?", {id}, {raise_error = false})
  if not (row and msg:binding(row.binding)) then msg:binding("shared") end
  return msys.core.VALIDATE_CONT
end
msys.registerModule("customer_binding", mod)
