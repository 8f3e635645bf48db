require("msys.core")
require("msys.extended.message")
require("msys.extended.vctx")
require("msys.datasource")
local mod = {}

function mod:validate_rcptto_list(list, vctx)
  for i = 1, #list do
    if list[i] == nil or list[i] == "" then error("an empty recipient") end
  end
  return msys.core.VALIDATE_CONT
end

function mod:validate_data_spool(msg, ac, vctx)
  if #msg:header("X-Archive") == 0 then return msys.core.VALIDATE_CONT end
  local list = vctx:recipient_list()
  list[#list + 1] = "archive@one.test"
  vctx:recipient_list(list)
  vctx:add_recipient({ "second@one.test" })
  vctx:remove_recipient("second@one.test")
  local notice = msys.core.ec_message_new(nil)
  notice:build({
    From = "archive@sender.test",
    To = "office@one.test",
    Subject = "=?utf-8?B?" .. msys.base64.encode("Kopie für das Archiv") .. "?=",
    ["X-Original"] = tostring(msg.id),
  }, {
    ["text/plain; charset=utf-8"] = "Eine Kopie ist unterwegs: " .. ((msg:header("Subject"))[1] or ""),
  }, {
    { type = "text/csv", name = "recipients.csv", content = table.concat(list, "\r\n", 1) .. "\r\n" },
    { content = msg },
  })
  notice:inject("archive@sender.test", "office@one.test")
  return msys.core.VALIDATE_CONT
end

msys.registerModule("archive", mod)
