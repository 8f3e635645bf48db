-- One-time codes on the way out: late ones are stopped, nights are kept, each copy says how to leave.
--
-- The sender notes with a message until when its code is valid (valid_until) and until when its recipient sleeps
-- (quiet_until), both in Unix seconds. A full mailbox is tried three times; a receiver that says 5xx for "too
-- fast" is asked again in an hour. What ends is noted with its event. The hooks are Outrider's own: Momentum has
-- none like them.

require("msys.core")
require("msys.extended.message")

local WEEK = 604800 -- the longest that a recipient is held back

local mod = {}

local function noted(msg, name)
  return tonumber(msg:context_get(msys.core.VCTX_MESS, name))
end

function mod:outrider_outbound(msg, attempt, vctx)
  local now = msys.core.get_now_ts()
  local valid_until, quiet_until = noted(msg, "valid_until"), noted(msg, "quiet_until")
  if valid_until and valid_until < now then
    vctx:set_code(550, "5.7.1 The code is no longer valid")
    return msys.core.VALIDATE_DONE
  end
  local asleep = (quiet_until or 0) - now
  if asleep >= 1 then
    attempt:hold_back(math.min(asleep, WEEK), "4.7.1 The recipient sleeps")
    return msys.core.VALIDATE_CONT
  end
  local recipient = tostring(msg:rcptto()):gsub("@", "=")
  msg:header("List-Unsubscribe", "<mailto:leave+" .. recipient .. "@shop.example>", "append")
  return msys.core.VALIDATE_CONT
end

function mod:outrider_response(attempt, vctx)
  if attempt.disposition == "permanent" and attempt.text:lower():find("too fast", 1, true) then
    attempt.disposition = "transient"
    attempt:retry_after(3600)
    attempt:note("rule", "too-fast")
  elseif attempt.bounce_class == "mailbox-full" and attempt.attempts >= 3 then
    attempt.disposition = "permanent"
  end
  return msys.core.VALIDATE_CONT
end

function mod:outrider_disposal(attempt, vctx)
  attempt:note("ended", attempt.ending .. " after " .. attempt.attempts)
  return msys.core.VALIDATE_CONT
end

msys.registerModule("late_codes", mod)
