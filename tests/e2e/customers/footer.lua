require("msys.core")
require("msys.extended.message")
require("msys.pcre")
local mod = {}

local TEXT = "\r\n-- \r\nGrüße von Example GmbH · www.sender.test\r\n"
local HTML = "<hr><p>Grüße von <b>Example GmbH</b> · <a href=\"https://www.sender.test/?a=1&amp;b=2\">www</a></p>"

local function add_to(part)
  local ct = part:content_type()
  if ct.is_attachment then return 0 end
  if ct.mimetype == "text/plain" then
    local text = part:text()
    if text == nil then return 0 end
    part:text(text .. TEXT, "text/plain", ct.charset)
    return 1
  elseif ct.mimetype == "text/html" then
    local text = part:text() or ""
    if part:text_match("(?i)</body\\s*>") then
      part:text_replace("(?i)(</body\\s*>)", HTML .. "$1")
    else
      part:text(text .. HTML, "text/html", "utf-8")
    end
    return 1
  end
  return 0
end

local function walk(part, depth)
  local n = 0
  if part.parts then
    for _, child in ipairs(part.parts) do n = n + walk(child, depth + 1) end
  else
    n = n + add_to(part)
  end
  return n
end

function mod:validate_data_spool(msg, ac, vctx)
  local wanted = (msg:header("X-Footer") or {})[1]
  if wanted == nil then return msys.core.VALIDATE_CONT end
  local root = msg:mime(false)
  local ok, n = pcall(walk, root, 0)
  if not ok then
    print("footer: " .. tostring(n))
    return msys.core.VALIDATE_CONT
  end
  if n == 0 or wanted == "part" then
    local footer = msg:makePart("text/plain; charset=utf-8", TEXT)
    if not root:addLastChild(footer) then
      local box = msg:makeContainer("multipart/mixed", msg:makeBoundary(root))
      print("footer: not a container")
    end
  end
  msg:header("X-Footer", n)
  return msys.core.VALIDATE_CONT
end

msys.registerModule("footer", mod)
