-- `json`: objects whose fields are read and set as those of tables; `tostring` gives their text.
--
-- A node is {kind = "o", "a", "s" or "z", …}: of an object `keys` in order and `values`, of an array `values` and `n`,
-- of a scalar `value`. What scripts have is a table with the node under NODE.

local native = require("outrider.json")

module("json", package.seeall)

for name, value in pairs(native) do
  if name:find("^ERROR_") then json[name] = value end
end
strerror = native.strerror

local NODE = {}
local NULL = {kind = "z"}
local DEPTH_MAX = 100 -- chosen: deeper tables hold themselves
local meta = {__metatable = "json"}

local function wrap(node)
  if node == nil or node.kind == "z" then return nil end
  if node.kind == "s" then return node.value end
  return setmetatable({[NODE] = node}, meta)
end

local function node_of(value)
  return type(value) == "table" and rawget(value, NODE) or nil
end

local to_node

local function of_table(t, depth)
  if depth > DEPTH_MAX then error("a table is nested too deep, or holds itself", 0) end
  if t[1] ~= nil then
    local node = {kind = "a", values = {}, n = 0}
    while t[node.n + 1] ~= nil do
      node.n = node.n + 1
      node.values[node.n] = to_node(t[node.n], depth + 1)
    end
    return node
  end
  local node = {kind = "o", keys = {}, values = {}}
  for key, value in pairs(t) do
    local name = tostring(key)
    if node.values[name] == nil then node.keys[#node.keys + 1] = name end
    node.values[name] = to_node(value, depth + 1)
  end
  table.sort(node.keys)
  return node
end

function to_node(value, depth)
  local kind = type(value)
  if value == nil then return NULL end
  if kind == "boolean" or kind == "number" or kind == "string" then return {kind = "s", value = value} end
  local node = node_of(value)
  if node then return node end
  if kind == "table" then return of_table(value, depth) end
  error("a " .. kind .. " cannot be put into a JSON object", 0)
end

local function checked(value)
  local ok, node = pcall(to_node, value, 0)
  if not ok then error(node, 3) end
  return node
end

local function build(row, at)
  local kind = row[at]
  if kind == "z" then return NULL, at + 1 end
  if kind == "s" then return {kind = "s", value = row[at + 1]}, at + 2 end
  local count = row[at + 1]
  at = at + 2
  local node = {kind = kind, values = {}}
  if kind == "a" then
    node.n = count
    for i = 1, count do node.values[i], at = build(row, at) end
    return node, at
  end
  node.keys = {}
  for i = 1, count do
    local name = row[at]
    node.keys[i] = name
    node.values[name], at = build(row, at + 1)
  end
  return node, at
end

local function flatten(node, row, depth)
  if depth > DEPTH_MAX then error("a JSON object is nested too deep, or holds itself", 0) end
  row[#row + 1] = node.kind
  if node.kind == "s" then
    row[#row + 1] = node.value
  elseif node.kind == "a" then
    row[#row + 1] = node.n
    for i = 1, node.n do flatten(node.values[i], row, depth + 1) end
  elseif node.kind == "o" then
    row[#row + 1] = #node.keys
    for _, name in ipairs(node.keys) do
      row[#row + 1] = name
      flatten(node.values[name], row, depth + 1)
    end
  end
  return row
end

function meta.__index(self, key)
  local node = rawget(self, NODE)
  if node.kind == "a" then return wrap(node.values[tonumber(key)]) end
  if node.kind == "o" then return wrap(node.values[tostring(key)]) end
end

local function set_item(node, key, value)
  if type(key) ~= "number" or key < 1 or key % 1 ~= 0 or key > node.n + 10000 then
    error("an array has items 1, 2 …, not '" .. tostring(key) .. "'", 3)
  end
  for i = node.n + 1, key - 1 do node.values[i] = NULL end
  if key > node.n then node.n = key end
  node.values[key] = value
  while node.n > 0 and node.values[node.n] == NULL do
    node.values[node.n] = nil
    node.n = node.n - 1
  end
end

function meta.__newindex(self, key, value)
  local node = rawget(self, NODE)
  local item = checked(value)
  if node.kind == "o" and key == 1 and #node.keys == 0 then
    node.kind, node.n, node.keys = "a", 0, nil
  end
  if node.kind == "a" then return set_item(node, key, item) end
  if node.kind ~= "o" then error("this JSON value has no fields", 2) end
  local name = tostring(key)
  if value == nil then
    if node.values[name] == nil then return end
    node.values[name] = nil
    for i, each in ipairs(node.keys) do
      if each == name then table.remove(node.keys, i) break end
    end
    return
  end
  if node.values[name] == nil then node.keys[#node.keys + 1] = name end
  node.values[name] = item
end

function meta.__len(self)
  local node = rawget(self, NODE)
  return node.n or node.keys and #node.keys or 0
end

function meta.__eq(a, b) return rawget(a, NODE) == rawget(b, NODE) end
function meta.__tostring(self) return native.dump(flatten(rawget(self, NODE), {}, 0)) end
function meta.__concat(a, b) return tostring(a) .. tostring(b) end

function decode(text)
  local row, code, wrong = native.read(text)
  if not row then return nil, code, wrong end
  local node = build(row, 1)
  if node.kind == "s" or node.kind == "z" then return setmetatable({[NODE] = node}, meta) end
  return wrap(node)
end

function encode(value) return setmetatable({[NODE] = checked(value)}, meta) end

function new() return setmetatable({[NODE] = {kind = "o", keys = {}, values = {}}}, meta) end
