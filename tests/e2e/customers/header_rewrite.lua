--[[
  header_rewrite: takes internal fields away, tags subjects, adds the fields that mailbox
  providers want from bulk senders.
]]
require("msys.core")
require("msys.extended.message")
require("msys.base64")
require("msys.pcre")
local util = require("site.util")

local mod = {}

local STRIP = { "X-Internal-Id", "X-Originating-IP", "X-PHP-Script", "X-Mailer", "Bcc" }
local STREAMS = {
  news   = { tag = "[News]",  precedence = "bulk" },
  alerts = { tag = nil,       precedence = "list" },
}

local function encode_subject(text)
  -- we encode ourselves: providers complained about mixed forms
  return "=?UTF-8?B?" .. msys.base64.encode(text) .. "?="
end

local function unsubscribe(msg, campaign, rcpt)
  local token = msys.base64.encode(campaign .. ":" .. rcpt):gsub("[+/=]", { ["+"] = "-", ["/"] = "_", ["="] = "" })
  local url = "<https://u.sender.test/?c=" .. campaign .. "&t=?" .. token .. ">"
  msg:header("List-Unsubscribe", url .. ", <mailto:leave@sender.test?subject=" .. campaign .. "> ")
  msg:header("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")
end

function mod:validate_data(msg, ac, vctx)
  for _, name in ipairs(STRIP) do
    local found = msg:header(name)
    if found and #found > 0 then
      msg:header(name, "")
      self.stripped = (self.stripped or 0) + 1
    end
  end
  local ids = msg:header("Message-ID")
  if #ids == 0 then
    msg:header("Message-ID", string.format("<%s.%d@sender.test>", tostring(msg.id), msys.core.get_now_ts()))
  elseif #ids > 1 then
    vctx:set_code(550, "5.6.0 more than one Message-ID")
    return msys.core.VALIDATE_DONE
  end
  return msys.core.VALIDATE_CONT
end

function mod:validate_data_spool_each_rcpt(msg, ac, vctx)
  local stream = util.first_header(msg, "X-Stream")
  local rule = stream and STREAMS[stream:lower()]
  if not rule then
    return msys.core.VALIDATE_CONT
  end
  if rule.tag then
    local subject = util.first_header(msg, "Subject") or "(none)"
    local m = msys.pcre.match(subject, "^\\[[\\w-]+\\]\\s*(.*)$")
    if m then subject = m[1] end
    msg:header("Subject", encode_subject(rule.tag .. " " .. subject))
  end
  msg:header("Precedence", rule.precedence)
  msg:header("X-Stream", nil)
  msg:header("Received", "from policy by sender.test;\r\n\tMon, 1 Jan 2024 00:00:00 +0000", "prepend")
  msg:header("X-Stripped", self.stripped or 0)
  msg:header("Keywords", { "one", "two" }, "append")
  unsubscribe(msg, util.first_header(msg, "X-Campaign") or "none", msg:rcptto())
  return msys.core.VALIDATE_CONT
end

msys.registerModule("header_rewrite", mod)
