local shop = require("lib.shop")
local mod = {}
function mod:validate_connect(ac, vctx)
  ac:esmtp_capability_add("XPRACTICE one")
  ac:esmtp_capability_remove("CHUNKING")
  return msys.core.VALIDATE_CONT
end
function mod:validate_ehlo(str, ac, vctx)
  if tostring(str):find("bad.test") then vctx:set_code(550, "5.7.1 not you") end
  return msys.core.VALIDATE_CONT
end
function mod:validate_mailfrom(str, ac, vctx)
  if tostring(str):find("gone@") then vctx:disconnect() end
  return msys.core.VALIDATE_CONT
end
function mod:validate_rcptto(msg, str, ac, vctx)
  if vctx:get(msys.core.VCTX_MESS, "rcptto_localpart") == "nobody" then vctx:set_code(550, "5.1.1 nobody") end
  return msys.core.VALIDATE_CONT
end
function mod:validate_data_spool_each_rcpt(msg, ac, vctx)
  local subject = msg:header("Subject")[1] or ""
  if subject == "ends" then
    msg:header("X-Ends", msg:reception_peer() .. " " .. msg:listener_addr())
    msg:header("X-Relay", vctx:get(msys.core.VCTX_CONN, "can_relay"))
  end
  if subject == "raise" then error("as asked") end
  if subject == "spin" then while true do end end
  if subject == "wait" then msys.sleep(60) end
  if subject == "again" then return msys.core.VALIDATE_AGAIN end
  if subject == "discard" then msg:discard() end
  if subject == "copy" then msg:inject("copies@sender.test", "archive@one.test") end
  shop.mark(msg)
  return msys.core.VALIDATE_CONT
end
msys.registerModule("shop", mod)
