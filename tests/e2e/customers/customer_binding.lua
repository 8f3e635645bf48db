require("strict")
require("msys.core")
require("msys.extended.message")
require("msys.db")
require("msys.datasource")
require("msys.gauge_cache")
local util = require "site.util"
local mod = {}
local CUSTOMERS = {
  acme = { group = "pool" },
  globex = { binding = "vip" },
  initech = { binding = "gone", fallback = "shared" },
}
local unknown = 0

function mod:init()
  msys.gauge_cache.define("customers", 1000, 3600)
  return true
end

function mod:deinit()
  return true
end

function mod:validate_set_binding(msg)
  local id = util.trim(util.first_header(msg, "X-Customer")):lower()
  local c = CUSTOMERS[id]
  if c == nil then
    unknown = unknown + 1
    msg:binding("shared")
    return msys.core.VALIDATE_CONT
  end
  msys.gauge_cache.inc("customers", id)
  msg:context_set(msys.core.ECMESS_CTX_MESS, "customer_count", msys.gauge_cache.get("customers", id))
  local set
  if c.group then set = msg:binding_group(c.group) end
  if not set and c.binding then set = msg:binding(c.binding) end
  if not set then set = msg:binding(c.fallback or "default") end
  if id == "globex" then msg.priority = 1 end
  util.debug_log("%s has %s (%d unknown)", id, tostring(set), unknown)
  return msys.core.VALIDATE_DONE
end

msys.registerModule("customer_binding", mod)
