require("msys.core")
require("msys.extended.message")
local mod = {}
local QUIET = { from = 22, to = 7 }
math.randomseed(os.time())

local function is_quiet(now, offset)
  local t = os.date("!*t", now + (offset or 0) * 3600)
  if QUIET.from > QUIET.to then
    return t.hour >= QUIET.from or t.hour < QUIET.to
  end
  return t.hour >= QUIET.from and t.hour < QUIET.to
end

local function weekday(now) return tonumber(os.date("!%w", now)) end

function mod:validate_data(msg, ac, vctx)
  local zone = tonumber((msg:header("X-Zone") or {})[1] or "")
  if not zone then return msys.core.VALIDATE_CONT end
  local at = tonumber((msg:header("X-Now") or {})[1]) or os.time()
  if math.abs(os.difftime(os.time(), msys.core.get_now_ts())) > 2 then error("clocks differ") end
  local stamp = os.date("!%Y-%m-%dT%H:%M:%SZ", at)
  if is_quiet(at, zone) then
    vctx:set_code(451, "4.7.1 quiet hours, it is " .. stamp)
    return msys.core.VALIDATE_DONE
  end
  if weekday(at) == 0 then
    vctx:set_code(451, "4.7.1 never on a Sunday")
    return msys.core.VALIDATE_DONE
  end
  local midnight = os.time({ year = 2024, month = 1, day = 1, hour = 0 })
  if type(midnight) ~= "number" then error("no midnight") end
  msg:header("X-Stamp", stamp)
  msg:header("X-Dice", math.random(1, 6))
  return msys.core.VALIDATE_CONT
end

msys.registerModule("time_of_day", mod)
