require("msys.core")
require("msys.extended.message")
require("msys.http.client")
local json = require("json")
local mod = {}
local URL = "@URL@"

local function post(event)
  local client = msys.http.client.new()
  client:set_timeout(2)
  client:set_header("Content-Type: application/json")
  client:set_header("X-Event: " .. event.type)
  client:do_request("POST", URL, tostring(json.encode(event)))
  local code, text = client:get_status()
  if code ~= 200 then
    return nil, string.format("%d %s", code, text or "")
  end
  local answer, num, err = json.decode(client:get_body())
  if not answer then return nil, num .. ": " .. err end
  return answer
end

function mod:validate_data_spool_each_rcpt(msg, ac, vctx)
  local hook = msg:header("X-Webhook")
  if not hook or not hook[1] then return msys.core.VALIDATE_CONT end
  local event = {
    type = "injection", rcpt = msg:rcptto(), from = msg:mailfrom(), size = msg:get_message_size(),
    subject = (msg:header("Subject"))[1], time = msys.core.get_now_ts(), tags = { "a", "b" },
    meta = { customer = (msg:header("X-Customer"))[1], empty = {} },
  }
  local ok, answer, err = pcall(post, event)
  if not ok then
    print("webhook: " .. tostring(answer))
  elseif not answer then
    print("webhook said " .. err)
  else
    for key, value in pairs(answer.set or {}) do
      msg:header("X-" .. key, tostring(value))
    end
    for i = 1, #answer.list do msg:header("X-List", answer.list[i], "append") end
    if answer.drop == true then msg:discard("550 5.7.1 the webhook said so") end
    if answer.note == nil then msg:header("X-Note", "none") end
  end
  return msys.core.VALIDATE_CONT
end

msys.registerModule("webhook", mod)
