-- site/util.lua: helpers of all our policies
module("site.util", package.seeall)

local string = require("string")
local table = require("table")

VERSION = "2.4"
DEBUG = false

function trim(s)
  if s == nil then return "" end
  return (tostring(s):gsub("^%s*(.-)%s*$", "%1"))
end

function split(s, sep)
  local out = {}
  if not s or s == "" then return out end
  for piece in string.gmatch(s .. sep, "(.-)" .. sep:gsub("%p", "%%%0")) do
    table.insert(out, trim(piece))
  end
  return out
end

function first_header(msg, name)
  local h = msg:header(name)
  if h != nil and #h > 0 then
    return h[1]
  end
  return nil
end

function domain_of(address)
  if not address then return "" end
  local at = address:find("@[^@]*$")
  if at then return address:sub(at + 1):lower() end
  return ""
end

function keys(t)
  local k = {}
  for name in pairs(t) do k[#k + 1] = name end
  table.sort(k)
  return k
end

function log(fmt, ...)
  print(string.format("[site %s] " .. fmt, VERSION, ...))
end

function debug_log(fmt, ...)
  if DEBUG then log(fmt, ...) end
end

Set = {}
Set.__index = Set
function Set.new(list)
  local self = setmetatable({ items = {} }, Set)
  for _, v in ipairs(list or {}) do self.items[v:lower()] = true end
  return self
end
function Set:has(v) return self.items[tostring(v):lower()] == true end
function Set.__add(a, b)
  local r = Set.new()
  for k in pairs(a.items) do r.items[k] = true end
  for k in pairs(b.items) do r.items[k] = true end
  return r
end
function Set.__tostring(s) return "{" .. table.concat(keys(s.items), ",") .. "}" end
