-- `curl`: the part of libcurl that requests to HTTP servers need.
--
-- Options are kept here and checked when they are set; `perform` makes one request of them. Callbacks get the whole
-- answer at once. An option that is known and not supported is refused by name.

local native = require("outrider.curl")

module("curl", package.seeall)

escape, unescape = native.escape, native.unescape

local LISTS = "HTTPHEADER"
local STRINGS = "COOKIE CUSTOMREQUEST POSTFIELDS RANGE REFERER URL USERAGENT USERPWD"
local NUMBERS = "CONNECTTIMEOUT HTTP_VERSION INFILESIZE INFILESIZE_LARGE MAXREDIRS POSTFIELDSIZE POSTFIELDSIZE_LARGE"
  .. " SSL_VERIFYHOST TIMEOUT"
local BOOLEANS = "FAILONERROR FOLLOWLOCATION FORBID_REUSE FRESH_CONNECT HEADER HTTPGET NOBODY NOPROGRESS NOSIGNAL POST"
  .. " PUT SSL_VERIFYPEER TCP_NODELAY UPLOAD VERBOSE"
local CALLBACKS = "READFUNCTION WRITEFUNCTION HEADERFUNCTION PROGRESSFUNCTION"
local DATA = "READDATA WRITEDATA HEADERDATA PROGRESSDATA"
local REFUSED = "HTTP200ALIASES HTTPPOST POSTQUOTE PREQUOTE QUOTE SOURCE_POSTQUOTE SOURCE_PREQUOTE SOURCE_QUOTE"
  .. " TELNETOPTIONS CAINFO CAPATH COOKIEFILE COOKIEJAR EGDSOCKET ENCODING FTPPORT FTP_ACCOUNT INTERFACE KRB4LEVEL"
  .. " NETRC_FILE PROXY PROXYUSERPWD RANDOM_FILE SOURCE_URL SOURCE_USERPWD SSLCERT SSLCERTTYPE SSLENGINE SSLKEY"
  .. " SSLKEYPASSWD SSLKEYTYPE SSL_CIPHER_LIST WRITEINFO BUFFERSIZE CLOSEPOLICY DNS_CACHE_TIMEOUT FTPSSLAUTH"
  .. " FTP_RESPONSE_TIMEOUT FTP_SSL HTTPAUTH IPRESOLVE LOW_SPEED_LIMIT LOW_SPEED_TIME MAXCONNECTS MAXFILESIZE"
  .. " MAXFILESIZE_LARGE NETRC PORT PROXYAUTH PROXYPORT PROXYTYPE RESUME_FROM RESUME_FROM_LARGE SSLVERSION"
  .. " TIMECONDITION TIMEVALUE AUTOREFERER COOKIESESSION CRLF DNS_USE_GLOBAL_CACHE FILETIME FTPAPPEND FTPLISTONLY"
  .. " FTP_CREATE_MISSING_DIRS FTP_USE_EPRT FTP_USE_EPSV HTTPPROXYTUNNEL SSLENGINE_DEFAULT TRANSFERTEXT"
  .. " UNRESTRICTED_AUTH IOCTLFUNCTION IOCTLDATA SEEKFUNCTION SEEKDATA"

local kinds, names = {}, {} -- number of an option -> what it takes, its name
local count = 0
local function define(list, kind)
  for name in list:gmatch("%S+") do
    count = count + 1
    kinds[count], names[count] = kind, name
    curl["OPT_" .. name] = count
  end
end
define(LISTS, "list")
define(STRINGS, "string")
define(NUMBERS, "number")
define(BOOLEANS, "boolean")
define(CALLBACKS, "function")
define(DATA, "any")
define(REFUSED, "refused")

local meta = {}
meta.__index = meta
meta.__metatable = "curl"
local MAX = 10 -- redirects, as many as are ever followed

function new() return setmetatable({options = {}, is_open = true}, meta) end

local function check_open(self)
  if type(self) ~= "table" or getmetatable(self) ~= "curl" then error("a curl object expected (call with ':')", 3) end
  if not self.is_open then error("this curl object is closed", 3) end
end

local function check(name, kind, value)
  if kind == "refused" then error("curl.OPT_" .. name .. " is not supported here", 3) end
  if kind == "any" or value == nil and kind ~= "boolean" then return end
  if type(value) ~= (kind == "list" and "string" or kind) then
    error("curl.OPT_" .. name .. " takes a " .. kind .. ", got a " .. type(value), 3)
  end
  if name == "SSL_VERIFYPEER" and not value or name == "SSL_VERIFYHOST" and value ~= 2 then
    error("certificates of servers are always checked: curl.OPT_" .. name .. " cannot be turned off", 3)
  end
end

function meta:setopt(option, ...)
  check_open(self)
  local name, kind = names[option], kinds[option]
  if not name then error("there is no such option of curl", 2) end
  if kind ~= "list" then
    local value = ...
    check(name, kind, value)
    self.options[name] = value
    return true
  end
  local lines = type(...) == "table" and (...) or {...}
  for _, line in ipairs(lines) do check(name, kind, line) end
  self.options[name] = #lines > 0 and lines or nil
  return true
end

function meta:close()
  check_open(self)
  self.is_open = false
end

local function read_all(self)
  local options, parts = self.options, {}
  if not options.READFUNCTION then return nil end
  while true do
    local part = options.READFUNCTION(options.READDATA or self, 65536)
    if not part or part == "" then return table.concat(parts) end
    parts[#parts + 1] = part
  end
end

local function method_of(options)
  if options.CUSTOMREQUEST then return options.CUSTOMREQUEST end
  if options.NOBODY then return "HEAD" end
  if options.PUT or options.UPLOAD then return "PUT" end
  if options.POST or options.POSTFIELDS and not options.HTTPGET then return "POST" end
  return "GET"
end

local function headers_of(options, body)
  local lines, has_type = {}, false
  for _, line in ipairs(options.HTTPHEADER or {}) do
    has_type = has_type or line:lower():find("^content%-type%s*:") ~= nil
    if line:find(":%s*%S") then lines[#lines + 1] = line end
  end
  local function add(name, value) if value then lines[#lines + 1] = name .. ": " .. value end end
  add("User-Agent", options.USERAGENT)
  add("Referer", options.REFERER)
  add("Cookie", options.COOKIE)
  add("Range", options.RANGE and "bytes=" .. options.RANGE)
  if options.USERPWD then add("Authorization", "Basic " .. msys.base64.encode(options.USERPWD)) end
  if body and options.POSTFIELDS and not has_type then add("Content-Type", "application/x-www-form-urlencoded") end
  return lines
end

local function give(self, name, text)
  local callback = self.options[name .. "FUNCTION"]
  if callback then return callback(self.options[name .. "DATA"] or self, text) == #text end
  return true
end

function meta:perform()
  check_open(self)
  local options = self.options
  if not options.URL then return nil, "no URL is set" end
  local body = options.POSTFIELDS or read_all(self)
  local status, lines, text = native.request({
    method = method_of(options), url = options.URL, headers = headers_of(options, body), body = body,
    seconds = options.TIMEOUT and options.TIMEOUT > 0 and options.TIMEOUT or options.CONNECTTIMEOUT,
    redirects = options.FOLLOWLOCATION and (options.MAXREDIRS and options.MAXREDIRS >= 0 and options.MAXREDIRS or MAX),
  })
  if not status then return nil, lines end
  if options.FAILONERROR and status >= 400 then return nil, "the server answered " .. status end
  lines[#lines + 1] = ""
  for _, line in ipairs(lines) do
    if not give(self, "HEADER", line .. "\r\n") then return nil, "HEADERFUNCTION did not take all" end
    if options.HEADER and not give(self, "WRITE", line .. "\r\n") then
      return nil, "WRITEFUNCTION did not take all"
    end
  end
  if text ~= "" and not give(self, "WRITE", text) then return nil, "WRITEFUNCTION did not take all" end
  return true
end
