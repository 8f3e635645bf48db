require("msys.core")
require("msys.extended.message")
require("msys.pcre")
local mod = {}
local WORDS = { "viagra", "casino", "\\bwire[\\s-]+transfer\\b" }
local ADDRESS = "[\\w-\\.+]+@[\\w-]+(?:\\.[\\w-]+)+"
local CARD = "\\b(?:\\d[ -]*?){13,16}\\b"
local combined = "(?i)(" .. table.concat(WORDS, "|") .. ")"

local function luhn(digits)
  local sum, odd = 0, false
  for i = #digits, 1, -1 do
    local d = digits:byte(i) - 48
    if odd then
      d = d * 2
      if d > 9 then d = d - 9 end
    end
    sum = sum + d
    odd = not odd
  end
  return sum % 10 == 0
end

function mod:validate_data(msg, ac, vctx)
  local score = 0
  local subject = (msg:header("Subject") or {})[1] or ""
  if subject != "" and not subject:find("%l") and #subject > 8 then score = score + 2 end
  local hit = msg:text_match(combined)
  if hit then
    score = score + 3
    vctx:set(msys.core.VCTX_MESS, "word", hit[1])
  end
  local texts = msg:text()
  if type(texts) == "string" then texts = { texts } end
  for _, text in ipairs(texts or {}) do
    local m = msys.pcre.match(text, CARD)
    if m and luhn((m[0]:gsub("%D", ""))) then
      msg:text_replace(CARD, "[card number removed]")
      score = score + 1
    end
    local addresses = 0
    for word in text:gmatch("%S+") do
      local found, err = msys.pcre.match(word, "^" .. ADDRESS .. "$")
      if err then error(err) end
      if found then addresses = addresses + 1 end
    end
    if addresses > 2 then score = score + 1 end
  end
  msg:header("X-Score", score)
  msg:header("X-Bar", string.rep("*", score))
  if score >= 5 then
    vctx:set_code(550, "5.7.1 score " .. score .. " word " .. vctx:get(msys.core.VCTX_MESS, "word") .. "\nsecond line")
  end
  return msys.core.VALIDATE_CONT
end

msys.registerModule("content_filter", mod)
