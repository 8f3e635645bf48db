require("msys.core")
require("msys.extended.message")
require("msys.extended.vctx")
require("msys.db")
require("msys.datasource")
local util = require("site.util")
local mod = {}
local ROLE = util.Set.new({ "abuse", "postmaster", "hostmaster" }) + util.Set.new({ "NOC" })

function mod:validate_rcptto(msg, str, ac, vctx)
  local lp = vctx:get(msys.core.VCTX_MESS, "rcptto_localpart")
  local domain = vctx:get(msys.core.VCTX_MESS, "rcptto_domain")
  if ROLE:has(lp) then
    vctx:set_code("550", "5.7.1 role accounts " .. tostring(ROLE) .. " get no mail from us")
    return msys.core.VALIDATE_DONE
  end
  local row, err = msys.db.fetch_row("crm",
    "SELECT reason, since FROM suppression WHERE address = ? OR address = ?",
    { lp:lower() .. "@" .. domain, "@" .. domain }, { raise_error = false })
  if err then
    util.log("suppression list is not there: %s", err)
    vctx:set_code(451, "4.3.0 try later")
    return msys.core.VALIDATE_DONE
  end
  if row then
    vctx:set_code(550, "5.7.1 " .. row.reason .. " since " .. row.since)
    return msys.core.VALIDATE_DONE
  end
  return msys.core.VALIDATE_CONT
end

function mod:validate_data(msg, ac, vctx)
  -- how many of them are on the list of the last campaign?
  local seen, count = {}, 0
  for row in msys.db.query("crm", "SELECT address FROM sent WHERE campaign = :campaign ORDER BY address",
      { campaign = util.first_header(msg, "X-Campaign") }, { nocache = true }) do
    seen[row.address] = true
    count = count + 1
    if count > 1000 then break end
  end
  local keep = {}
  local list = vctx:recipient_list()
  for i = 0, #list do
    if list[i] ~= "" and not seen[list[i]] then keep[#keep + 1] = list[i] end
  end
  if #keep == 0 then
    vctx:set_code(250, "nobody left")
    msg:discard("all recipients have it already")
    return msys.core.VALIDATE_DONE
  end
  if #keep < #list then vctx:recipient_list(keep) end
  for _, address in ipairs(keep) do
    local ok, why = msys.db.execute("crm", "INSERT INTO sent (campaign, address, note) VALUES (?, ?, ?)",
      { util.first_header(msg, "X-Campaign"), address, nil }, { raise_error = false })
    if not ok then util.log("%s", why) end
  end
  return msys.core.VALIDATE_CONT
end

msys.registerModule("suppression", mod)
