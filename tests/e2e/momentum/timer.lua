require("msys.core"); require("msys.timer")
local mod = {}
local ticks = 0
function mod:init()
  timer = msys.timer.every(0.05, function()
    ticks = ticks + 1
    if ticks == 3 then print("three ticks") end
  end)
  return true
end
function mod:deinit() print("no more ticks"); return true end
function mod:validate_connect(ac, vctx) return msys.core.VALIDATE_CONT end
msys.registerModule("timer", mod)
