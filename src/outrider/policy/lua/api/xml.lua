-- `xml`: documents and nodes as scripts have them; what they stand for is in Python.

local native = require("outrider.xml")

module("xml", package.seeall)

local HANDLE = {}
local doc, node = {}, {}
local doc_meta = {__index = doc, __metatable = "xml.doc"}
local node_meta = {__index = node, __metatable = "xml.node"}

local function wrap(handle, meta)
  if handle == nil then return nil end
  return setmetatable({[HANDLE] = handle}, meta)
end

local function handle_of(object)
  local handle = type(object) == "table" and rawget(object, HANDLE)
  if not handle then error("an object of xml expected, got " .. type(object) .. " (call methods with ':')", 3) end
  return handle
end

local function each(list)
  local at = 0
  return function()
    at = at + 1
    local item = list[at]
    if type(item) == "userdata" then return wrap(item, node_meta) end
    return item
  end
end

local function same(a, b) return rawget(a, HANDLE) == rawget(b, HANDLE) end
doc_meta.__eq, node_meta.__eq = same, same

function parsexml(text, keep_blanks) return wrap(native.parsexml(text, keep_blanks), doc_meta) end
function newnode(name) return wrap(native.newnode(name), node_meta) end

function doc:root() return wrap(native.root(handle_of(self)), node_meta) end
function doc:tostring() return native.document_text(handle_of(self)) end
function doc:xpath(query, context)
  return each(native.xpath(handle_of(self), query, context and handle_of(context)))
end
doc_meta.__tostring = doc.tostring

function node:addchild(child)
  if type(child) == "table" then child = handle_of(child) end
  return wrap(native.addchild(handle_of(self), child), node_meta)
end
function node:attribute(name, ...) return native.attribute(handle_of(self), name, ...) end
node.attr = node.attribute
function node:children() return each(native.children(handle_of(self))) end
function node:contents(text) return native.contents(handle_of(self), text) end
function node:doc() return wrap(native.doc(handle_of(self)), doc_meta) end
function node:name() return native.name(handle_of(self)) end
function node:tostring() return native.node_text(handle_of(self)) end
node_meta.__tostring = node.tostring
function node:unlink() return wrap(native.unlink(handle_of(self)), node_meta) end
