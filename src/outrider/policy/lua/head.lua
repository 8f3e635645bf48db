-- Header fields that Python gave along with a hook: what a script reads of them is no call of Python's.
--
-- They are given to hooks that asked for some the last time, as one text of a line each (NUL marks where a field was
-- folded), and once more in lower case behind a line feed. All of it is ASCII without encoded words, so a value needs
-- only its folds taken out.
--
-- Invariant: whatever Python is asked in between may change the message, so from then on Python is asked for fields too.

local R = ...
local type, find, sub, byte, gsub, lower = type, string.find, string.sub, string.byte, string.gsub, string.lower
local NAMES_MAX = 1000 -- names whose form for the search is kept, chosen: scripts have some dozens

local given -- the number of the object whose fields these are, or nil
local fields, lowered

function R.give_head(id, as_written, in_lower_case)
  given, fields, lowered = id, as_written, in_lower_case
end

function R.drop_head() given = nil end

local starts, names = {}, 0 -- name -> how a field's line starts, or false

local function start_of(name)
  local start = find(name, "^[%w_-]+$") and "\n" .. lower(name) .. ":" or false
  if names >= NAMES_MAX then starts, names = {}, 0 end
  starts[name], names = start, names + 1
  return start
end

-- Without the white space around it.
local function trim(text, first, last)
  local octet = byte(text, first)
  while octet == 32 or octet == 9 do
    first = first + 1
    octet = byte(text, first)
  end
  if first > last then return "" end
  octet = byte(text, last)
  while octet == 32 or octet == 9 do
    last = last - 1
    octet = byte(text, last)
  end
  return sub(text, first, last)
end

-- The values of an object's fields of a name; nil where Python is to be asked.
function R.values_of(id, name)
  if id ~= given or type(name) ~= "string" then return nil end
  local start = starts[name]
  if start == nil then start = start_of(name) end
  if not start then return nil end
  local values, count = {}, 0
  local _, colon = find(lowered, start, 1, true)
  while colon do
    local stop = find(fields, "\r\n", colon, true) -- the colon is at `colon - 1` here
    local value = trim(fields, colon, stop - 1)
    if find(value, "\0", 1, true) then
      value = gsub(value, "%z", "")
      value = trim(value, 1, #value)
    end
    count = count + 1
    values[count] = value
    _, colon = find(lowered, start, stop, true)
  end
  return values
end
