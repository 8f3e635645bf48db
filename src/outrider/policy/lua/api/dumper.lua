-- `msys.dumper`: a value as Lua text.

module("msys.dumper", package.seeall)

local DEPTH_MAX = 50 -- chosen: deeper tables are loops
local KEY = "^[%a_][%w_]*$"
local WORDS = {["and"] = 1, ["break"] = 1, ["do"] = 1, ["else"] = 1, ["elseif"] = 1, ["end"] = 1, ["false"] = 1,
  ["for"] = 1, ["function"] = 1, ["if"] = 1, ["in"] = 1, ["local"] = 1, ["nil"] = 1, ["not"] = 1, ["or"] = 1,
  ["repeat"] = 1, ["return"] = 1, ["then"] = 1, ["true"] = 1, ["until"] = 1, ["while"] = 1}

local function before(a, b)
  if type(a) == type(b) and type(a) ~= "boolean" then return a < b end
  return tostring(type(a)) < tostring(type(b))
end

local function dump(value, depth, seen)
  local kind = type(value)
  if kind == "string" then return string.format("%q", value) end
  if kind ~= "table" then
    if kind == "number" or kind == "boolean" or kind == "nil" then return tostring(value) end
    return string.format("%q", tostring(value))
  end
  if seen[value] or depth > DEPTH_MAX then return '"(again)"' end
  seen[value] = true
  local parts, keys, count = {}, {}, #value
  for i = 1, count do parts[i] = dump(value[i], depth + 1, seen) end
  for key in pairs(value) do
    if not (type(key) == "number" and key >= 1 and key <= count and key % 1 == 0) then keys[#keys + 1] = key end
  end
  table.sort(keys, before)
  for _, key in ipairs(keys) do
    local name = type(key) == "string" and key:find(KEY) and not WORDS[key] and key
      or "[" .. dump(key, depth + 1, seen) .. "]"
    parts[#parts + 1] = name .. "=" .. dump(value[key], depth + 1, seen)
  end
  seen[value] = nil
  if #parts == 0 then return "{}" end
  return "{ " .. table.concat(parts, ", ") .. " }"
end

function Dumper(value) return "return " .. dump(value, 0, {}) end
