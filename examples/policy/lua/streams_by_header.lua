-- The application says in X-Stream what a message is; each stream goes out by bindings of its own, and what
-- somebody waits for goes first. The field is taken out, because it is nobody else's business.

require("msys.core")
require("msys.extended.message")

local KEY = "stream_asked"
local STREAMS = {
  transactional = { group = "transactional", priority = 1 },
  marketing = { group = "marketing", priority = 0 },
}

local mod = {}

function mod:validate_data_spool(msg, ac, vctx)
  local stream = (msg:header("X-Stream") or {})[1]
  if stream then
    stream = stream:lower()
    if not STREAMS[stream] then
      vctx:set_code(550, "5.7.1 X-Stream names no stream")
      return msys.core.VALIDATE_DONE
    end
    msg:context_set(msys.core.ECMESS_CTX_MESS, KEY, stream)
    msg:header("X-Stream", "")
  end
  return msys.core.VALIDATE_CONT
end

function mod:validate_set_binding(msg)
  local stream = STREAMS[msg:context_get(msys.core.ECMESS_CTX_MESS, KEY)]
  if stream then
    msg:binding_group(stream.group)
    msg.priority = stream.priority
  end
  return msys.core.VALIDATE_CONT
end

msys.registerModule("streams_by_header", mod)
