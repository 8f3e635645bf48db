module("lib.shop", package.seeall)
function mark(msg)
  msg:header("X-Marked", "v1")
end
