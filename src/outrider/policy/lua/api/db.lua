-- `msys.db` in Lua: rows as an iterator.

local native = require("outrider.msys.db")

module("msys.db")

fetch_row, execute = native.fetch_row, native.execute

function query(...)
  local rows, wrong = native.query(...)
  if not rows then return rows, wrong end
  local at = 0
  return function()
    at = at + 1
    return rows[at]
  end
end
