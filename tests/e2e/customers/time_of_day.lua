require("msys.core")
require("msys.extended.message")
local mod = {}
local QUIET = { from = 22, to = 7 }
math.randomseed(msys.core.get_now_ts())

local function is_quiet(now, offset)
  local hour = math.floor((now + (offset or 0) * 3600) % 86400 / 3600)
  if QUIET.from > QUIET.to then
    return hour >= QUIET.from or hour < QUIET.to
  end
  return hour >= QUIET.from and hour < QUIET.to
end

local function weekday(now) return (math.floor(now / 86400) + 4) % 7 end -- the first of 1970 was a Thursday

function mod:validate_data(msg, ac, vctx)
  local zone = tonumber((msg:header("X-Zone") or {})[1] or "")
  if not zone then return msys.core.VALIDATE_CONT end
  local at = tonumber((msg:header("X-Now") or {})[1]) or msys.core.get_now_ts()
  local stamp = string.format("%02d:%02d:%02dZ", math.floor(at % 86400 / 3600), math.floor(at % 3600 / 60), at % 60)
  if is_quiet(at, zone) then
    vctx:set_code(451, "4.7.1 quiet hours, it is " .. stamp)
    return msys.core.VALIDATE_DONE
  end
  if weekday(at) == 0 then
    vctx:set_code(451, "4.7.1 never on a Sunday")
    return msys.core.VALIDATE_DONE
  end
  msg:header("X-Stamp", stamp)
  msg:header("X-Dice", math.random(1, 6))
  return msys.core.VALIDATE_CONT
end

msys.registerModule("time_of_day", mod)
