-- `json`: objects whose fields are read and set as those of tables; `tostring` gives their text.
--
-- An object holds its node under NODE: {kind = "o", keys = names in order, values = by name}. An array has its items
-- where a table has them, so that `#` counts them, and the node {kind = "a", n = items when there are nulls among
-- them}. A scalar that was encoded is {kind = "s", value = …}.

local native = require("outrider.json")

module("json", package.seeall)

for name, value in pairs(native) do
  if name:find("^ERROR_") then json[name] = value end
end
strerror = native.strerror

local NODE = {}
local NULL = setmetatable({[NODE] = {kind = "z"}}, {__metatable = "json"})
local DEPTH_MAX = 100 -- chosen: deeper tables hold themselves
local TOO_DEEP = "a JSON object is nested too deep, or holds itself"
local meta = {__metatable = "json"}

local function node_of(value)
  return type(value) == "table" and rawget(value, NODE) or nil
end

local function make(node) return setmetatable({[NODE] = node}, meta) end

-- What Lua's values are in an object: scalars, objects, and tables copied.
local function to_value(value, depth)
  local kind = type(value)
  if value == nil then return NULL end
  if kind == "boolean" or kind == "number" or kind == "string" or node_of(value) then return value end
  if kind ~= "table" then error("a " .. kind .. " cannot be put into a JSON object", 0) end
  if depth > DEPTH_MAX then error("a table is nested too deep, or holds itself", 0) end
  if value[1] ~= nil then
    local made, at = make({kind = "a"}), 1
    while value[at] ~= nil do
      rawset(made, at, to_value(value[at], depth + 1))
      at = at + 1
    end
    return made
  end
  local node = {kind = "o", keys = {}, values = {}}
  for key, item in pairs(value) do
    local name = tostring(key)
    if node.values[name] == nil then node.keys[#node.keys + 1] = name end
    node.values[name] = to_value(item, depth + 1)
  end
  table.sort(node.keys)
  return make(node)
end

local function checked(value)
  local ok, made = pcall(to_value, value, 0)
  if not ok then error(made, 3) end
  return made
end

local function build(row, at)
  local kind = row[at]
  if kind == "z" then return NULL, at + 1 end
  if kind == "s" then return row[at + 1], at + 2 end
  local count = row[at + 1]
  at = at + 2
  if kind == "a" then
    local node = {kind = "a"}
    local made, item = make(node), nil
    for i = 1, count do
      item, at = build(row, at)
      if item == NULL then node.n = count else rawset(made, i, item) end
    end
    return made, at
  end
  local node = {kind = "o", keys = {}, values = {}}
  for i = 1, count do
    local name = row[at]
    node.keys[i] = name
    node.values[name], at = build(row, at + 1)
  end
  return make(node), at
end

local function items_of(array, node)
  local count = node.n or 0
  for key in next, array do
    if type(key) == "number" and key > count then count = key end
  end
  return count
end

-- What an object is: an empty one that `table.insert` put an item into is an array from then on.
local function kind_of(self, node)
  if node.kind == "o" and node.keys[1] == nil and rawget(self, 1) ~= nil then node.kind = "a" end
  return node.kind
end

local function flatten(value, row, depth)
  if depth > DEPTH_MAX then error(TOO_DEEP, 0) end
  if type(value) == "table" and not node_of(value) then value = to_value(value, depth) end
  local node = node_of(value)
  if not node then
    row[#row + 1] = value == nil and "z" or "s"
    if value ~= nil then row[#row + 1] = value end
    return row
  end
  local kind = kind_of(value, node)
  row[#row + 1] = kind
  if kind == "s" then
    row[#row + 1] = node.value
  elseif kind == "a" then
    local count = items_of(value, node)
    row[#row + 1] = count
    for i = 1, count do flatten(rawget(value, i), row, depth + 1) end
  elseif kind == "o" then
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
  if node.kind ~= "o" then return nil end
  local value = node.values[tostring(key)]
  if value == NULL then return nil end
  return value
end

local function set_item(self, key, value)
  if type(key) ~= "number" or key < 1 or key % 1 ~= 0 or key > #self + 10000 then
    error("an array has items 1, 2 …, not '" .. tostring(key) .. "'", 3)
  end
  if value ~= NULL then rawset(self, key, value) end
end

local function set_field(node, name, value)
  if value ~= NULL then
    if node.values[name] == nil then node.keys[#node.keys + 1] = name end
    node.values[name] = value
    return
  end
  node.values[name] = nil
  for i, each in ipairs(node.keys) do
    if each == name then
      table.remove(node.keys, i)
      return
    end
  end
end

function meta.__newindex(self, key, value)
  local node = rawget(self, NODE)
  local made = checked(value)
  if node.kind == "o" and key == 1 and #node.keys == 0 then node.kind = "a" end
  if kind_of(self, node) == "a" then return set_item(self, key, made) end
  if node.kind ~= "o" then error("this JSON value has no fields", 2) end
  return set_field(node, tostring(key), made)
end

-- Names and values of an object, in order; places and items of an array. Nulls are nil, as for who asks for them.
function meta.__pairs(self)
  local node = rawget(self, NODE)
  local names, last, at = nil, 0, 0
  if kind_of(self, node) == "o" then
    names, last = {}, #node.keys
    for i = 1, last do names[i] = node.keys[i] end
  elseif node.kind == "a" then
    last = items_of(self, node)
  end
  return function()
    while at < last do
      at = at + 1
      local key = at
      if names then key = names[at] end
      local value = self[key]
      if value ~= nil then return key, value end
    end
  end, self, nil
end

function meta.__tostring(self) return native.encode(flatten(self, {}, 0)) end
function meta.__concat(a, b) return tostring(a) .. tostring(b) end

function decode(text)
  local row, code, wrong = native.decode(text)
  if not row then return nil, code, wrong end
  local value = build(row, 1)
  if value == NULL then return make({kind = "z"}) end
  return node_of(value) and value or make({kind = "s", value = value})
end

function encode(value)
  local made = checked(value)
  if made == NULL then return make({kind = "z"}) end
  return node_of(made) and made or make({kind = "s", value = made})
end

function new() return make({kind = "o", keys = {}, values = {}}) end
