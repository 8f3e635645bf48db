-- One call, or some, of each function; each body returns true. It is given msg, ac, vctx, and the phase.
-- [vctx:get]
vctx:set(msys.core.VCTX_CONN, "k", "v")
return vctx:get(msys.core.VCTX_CONN, "k") == "v" and vctx:get(msys.core.VCTX_MESS, "absent") == ""
  and vctx:get(msys.core.VCTX_CONN, "listener_no") == ""
-- [vctx:set]
vctx:set(msys.core.VCTX_MESS, "n", 42)
vctx:set(msys.core.VCTX_CONN, "c", "one")
return vctx:get(msys.core.VCTX_MESS, "n") == "42" and vctx:get(msys.core.VCTX_CONN, "c") == "one"
-- [vctx:set_code]
vctx:set_code(550, "5.7.1 no")
vctx:set_code("250", "2.0.0 yes")
return true
-- [vctx:disconnect]
vctx:disconnect(421, "4.7.0 bye")
vctx:set_code(250)
return true
-- [vctx:pbp_action]
local result = vctx:pbp_action(451, "4.7.1 later")
vctx:set_code(250)
return result == msys.core.VALIDATE_DONE
-- [vctx:pbp_disconnect]
local result = vctx:pbp_disconnect(421, "4.7.1 bye")
vctx:set_code(250)
return result == msys.core.VALIDATE_DONE
-- [vctx:tarpit]
vctx:tarpit(0.001)
return true
-- [vctx:add_recipient]
vctx:add_recipient("new@one.test")
if phase == "rcptto" then return true end
local list = vctx:recipient_list()
return list[#list] == "new@one.test"
-- [vctx:remove_recipient]
vctx:remove_recipient("x1@one.test")
if phase == "mailfrom" or phase == "rcptto" then return true end
vctx:add_recipient({"x1@one.test", "x2@one.test"})
vctx:remove_recipient("x1@one.test")
local list = vctx:recipient_list()
return list[#list] == "x2@one.test" and list[0] == ""
-- [vctx:recipient_list]
if phase == "rcptto_list" or phase == "data" or phase == "data_spool" or phase == "msg_gen" then
  vctx:recipient_list({"joe@one.test", "second@one.test"})
  local list = vctx:recipient_list()
  return #list == 2 and list[2] == "second@one.test"
end
return type(vctx:recipient_list()) == "table"
-- [ac.remote_addr]
return ac.remote_addr == "192.0.2.1"
-- [ac.protocol]
return ac.protocol == msys.core.P_ESMTP
-- [ac:esmtp_capability_add]
ac:esmtp_capability_add("X-PRACTICE one two")
return not pcall(ac.esmtp_capability_add, ac, "X\r\nAUTH") and not pcall(ac.esmtp_capability_add, ac, "")
-- [ac:esmtp_capability_remove]
ac:esmtp_capability_remove("chunking")
return not pcall(ac.esmtp_capability_remove, ac, "a\nb")
-- [ac:inbound_session_count]
return ac:inbound_session_count() == 1 and ac:inbound_session_count("/24", "SMTP") == 1
and ac:inbound_session_count(nil, "ECStream") == 0 and ac:inbound_session_count("192.0.9.1") == 0
and ac:inbound_session_count("192.0.9.1/16") == 1 and not pcall(ac.inbound_session_count, ac, "/24", "smtp")
-- [msys.core.string_new]
local s = msys.core.string_new()
s:set("ab")
s:write("cde", 2)
s:write("f")
return #s == 5 and tostring(s) == "abcdf" and s.buffer == "abcdf" and "<" .. s .. ">" == "<abcdf>"
-- [msys.core.get_now_ts]
local now = msys.core.get_now_ts()
return now > 1600000000 and now == math.floor(now)
-- [msys.core.protocol_string]
return msys.core.protocol_string(msys.core.P_ESMTP) == "ESMTP" and msys.core.protocol_string(99) == "unknown"
-- [msys.core.accept_construct_get_message_construct]
local mc = msys.core.accept_construct_get_message_construct(ac)
mc.ctx:set(msys.core.VCTX_CONN, "by_mc", "1")
return mc.ctx:get(msys.core.VCTX_CONN, "by_mc") == "1"
-- [msys.core.stringwrite]
local s = msys.core.string_new()
msys.core.stringwrite(s, "abc", 2)
return tostring(s) == "ab"
-- [msg.id]
return #tostring(msg.id) > 10 and msg.id == msg.id
-- [msg.batch_id]
return #tostring(msg.batch_id) > 10
-- [msg.conn_id]
return #tostring(msg.conn_id) > 10
-- [msg.priority]
if phase == "set_binding" then
  msg.priority = 1
  local ok = pcall(function() msg.priority = 2 end)
  return msg.priority == 1 and not ok
end
local ok, why = pcall(function() msg.priority = 1 end)
return msg.priority ~= nil and not ok and why:find("set_binding only") ~= nil
-- [msg.recv_method]
return msg.recv_method == msys.core.P_ESMTP or phase ~= "data"
-- [msg:mailfrom]
if phase == "data" or phase == "data_spool" or phase == "msg_gen" or phase == "each_rcpt" then
  local before, new = msg:mailfrom(), phase .. "@sender.test"
  return #before > 0 and msg:mailfrom(new) == new and msg:mailfrom() == new
end
return #msg:mailfrom() > 0 and not pcall(msg.mailfrom, msg, "x@sender.test")
-- [msg:rcptto]
if phase == "each_rcpt" then
  return msg:rcptto("<other@one.test>") == "other@one.test" and msg:rcptto() == "other@one.test"
end
return msg:rcptto():find("@one.test") ~= nil and not pcall(msg.rcptto, msg, "x@one.test")
-- [msg:get_envelope2]
local a, b = msys.core.string_new(), msys.core.string_new()
msg:get_envelope2(msys.core.EC_MSG_ENV_TO, a, b)
local parts = tostring(a) .. "," .. tostring(b)
msg:get_envelope2(msys.core.EC_MSG_ENV_FROM + msys.core.EC_MSG_ENV_COMPLETE, a, b)
local both = pcall(msg.get_envelope2, msg, msys.core.EC_MSG_ENV_TO + msys.core.EC_MSG_ENV_FROM, a, b)
return parts == "joe,one.test" and tostring(a) == "shop@sender.test" and not both
-- [msg:binding]
if phase == "set_binding" then
  return msg:binding("no-such") == nil and msg:binding("vip") == "vip" and msg:binding() == "vip"
    and msg:binding("default") == "default"
end
local stored = phase == "outbound" and "vip" or "default"
return msg:binding() == stored and not pcall(msg.binding, msg, "vip")
-- [msg:binding_group]
if phase == "set_binding" then
  return msg:binding_group() == nil and msg:binding_group("no-such") == nil and msg:binding_group("pool") == "pool"
    and msg:binding_group() == "pool" and msg:binding() == "vip"
end
return msg:binding_group() == "pool" and not pcall(msg.binding_group, msg, "pool")
-- [msg:routing_domain]
if phase == "each_rcpt" then
  return msg:routing_domain("Relay.TEST") == "relay.test" and msg:routing_domain() == "relay.test"
end
return #msg:routing_domain() > 5 and not pcall(msg.routing_domain, msg, "x.test")
-- [msg:get_delivery_method]
return msg:get_delivery_method() == "smtp"
-- [msg:get_message_size]
return msg:get_message_size() == #msg:raw()
-- [msg:is_mcmt]
return msg:is_mcmt() == 0
-- [msg:listener_addr]
local ip, port = msg:listener_addr("ip"), msg:listener_addr("port")
return ip == "2001:db8::25" and port == "2525" and msg:listener_addr() == "[2001:db8::25]:2525"
  and msg:listener_addr("all") == msg:listener_addr() and not pcall(msg.listener_addr, msg, "name")
-- [msg:reception_peer]
local port = (phase == "outbound" or phase == "msg_gen") and "0" or "4025"
if msg.recv_method == msys.core.P_HTTP then port = "0" end
return msg:reception_peer() == "192.0.2.1:" .. port and msg:reception_peer("ip") == "192.0.2.1"
  and msg:reception_peer("port") == port
-- [msg:code]
local before = msg:code()
msg:code(0, "550 5.7.1 no\r\nsecond line")
local set = msg:code()
msg:code(250, "ok")
return before == "" and set == "550 5.7.1 no\nsecond line"
-- [msg:discard]
msg:discard("not today")
return true
-- [msg:inject]
msg:inject("copies@sender.test", "a@one.test, b@one.test")
return true
-- [msg:forward]
msg:forward("me@sender.test", "a@one.test", "see below", "Fwd", "utf-8")
return not pcall(msg.forward, msg, "me@sender.test", "a@one.test", "\195\188")
-- [msg:context_get]
msg:context_set(msys.core.ECMESS_CTX_MESS, "k", "v")
return msg:context_get(msys.core.ECMESS_CTX_MESS, "k") == "v" and msg:context_get(msys.core.ECMESS_CTX_CONN, "no") == ""
  and msg:context_get(msys.core.ECMESS_CTX_MESS, "rcptto_domain") == "one.test"
  and msg:context_get(msys.core.ECMESS_CTX_MESS, "rcptto_string") == "RCPT TO:<joe@one.test>"
  and msg:context_get(msys.core.ECMESS_CTX_MESS, "mailfrom_localpart") == "shop"
-- [msg:context_set]
msg:context_set(msys.core.ECMESS_CTX_CONN, "n", 7)
return msg:context_get(msys.core.ECMESS_CTX_CONN, "n") == "7" and not pcall(msg.context_set, msg, 9, "n", 7)
-- [msg:context_exists]
msg:context_set(1, "e", "")
return msg:context_exists(1, "e") == 1 and msg:context_exists(1, "nothing") == 0
-- [msg:context_exists_and_get]
msg:context_set(1, "e", "v")
local one, value = msg:context_exists_and_get(1, "e")
local none, missing = msg:context_exists_and_get(1, "nothing")
return one == 1 and value == "v" and none == 0 and missing == nil
-- [msg:context_delete]
msg:context_set(1, "d", "v")
return msg:context_delete(1, "d") == 1 and msg:context_delete(1, "d") == 0 and msg:context_get(1, "d") == ""
-- [msys.core.ec_message_context_get]
msys.core.ec_message_context_set(msg, 1, "k", "v")
return msys.core.ec_message_context_get(msg, 1, "k") == "v" and not pcall(msys.core.ec_message_context_get, 1, 1, "k")
-- [msys.core.ec_message_context_set]
msys.core.ec_message_context_set(msg, 1, "k", "v")
return msg:context_get(1, "k") == "v"
-- [msys.core.ec_message_context_exists]
return msys.core.ec_message_context_exists(msg, 1, "nothing") == 0
-- [msys.core.ec_message_context_exists_and_get]
msg:context_set(1, "k", "v")
return select(2, msys.core.ec_message_context_exists_and_get(msg, 1, "k")) == "v"
-- [msys.core.ec_message_context_delete]
msg:context_set(1, "k", "v")
return msys.core.ec_message_context_delete(msg, 1, "k") == 1
-- [msys.core.ec_message_context_firstkey]
msg:context_set(2, "k1", "v")
return msys.core.ec_message_context_firstkey(msg, 2) == "k1"
-- [msys.core.ec_message_context_nextkey]
msg:context_set(2, "k1", "v")
msg:context_set(2, "k2", "v")
local found, key = 0, msys.core.ec_message_context_firstkey(msg, 2)
while key do
  found = found + 1
  key = msys.core.ec_message_context_nextkey(msg, 2, key)
end
return found == 2
-- [msys.core.ec_message_new]
local new = msys.core.ec_message_new()
new:build({Subject = "hello"}, {["text/plain"] = "text"})
return msys.type(new) == "msys.core:_ec_message"
-- [msg:header]
local ok = msg:header("Subject")[1] == "gr\195\188\195\159e" and #msg:header("X-None") == 0
if phase == "set_binding" or phase == "final_validation" then
  local done, why = pcall(msg.header, msg, "X-A", "1")
  return ok and not done and why:find("content changes in data") ~= nil
end
msg:header("X-A", "one")
msg:header("X-A", "two", "append")
msg:header("X-A", "zero", "prepend")
ok = ok and table.concat(msg:header("X-A"), ",") == "zero,one,two"
msg:header("X-A", {"p", "q"})
ok = ok and table.concat(msg:header("x-a"), ",") == "p,q"
ok = ok and msg:header("X-A", "m\195\188ll") == true and msg:header("X-A")[1] == "m\195\188ll"
msg:header("X-B", "1")
msg:header("X-B", nil)
return ok and msg:header("X-A", "") == true and #msg:header("X-A") == 0 and #msg:header("X-B") == 0
-- [msg:address_header]
return table.concat(msg:address_header("From"), ",") == "ann+news@sender.test,b@other.test"
  and msg:address_header("From", "localpart")[1] == "ann+news" and msg:address_header("From", "user")[1] == "ann"
  and msg:address_header("From", "detail")[1] == "news" and msg:address_header("From", "domain")[2] == "other.test"
  and #msg:address_header("Cc") == 0 and not pcall(msg.address_header, msg, "From", "what")
-- [msg:raw]
if phase == "set_binding" or phase == "final_validation" then
  return msg:raw():find("\r\n\r\n") ~= nil and not pcall(msg.raw, msg, "A: b\r\n\r\nc\r\n")
end
local before = msg:raw()
msg:raw("Subject: new\r\n\r\n.dot\r\n")
local ok = msg:header("Subject")[1] == "new" and msg:body() == ".dot\r\n"
msg:raw(before)
return ok and msg:raw() == before
-- [msg:raw_match]
local found = msg:raw_match("(?i)subject: (?<value>[^\\r]+)")
return found.value == "=?utf-8?q?gr=C3=BC=C3=9Fe?=" and found[1] == found.value and msg:raw_match("no such text") == false
-- [msg:raw_replace]
return msg:raw_replace("X-Old: (\\w+)", "X-New: <$1>") == true and msg:header("X-New")[1] == "<here>"
  and msg:raw_replace("X-Old", "") == false and msg:raw_replace("X-New: <here>", "X-Old: here") == true
-- [msg:body]
if phase == "set_binding" or phase == "final_validation" then return #msg:body() > 10 end
local before = msg:body()
local ok = not pcall(msg.body, msg, "no end")
msg:body(before .. "more\r\n.\r\n")
ok = ok and msg:body() == before .. "more\r\n"
msg:body(before .. ".\r\n")
return ok and msg:body() == before
-- [msg:body_match]
return msg:body_match("Hello (\\d+)")[1] == "42" and msg:body_match("X-Old") == false
-- [msg:body_replace]
return msg:body_replace("Hello", "Hallo") == true and msg:body_replace("Hello", "x") == false
  and msg:body_replace("Hallo", "Hello") == true
-- [msg:text]
if phase == "set_binding" or phase == "final_validation" then
  return msg:text():find("Hello 42") ~= nil and not pcall(msg.text, msg, "x")
end
local before = msg:raw()
local ok = msg:text():find("Hello 42") ~= nil
msg:text("gr\195\188n", "text/html", "iso-8859-1")
ok = ok and msg:text():find("gr\195\188n") ~= nil and msg:header("Content-Type")[1]:find("iso%-8859%-1") ~= nil
msg:raw(before)
return ok
-- [msg:text_match]
return msg:text_match("Hello (\\d+)")[1] == "42" and msg:text_match("JVBERg") == false
-- [msg:text_replace]
local ok = msg:text_replace("Hello (\\d+)", "$1 gr\195\188\195\159e") == true and msg:text():find("42 gr\195\188") ~= nil
return ok and msg:text_replace("\\d+ gr.+e", "Hello 42") == true and msg:text_replace("nothing", "x") == false
-- [msg:build]
local new = msys.core.ec_message_new(nil)
new:build({From = "a@sender.test", Subject = "built"},
  {["text/html; charset=utf-8"] = "<b>gr\195\188n</b>", ["text/plain"] = "green"},
  {{type = "text/csv", name = "a.csv", headers = "X-One: 1", content = "a;b"}})
local top = new:mime()
local alternatives = top.parts[1].parts
return new:header("Subject")[1] == "built" and alternatives[1]:content_type().mimetype == "text/plain"
  and alternatives[2]:text():find("gr\195\188n") ~= nil and top.parts[2]:content_type().filename == "a.csv"
  and top.parts[2]:header("X-One")[1] == "1" and (msg == nil or not pcall(msg.build, msg, {}, {["text/plain"] = "x"}))
-- [msg:mime]
local top = msg:mime()
local ok = top:content_type().mimetype == "multipart/mixed" and #top.parts == 2 and top.parts[1].parts == nil
ok = ok and top.thread:text():find("Hello") ~= nil and top.thread.thread.thread == nil
if phase == "set_binding" or phase == "final_validation" then return ok and not pcall(msg.mime, msg, false) end
return ok and msg:mime(false) ~= nil
-- [msg:makePart]
local part = msg:makePart("text/csv", "a;b", msys.core.EC_MIME_TE_BASE64)
part.body_start = 0
return part:content_type().encoding == "base64" and part:content_type().mimetype == "text/csv"
  and not pcall(msg.makePart, msg, "text/csv", "a", 99)
-- [msg:makeContainer]
local box = msg:makeContainer("multipart/alternative", "b1")
return box:addLastChild(msg:makePart("text/plain", "x")) == true and #box.parts == 1
  and not pcall(msg.makeContainer, msg, "text/plain")
-- [msg:makeBoundary]
local made = msg:makeBoundary(msg:makePart("text/plain", "x"))
return #made > 5 and msg:raw():find(made, 1, true) == nil
-- [msgpart:header]
local part = msg:mime().parts[2]
local ok = part:header("Content-Transfer-Encoding")[1] == "base64"
if phase == "set_binding" or phase == "final_validation" then return ok and not pcall(part.header, part, "X-A", "1") end
local refused, why = pcall(part.header, part, "X-P", "1")
part = msg:mime(false).parts[2]
part:header("X-P", "1")
part:header("X-P", "2", "append")
ok = ok and #part:header("X-P") == 2
part:header("X-P", nil)
return ok and #part:header("X-P") == 0 and (refused or why:find("read%-only") ~= nil)
-- [msgpart:address_header]
return msg:mime():address_header("From", "domain")[1] == "sender.test"
-- [msgpart.parts]
local root = msg:mime()
return #root.parts == 2 and root.parts[1].parts == nil
-- [msgpart.thread]
local found, part = 0, msg:mime()
while part do found, part = found + 1, part.thread end
return found == 3
-- [msgpart.body_start]
return msg:mime().parts[1].body_start == 0
-- [msgpart.body_end]
return msg:mime().parts[1].body_end == #"Hello 42"
-- [msgpart:content_type]
local kind = msg:mime().parts[2]:content_type()
return kind.mimetype == "application/pdf" and kind.filename == "a.pdf" and kind.is_attachment == true
  and kind.encoding == "base64" and msg:mime().parts[1]:content_type().charset == "utf-8"
-- [msgpart:text]
local part = msg:mime().parts[1]
local ok = part:text():find("Hello") ~= nil and msg:mime().parts[2]:text() == nil
if phase == "set_binding" or phase == "final_validation" then return ok and not pcall(part.text, part, "x") end
part = msg:mime(false).parts[1]
local before = part:text()
part:text("gr\195\188n")
ok = ok and part:text() == "gr\195\188n"
part:text(before)
return ok
-- [msgpart:text_match]
return msg:mime().parts[1]:text_match("Hello (\\d)(\\d)")[2] == "2" and msg:mime().parts[2]:text_match("P") == false
-- [msgpart:text_replace]
local part = msg:mime(false).parts[1]
return part:text_replace("Hello", "Hallo") == true and part:text_replace("Hallo", "Hello") == true
-- [msgpart:body_match]
return msg:mime().parts[2]:body_match("^JVB")[0] == "JVB"
-- [msgpart:body_replace]
local part = msg:mime(false).parts[1]
return part:body_replace("Hello", "Hallo") == true and part:body_replace("Hallo", "Hello") == true
-- [msgpart:raw_match]
return msg:mime().parts[2]:raw_match("filename=(\\S+)")[1] == "a.pdf"
-- [msgpart:raw_replace]
local part = msg:mime(false).parts[1]
return part:raw_replace("Hello", "Hallo") == true and part:raw_replace("Hallo", "Hello") == true
-- [msgpart:addFirstChild]
local top = msg:mime(false)
local new = msg:makePart("text/plain", "first")
local ok = top:addFirstChild(new) == true and top.parts[1]:text() == "first" and new:addFirstChild(top.parts[2]) == false
new:unlink()
return ok and #top.parts == 2
-- [msgpart:addLastChild]
local top = msg:mime(false)
local new = msg:makePart("text/plain", "last")
local ok = top:addLastChild(new) == true and top.parts[3]:text() == "last"
new:unlink()
return ok and not pcall(top.addLastChild, top, "no part")
-- [msgpart:insertAfter]
local top = msg:mime(false)
local new = msg:makePart("text/plain", "middle")
new:insertAfter(top.parts[1])
local ok = top.parts[2]:text() == "middle"
new:unlink()
return ok
-- [msgpart:insertBefore]
local top = msg:mime(false)
local new = msg:makePart("text/plain", "middle")
new:insertBefore(top.parts[2])
local ok = top.parts[2]:text() == "middle"
new:unlink()
return ok
-- [msgpart:unlink]
local top = msg:mime(false)
local second = top.parts[2]
second:unlink()
local ok = #top.parts == 1
top:addLastChild(second)
return ok and #top.parts == 2
-- [msys.config]
return msys.config("get", "Hostname") == "out.sender.test" and not pcall(msys.config, "get", "no_such")
-- [msys.dnsLookup]
local found = msys.dnsLookup("a.test")
local none, why = msys.dnsLookup("none.test", "TXT")
local mx = msys.dnsLookup("a.test", "mx", {priority = true})
return found[1] == "192.0.2.7" and none == nil and why:find("none.test") ~= nil and mx[1][1] == 10 and mx[1][2] == "mx.a.test"
  and msys.dnsLookup("a.test", "MX")[2] == "mx2.a.test" and msys.dnsLookup("192.0.2.7", "PTR")[1] == "ptr.a.test"
  and msys.dnsLookup("a.test", "NS")[1] == "ns.a.test" and not pcall(msys.dnsLookup, "a.test", "SRV")
-- [msys.expandMacro]
if vctx then vctx:set(msys.core.VCTX_CONN, "who", "me") end
local text = msys.expandMacro("<%{vctx_conn:who}>")
local known = msys.expandMacro("%{i} %{ir} %{d1} %{p} 5% %%")
local sender = phase == "load" and "    5% %%" or "192.0.2.1 1.2.0.192 "
return text == (vctx and "<me>" or "<>") and not pcall(msys.expandMacro, "%{spf:x}")
  and not pcall(msys.expandMacro, "%{q}") and known:sub(1, #sender) == sender
-- [msys.parseRFC2822Addresses]
local found = msys.parseRFC2822Addresses('"A, B" <a+x@one.test>, c@two.test', "user")
return #found == 2 and found[1] == "a"
-- [msys.readfile]
local none, why = msys.readfile("../outside")
return msys.readfile("shop.lua"):find("validate_connect") ~= nil and none == nil and why:find("below it") ~= nil
  and select(2, msys.readfile("absent")):find("absent") ~= nil
-- [msys.sleep]
msys.sleep(0.001)
return not pcall(msys.sleep, -1)
-- [msys.runInPool]
local ok, value, none, list = msys.runInPool("IO", function() msys.sleep(0) return 6 * 7, nil, {a = {msg or 1}} end)
local failed, why = msys.runInPool("CPU", function() error("in the pool") end)
return ok == true and value == 42 and none == nil and list.a[1] == (msg or 1) and failed == false
  and why:find("in the pool") ~= nil and select("#", msys.runInPool("IO", function() end)) == 1
-- [msys.lock]
msys.lock("name")
msys.unlock("name")
return true
-- [msys.unlock]
msys.lock("u")
msys.unlock("u")
return not pcall(msys.unlock, "nobody's")
-- [msys.asyncOk]
local within
table.sort({2, 1}, function(a, b) within = msys.asyncOk() return a < b end)
return msys.asyncOk() == (phase ~= "load") and within == false and coroutine.wrap(msys.asyncOk)() == msys.asyncOk()
-- [msys.type]
return msys.type("x") == "string" and msys.type(1) == "number" and msys.type(nil) == "nil" and msys.type({}) == "table"
  and msys.type(msys) == "table" and msys.type({[{}] = msys.type}) == "table" and msys.type(require("json").new()) == "table"
  and msys.type(msys.core.string_new()) == "msys.core:_ec_string" and (vctx == nil or msys.type(vctx):find("msys.core:") == 1)
-- [msys.cast]
local s = msys.core.string_new()
return msys.cast(s, "msys.core:_ec_string") ~= nil and not pcall(msys.cast, s, "msys.core:_ec_message")
-- [msys.shareSet]
return msys.shareSet("a", 5) == true and msys.shareGet("a") == 5 and not pcall(msys.shareSet, "a", {})
-- [msys.shareGet]
return msys.shareGet("never") == nil
-- [msys.shareUnset]
msys.shareSet("b", "x")
msys.shareUnset("b")
return msys.shareGet("b") == nil
