-- `msys.getopt`: options of a console command, as POSIX's getopt reads them.
--
-- for option, value in getopt(argv, "ab:") do … end
-- `argv`: words from 0 (the command's name) or 1 on. Gives each option's letter and its value; "?" and the letter for
-- one that is not known, ":" and the letter for one whose value is missing. The words that are left: `msys.getopt.rest`.

module("msys.getopt", package.seeall)

local function words_of(argv)
  local words, at = {}, 1
  while argv[at] ~= nil do
    words[at] = tostring(argv[at])
    at = at + 1
  end
  return words
end

local function read(argv, options)
  local words, found, rest, at = words_of(argv), {}, {}, 1
  while words[at] do
    local word = words[at]
    at = at + 1
    if word == "--" then break end
    if word:sub(1, 1) ~= "-" or word == "-" then
      at = at - 1
      break
    end
    local place = 2
    while place <= #word do
      local letter = word:sub(place, place)
      local known = letter ~= ":" and options:find(letter, 1, true)
      place = place + 1
      if not known then
        found[#found + 1] = {"?", letter}
      elseif options:sub(known + 1, known + 1) ~= ":" then
        found[#found + 1] = {letter}
      elseif place <= #word then
        found[#found + 1] = {letter, word:sub(place)}
        place = #word + 1
      elseif words[at] then
        found[#found + 1] = {letter, words[at]}
        at = at + 1
      else
        found[#found + 1] = {":", letter}
      end
    end
  end
  while words[at] do
    rest[#rest + 1] = words[at]
    at = at + 1
  end
  return found, rest
end

function getopt(argv, options)
  local found = read(argv, options)
  local at = 0
  return function()
    at = at + 1
    if found[at] then return found[at][1], found[at][2] end
  end
end

function rest(argv, options)
  local _, left = read(argv, options)
  return left
end
