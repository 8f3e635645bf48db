-- Header fields that Python gave along with a hook: what a script reads of them is no call of Python's.
--
-- They are given to hooks that asked for some the last time, as one text of a line each (NUL marks where a field was
-- folded), and once more in lower case behind a line feed. All of it is ASCII without encoded words, so a value needs
-- only its folds taken out.
--
-- Invariant: whatever Python is asked in between may change the message, so from then on Python is asked for fields too.

local R = ...
local type, find, match, sub, byte = type, string.find, string.match, string.sub, string.byte
local gsub, lower = string.gsub, string.lower
local CONTROL = "[\1-\8\11-\31\127]" -- what no field may be given is a space, as in api/content.py
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

-- Without the white space at its end; a pattern would try each run of it anew.
local function trim(text)
  local last = #text
  local octet
  repeat
    last = last - 1
    octet = byte(text, last)
  until octet ~= 32 and octet ~= 9
  return sub(text, 1, last)
end

-- The values of an object's fields of a name; nil where Python is to be asked.
function R.values_of(id, name)
  if id ~= given or type(name) ~= "string" then return nil end
  local start = starts[name]
  if start == nil then start = start_of(name) end
  if not start then return nil end
  local values, count = {}, 0
  local _, colon = find(lowered, start, 1, true) -- in `fields` the value begins there
  while colon do
    local value, stop = match(fields, "^[ \t]*([^\r%z]*)()", colon)
    if byte(fields, stop) == 0 then
      value, stop = match(fields, "^([^\r]*)()", colon)
      value = match(gsub(value, "%z", ""), "^[ \t]*(.*)$")
    end
    local last = byte(value, -1)
    if last == 32 or last == 9 then value = trim(value) end
    if find(value, "%c") then value = gsub(value, CONTROL, " ") end
    count = count + 1
    values[count] = value
    _, colon = find(lowered, start, stop, true)
  end
  return values
end
