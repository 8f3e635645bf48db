require("msys.core")
require("msys.extended.message")
require("msys.pcre")

local mod = {}
local BOUNCES = "bounces.sender.test"
local MAX_LOCAL = 64

local function escape(s)
  return (s:gsub("[^%w%.%-_]", function(c) return string.format("=%02X", c:byte()) end))
end

local function unescape(s)
  return (s:gsub("=(%x%x)", function(h) return string.char(tonumber(h, 16)) end))
end

local function checksum(s)
  local sum = 0x1505
  for i = 1, #s do
    sum = ((sum << 5) ^^ sum ^^ s:byte(i)) & 0xFFFFFF
  end
  return string.format("%06x", sum)
end

function mod:validate_mailfrom(str, ac, vctx)
  local text = tostring(str)
  local m = msys.pcre.match(text, "(?i)MAIL FROM:\\s*<(?<addr>[^>]*)>")
  self.sender = m and m.addr or ""
  return msys.core.VALIDATE_CONT
end

function mod:validate_data_spool_each_rcpt(msg, ac, vctx)
  if self.sender == "" or self.sender == nil then
    return msys.core.VALIDATE_CONT
  end
  local list = (msg:header("List-Id") or {})[1]
  if list == nil then return msys.core.VALIDATE_CONT end
  local rcpt = msg:rcptto()
  local coded = "b-" .. escape(rcpt) .. "-" .. checksum(rcpt:lower())
  if #coded > MAX_LOCAL then
    print("verp: too long for " .. rcpt)
    return msys.core.VALIDATE_CONT
  end
  msg:mailfrom(coded .. "@" .. BOUNCES)
  msg:context_set(msys.core.ECMESS_CTX_MESS, "verp_original", rcpt)
  if unescape(escape(rcpt)) ~= rcpt then error("verp: not reversible") end
  return msys.core.VALIDATE_CONT
end

msys.registerModule("verp", mod)
