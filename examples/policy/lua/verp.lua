-- Variable envelope return paths: newsletters leave with the recipient in their reverse-path, so that whatever
-- comes back tells whom it is about: news@shop.example to joe@one.example leaves as
-- news+joe=one.example@shop.example.
--
-- What is neither a letter, a digit, a dot nor a hyphen is written as _ and two hexadecimal digits.

require("msys.core")
require("msys.extended.message")

local LOCAL_PART_OCTETS = 64 -- RFC 5321 4.5.3.1.1

local function escaped(text)
  return (text:gsub("[^%w.-]", function(octet)
    return string.format("_%02X", octet:byte())
  end))
end

local mod = {}

function mod:validate_data_spool_each_rcpt(msg, ac, vctx)
  local kind = (msg:header("Precedence") or {})[1]
  local user, domain = tostring(msg:mailfrom()):match("^([^@+]+)@([^@]+)$")
  if kind and kind:lower() == "bulk" and user then
    local whom, where = tostring(msg:rcptto()):match("^(.+)@([^@]+)$")
    local path = user .. "+" .. escaped(whom) .. "=" .. escaped(where)
    if #path <= LOCAL_PART_OCTETS then
      msg:mailfrom(path .. "@" .. domain)
    end
  end
  return msys.core.VALIDATE_CONT
end

msys.registerModule("verp", mod)
