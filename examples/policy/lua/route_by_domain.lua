-- Mail for some domains goes to exchangers of another one: of a partner's relay, or of a filter in between.
-- A name that begins with a dot stands for all domains below it.

require("msys.core")
require("msys.extended.message")
require("msys.extended.message_routing")

local ROUTES = {
  ["branch.example"] = "head-office.test",
  [".branch.example"] = "head-office.test",
}

local function route_of(domain)
  local found = ROUTES[domain]
  while not found do
    local rest = domain:match("^[^.]+(%..+)$")
    if not rest then
      return nil
    end
    found = ROUTES[rest]
    domain = rest:sub(2)
  end
  return found
end

local mod = {}

function mod:validate_data_spool_each_rcpt(msg, ac, vctx)
  local domain = msg:context_get(msys.core.ECMESS_CTX_MESS, "rcptto_domain")
  local route = route_of(domain:lower())
  if route then
    msg:routing_domain(route)
  end
  return msys.core.VALIDATE_CONT
end

msys.registerModule("route_by_domain", mod)
