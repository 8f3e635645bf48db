-- Adds a disclaimer to the text of what leaves: to plain text below it, to HTML before the end of the body.
--
-- Attachments are left alone, and so is mail that somebody signed or encrypted, which would break.

require("msys.core")
require("msys.extended.message")

local PLAIN = "\r\n-- \r\nSent by Example Ltd., registered in Exampletown.\r\n"
local HTML = "<p><small>Sent by Example Ltd., registered in Exampletown.</small></p>"
local SEALED = {
  ["multipart/signed"] = true,
  ["multipart/encrypted"] = true,
  ["application/pkcs7-mime"] = true,
}

local function with_html(text)
  local at = text:lower():find("</body>", 1, true)
  if at then
    return text:sub(1, at - 1) .. HTML .. text:sub(at)
  end
  return text .. HTML
end

local mod = {}

function mod:validate_data_spool(msg, ac, vctx)
  local top = msg:mime(false)
  local texts = {}
  local part = top
  while part do
    local kind = part:content_type()
    local mimetype = kind.mimetype:lower()
    if SEALED[mimetype] then
      return msys.core.VALIDATE_CONT
    end
    if not part.parts and not kind.is_attachment then
      if mimetype == "text/plain" or mimetype == "text/html" then
        texts[#texts + 1] = { part = part, mimetype = mimetype }
      end
    end
    part = part.thread
  end
  for _, each in ipairs(texts) do
    local text = each.part:text() or ""
    if each.mimetype == "text/html" then
      text = with_html(text)
    else
      text = text .. PLAIN
    end
    -- No charset is asked for: it keeps its own, unless that lacks a character, as where a text is mislabelled.
    each.part:text(text, each.mimetype)
  end
  return msys.core.VALIDATE_CONT
end

msys.registerModule("disclaimer", mod)
