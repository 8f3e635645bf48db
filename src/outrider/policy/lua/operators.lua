-- The operators that dialect.py turns into calls: `& | ^^ << >> ~ \`.
--
-- Operands become integers of 64 bits first, those of `\` excepted, as by a cast in C (towards zero); the result is an
-- ordinary number. An operand that is no number has a metamethod: __and __or __xor __shl __shr __not __intdiv. A shift to
-- the right keeps the sign, as that of a signed integer does; one by a negative number goes the other way.

local R = ...
local bit = require("bit")
local band, bor, bxor, tobit = bit.band, bit.bor, bit.bxor, bit.tobit
local floor, ceil, type, tonumber, select = math.floor, math.ceil, type, tonumber, select
local getmetatable, rawget = debug.getmetatable, rawget
local TWO32, TWO63, TWO64 = 2 ^ 32, 2 ^ 63, 2 ^ 64

local function number(x)
  if type(x) == "string" then return tonumber(x) end
  return type(x) == "number" and x or nil
end

local function integer(x)
  x = number(x)
  return x and (x >= 0 and floor(x) or ceil(x))
end

local function handler_of(operand, name)
  local meta = getmetatable(operand)
  return type(meta) == "table" and rawget(meta, name)
end

local function event(a, b, name)
  return handler_of(a, name) or handler_of(b, name)
end

local function fail(a, b, what)
  local culprit = a
  if number(a) then culprit = b end
  R.raise("attempt to perform " .. (what or "bitwise operation") .. " on a " .. type(culprit) .. " value")
end

-- The number that a double is after wrapping to 64 bits, signed.
local function wrap(x)
  if x >= -TWO63 and x < TWO63 then return x end
  x = x % TWO64
  return x >= TWO63 and x - TWO64 or x
end

local function halves(x)
  x = wrap(x)
  local low = x % TWO32
  return (x - low) / TWO32, low
end

-- Applies a function of 32 bits to both halves.
local function both(a, b, f)
  local a_high, a_low = halves(a)
  local b_high, b_low = halves(b)
  return f(tobit(a_high), tobit(b_high)) * TWO32 + f(tobit(a_low), tobit(b_low)) % TWO32
end

local function is_finite(x) return x == x and x - x == 0 end

local function operator(name, f)
  return function(a, b)
    local x, y = integer(a), integer(b)
    if x and y then
      if not (is_finite(x) and is_finite(y)) then R.raise("number has no integer representation") end
      return f(x, y)
    end
    local handler = event(a, b, name)
    if handler then return (handler(a, b)) end
    return fail(a, b)
  end
end

local function shift(x, n)
  if n >= 64 then return 0 end
  if n >= 0 then return wrap(wrap(x) * 2 ^ n) end
  if n <= -64 then return x < 0 and -1 or 0 end
  return floor(wrap(x) / 2 ^ -n)
end

local operators = {
  __dialect_and = operator("__and", function(x, y) return both(x, y, band) end),
  __dialect_or = operator("__or", function(x, y) return both(x, y, bor) end),
  __dialect_xor = operator("__xor", function(x, y) return both(x, y, bxor) end),
  __dialect_shl = operator("__shl", shift),
  __dialect_shr = operator("__shr", function(x, n) return shift(x, -n) end),
}

-- Not bit by bit: its operands stay what they are (luai_numintdiv in luaconf.h of thrlua).
function operators.__dialect_intdiv(a, b)
  local x, y = number(a), number(b)
  if x and y then return floor(x / y) end
  local handler = event(a, b, "__intdiv")
  if handler then return (handler(a, b)) end
  return fail(a, b, "arithmetic")
end

local negate = operator("__not", function(x) return -1 - wrap(x) end)
function operators.__dialect_not(a) return negate(a, a) end

-- What Lua 5.1 has in `arg` in a function that takes `...`, see varargs.py.
function operators.__dialect_arg(...) return {n = select("#", ...), ...} end

R.operators = operators
