-- One call for each function of the services: a body that gives true where the function works.
--
-- The names in brackets are those of the coverage table. `top PACKAGE` stands before the hooks of a script, `init
-- PACKAGE` in its `init`. A body may use `msg`, and `url`, where a server answers with the request.

-- [top mutex]
local m = thread.mutex()

-- [top timer]
local t = msys.timer.after(1000, function() end, 'nightly')

-- [init msys.audit_series]
msys.audit_series.define('s', 'string', 60, 4)

-- [init msys.cidr]
msys.cidr.define('t', {type = 'datasource', cachename = 'crm', query = 'SELECT net, name FROM nets',
value_column = 'name'})

-- [init msys.gauge_cache]
msys.gauge_cache.define('g', 10, 60)

-- [init timer]
t = msys.timer.after(1000, function() end, 'nightly')

-- [top msys.audit]
stage.happen('192.0.2.1')

-- [msys.audit.connections]
return msys.audit.connections('60,3', '192.0.2.1') == 2 and msys.audit.connections('10,1',
{cidr = '192.0.2.9/24'}) == 2 and not pcall(msys.audit.connections, '60,2', '192.0.2.1')

-- [msys.audit.receptions]
return msys.audit.receptions('60,3', {cidr = '192.0.2.1/32', startv = 0, endv = 2}) == 3

-- [msys.audit.rejections]
return msys.audit.rejections('60,3', '192.0.2.1') == 4 and msys.audit.rejections('60,3',
{cidr = '192.0.2.1', startv = 1}) == 0

-- [msys.audit.inbound_session_count]
return msys.audit.inbound_session_count('192.0.2.1', 'SMTP') == 1

-- [msys.db.query]
local n = 0 for row in msys.db.query('crm', 'SELECT id, name FROM customer ORDER BY id')
do n = n + row.id end
return n == 3

-- [msys.db.fetch_row]
return msys.db.fetch_row('crm', 'SELECT name FROM customer WHERE id = ?',
{2}).name == 'two'

-- [msys.db.execute]
return msys.db.execute('crm', 'UPDATE customer SET name = :n WHERE id = :i',
{n = 'one', i = 1})

-- [msys.cidr.define]
msys.cidr.define('x', 'empty')
return msys.cidr.query('x', '192.0.2.1') == nil

-- [msys.cidr.query]
return msys.cidr.query('t', '192.0.2.7') == 'office'

-- [msys.cidr.reload]
msys.cidr.reload('t')
return msys.cidr.query('t', '192.0.2.7') == 'office'

-- [msys.gauge_cache.define]
msys.gauge_cache.define('h', 5, 5)
return msys.gauge_cache.get('h', 'x') == 0

-- [msys.gauge_cache.inc]
local k = tostring({})
msys.gauge_cache.inc('g', k)
return msys.gauge_cache.get('g', k) == 1

-- [msys.gauge_cache.dec]
local k = tostring({})
msys.gauge_cache.dec('g', k)
return msys.gauge_cache.get('g', k) == -1

-- [msys.gauge_cache.get]
local k = tostring({})
msys.gauge_cache.inc('g', k) msys.gauge_cache.inc('g', k)
return msys.gauge_cache.get('g', k) == 2

-- [msys.gauge_cache.remove_item]
local k = tostring({})
msys.gauge_cache.inc('g', k) msys.gauge_cache.remove_item('g', k)
return msys.gauge_cache.get('g', k) == 0

-- [msys.counter.open]
local c = msys.counter.open('site/open', msys.counter.RELAXED) msys.counter.reset(c)
msys.counter.inc(c)
return msys.counter.read('site/open') == 1

-- [msys.counter.inc]
msys.counter.reset('site/i') msys.counter.inc('site/i')
return msys.counter.read('site/i') == 1

-- [msys.counter.add]
msys.counter.reset('site/a') msys.counter.add('site/a', 40) msys.counter.add('/site/a',
2)
return msys.counter.read('site/a') == 42

-- [msys.counter.read]
return msys.counter.read('site/none') == 0

-- [msys.counter.reset]
msys.counter.inc('site/r') msys.counter.reset('site/r')
return msys.counter.read('site/r') == 0

-- [msys.counter.unlink]
msys.counter.inc('site/u') msys.counter.unlink('site/u')
return msys.counter.read('site/u') == 0

-- [msys.base64.encode]
return msys.base64.encode('\0\255x') == 'AP94' and msys.base64.encode(('a'):rep(60),
true):find('\r\n') == 77 and msys.base64.encode('\195\164', false, 'iso-8859-1')
== '5A=='

-- [msys.base64.decode]
return msys.base64.decode('AP94') == '\0\255x' and msys.base64.decode('5A==',
'latin1') == '\195\164' and not pcall(msys.base64.decode, '*')

-- [msys.qp.encode]
return msys.qp.encode('a=\195\164') == 'a=3D=C3=A4' and msys.qp.encode('.a',
nil, true) == '..a'

-- [msys.qp.decode]
return msys.qp.decode('a=3D=\r\nb') == 'a=b' and msys.qp.decode('=E4', 'latin1')
== '\195\164' and not pcall(msys.qp.decode, '=G1')

-- [msys.idn.to_idn]
local a, e = msys.idn.to_idn('a..b')
return a == nil and #e > 0 and msys.idn.to_idn('b\195\188cher.example')
== 'xn--bcher-kva.example'

-- [msys.idn.to_utf8]
return msys.idn.to_utf8('xn--bcher-kva.example') == 'b\195\188cher.example'

-- [msys.dumper.Dumper]
return msys.dumper.Dumper({a = 'b'}) == 'return { a="b" }' and msys.dumper.Dumper({1,
{2}, ['x y'] = false}) == 'return { 1, { 2 }, ["x y"]=false }'

-- [json.decode]
local o = json.decode('{"a":[1,{"b":null}],"c":"x"}')
local n, code, e = json.decode('[1,')
return o.a[1] == 1 and o.a[2].b == nil and o.c == 'x' and #o.a == 2 and
n == nil and code == json.ERROR_PARSE_EOF and #e > 0

-- [json.encode]
return tostring(json.encode({a = {1, 2}, b = true})) == '{"a":[1,2],"b":true}'
and not pcall(json.encode, {print})

-- [json.new]
local o = json.new() o.list = {} o.list[1] = 'x' o.n = 1 o.n = nil
return tostring(o) == '{"list":["x"]}'

-- [json.strerror]
return #json.strerror(json.ERROR_DEPTH) > 0

-- [xml.parsexml]
local d = xml.parsexml('<a><b x="1">t</b><b/></a>')
local r = d:root()
return r:name() == 'a' and not pcall(xml.parsexml, '<a>') and not pcall(xml.parsexml,
'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>')

-- [xml.newnode]
local n = xml.newnode('x') n:attr('y', '<1>')
return n:tostring() == '<x y="&lt;1&gt;"/>'

-- [doc:root]
local d = xml.parsexml('<a><b x="1">t</b><b/></a>')
local r = d:root()
return r:doc():root() == r

-- [doc:tostring]
local d = xml.parsexml('<a><b x="1">t</b><b/></a>')
local r = d:root()
return d:tostring():find('<a><b x="1">t</b><b/></a>', 1, true) and true

-- [node:addchild]
local d = xml.parsexml('<a><b x="1">t</b><b/></a>')
local r = d:root()
r:addchild('c'):contents('z')
return r:tostring():find('<c>z</c></a>', 1, true) and true

-- [node:attribute]
local d = xml.parsexml('<a><b x="1">t</b><b/></a>')
local r = d:root()
local b = r:children()() b:attribute('y', '2') b:attribute('x', nil)
return b:attribute('y') == '2' and b:attribute('x') == nil

-- [node:attr]
local d = xml.parsexml('<a><b x="1">t</b><b/></a>')
local r = d:root()
return r:children()():attr('x') == '1'

-- [node:children]
local d = xml.parsexml('<a><b x="1">t</b><b/></a>')
local r = d:root()
local n = 0 for c in r:children() do n = n + 1 end
return n == 2

-- [node:contents]
local d = xml.parsexml('<a><b x="1">t</b><b/></a>')
local r = d:root()
local b = r:children()()
local was = b:contents() b:contents('')
return was == 't' and b:tostring() == '<b x="1"/>'

-- [node:doc]
local d = xml.parsexml('<a><b x="1">t</b><b/></a>')
local r = d:root()
return r:doc() == d

-- [node:name]
local d = xml.parsexml('<a><b x="1">t</b><b/></a>')
local r = d:root()
return r:name() == 'a' and r:children()():children()():name() == 'text'

-- [node:tostring]
local d = xml.parsexml('<a><b x="1">t</b><b/></a>')
local r = d:root()
return tostring(r) == r:tostring()

-- [node:unlink]
local d = xml.parsexml('<a><b x="1">t</b><b/></a>')
local r = d:root()
local b = r:children()():unlink()
return r:tostring() == '<a><b/></a>' and b:contents() == 't'

-- [msys.http.client.new]
return msys.http.client.new() ~= nil

-- [client:set_header]
local c = msys.http.client.new() c:set_header('X-A: 1') c:set_header('X-B: 2')
c:do_request('GET', url)
local both = c:get_body():find('x%-a: 1.*x%-b: 2') c:set_header() c:do_request('GET',
url)
return both and not c:get_body():find('x%-a') and not pcall(c.set_header,
c, 'x')

-- [client:set_timeout]
local c = msys.http.client.new() c:set_timeout(0.5) c:set_timeout()
return not pcall(c.set_timeout, c, -1)

-- [client:do_request]
local c = msys.http.client.new()
local ok = c:do_request('POST', url, 'data')
local no, e = c:do_request('GET', 'ftp://x.test/')
return ok == true and no == false and #e > 0

-- [client:get_status]
local c = msys.http.client.new() c:do_request('GET', url)
local n, s = c:get_status()
return n == 200 and s == 'OK'

-- [client:get_body]
local c = msys.http.client.new() c:do_request('PUT', url, 'the data')
return c:get_body():find('the data') and true

-- [client:get_headers]
local c = msys.http.client.new() c:do_request('GET', url)
return #c:get_headers() > 0

-- [client:parse_headers]
local c = msys.http.client.new() c:do_request('GET', url)
local found = c:parse_headers(c:get_headers())
return found['X-Served-By'] == 'test' and found['x-served-by'] == 'test'

-- [curl.new]
local c = curl.new() c:close()
return not pcall(c.perform, c)

-- [curl.escape]
return curl.escape('a b/\195\164') == 'a%20b%2F%C3%A4'

-- [curl.unescape]
return curl.unescape('a%20b%2F') == 'a b/'

-- [msys.rfc3464.compute_delivery_status_string]
return msys.rfc3464.compute_delivery_status_string('550 5.1.1 no such user')
== 'Action: failed\r\nStatus: 5.1.1\r\nDiagnostic-Code: smtp; 550 5.1.1 no such user'

-- [msys.rfc3464.create_mdn]
return msys.rfc3464.extract_delivery_status(msys.rfc3464.create_mdn(msg,
msys.core.DELIVERED)).recipients[1].action == 'delivered'

-- [msys.rfc3464.send_mdn]
return msys.rfc3464.send_mdn(msg, msys.core.FAILED) == 1

-- [msys.rfc3464.extract_delivery_status]
return msys.rfc3464.extract_delivery_status(msg) == nil

-- [msys.validate.opendkim.verify]
local d, s = msys.validate.opendkim.verify(msg)
return d ~= nil and s == dkim_h.DKIM_STAT_OK

-- [msys.validate.opendkim.get_num_sigs]
local n, s = msys.validate.opendkim.get_num_sigs((msys.validate.opendkim.verify(msg)))
return n == 2 and s == dkim_h.DKIM_STAT_OK

-- [msys.validate.opendkim.get_sig]
local o = msys.validate.opendkim
local d = o.verify(msg)
local sig, s = o.get_sig(d, 0)
local v, t = o.get_sig(d)
return s == 0 and t == 0 and o.get_sig_domain(v) == 'sender.test' and o.get_sig(d,
2) == nil

-- [msys.validate.opendkim.get_sig_domain]
local o = msys.validate.opendkim
local d = o.verify(msg)
local sig, s = o.get_sig(d, 0)
local v, t = o.get_sig_domain(sig)
return s == 0 and t == 0 and v == 'sender.test'

-- [msys.validate.opendkim.get_sig_selector]
local o = msys.validate.opendkim
local d = o.verify(msg)
local sig, s = o.get_sig(d, 0)
local v, t = o.get_sig_selector(sig)
return s == 0 and t == 0 and v == 'one'

-- [msys.validate.opendkim.get_sig_canons]
local o = msys.validate.opendkim
local d = o.verify(msg)
local sig, s = o.get_sig(d, 0)
local v, t = o.get_sig_canons(sig)
return s == 0 and t == 0 and v == 'relaxed/relaxed'

-- [msys.validate.opendkim.get_sig_errorstr]
local o = msys.validate.opendkim
local d = o.verify(msg)
local sig, s = o.get_sig(d, 0)
local v, t = o.get_sig_errorstr(sig)
return s == 0 and t == 0 and v == 'no error' and o.get_sig_errorstr((o.get_sig(d,
1))) ~= v

-- [msys.validate.opendkim.get_sig_identity]
local o = msys.validate.opendkim
local d = o.verify(msg)
local sig, s = o.get_sig(d, 0)
local v, t = o.get_sig_identity(d, sig)
return s == 0 and t == 0 and v == '@sender.test'

-- [msys.validate.opendkim.get_sig_keysize]
local o = msys.validate.opendkim
local d = o.verify(msg)
local sig, s = o.get_sig(d, 0)
local v, t = o.get_sig_keysize(sig)
return s == 0 and t == 0 and v == 256

-- [msys.validate.opendkim.get_sig_signalg]
local o = msys.validate.opendkim
local d = o.verify(msg)
local sig, s = o.get_sig(d, 0)
local v, t = o.get_sig_signalg(sig)
return s == 0 and t == 0 and v == 'ed25519-sha256'

-- [msys.validate.opendkim.get_sig_flags]
local o = msys.validate.opendkim
local d = o.verify(msg)
local sig, s = o.get_sig(d, 0)
local v, t = o.get_sig_flags(sig)
return s == 0 and t == 0 and v & dkim_h.DKIM_SIGFLAG_PASSED != 0 and v &
dkim_h.DKIM_SIGFLAG_TESTKEY == 0

-- [msys.validate.opendkim.get_sig_hdrsigned]
local o = msys.validate.opendkim
local d = o.verify(msg)
local sig, s = o.get_sig(d, 0)
local v, t = o.get_sig_hdrsigned(sig, 'Subject')
return s == 0 and t == 0 and v == true and o.get_sig_hdrsigned(sig, 'X-Not')
== false

-- [msys.validate.dkim.get_domains]
local l = msys.validate.dkim.get_domains(msg, nil)
return #l == 1 and l[1] == 'sender.test'

-- [msys.validate.dkim.get_responsible_domain]
return msys.validate.dkim.get_responsible_domain(msg) == 'sender.test'

-- [msys.validate.dkim.get_verify_results]
local n, r = msys.validate.dkim.get_verify_results()
return n == 2 and r ~= nil

-- [msys.validate.dkim.verify_results_get_count]
local v = msys.validate.dkim
local n, r = v.get_verify_results()
local ok, e = pcall(v.verify_results_get_count)
return v.verify_results_get_count(r) == 2 and e:find('No verification results to count%.')
and true

-- [msys.validate.dkim.verify_results_get_item]
local v = msys.validate.dkim
local n, r = v.get_verify_results()
local i = v.verify_results_get_item(r, 0)
local ok, e = pcall(v.verify_results_get_item, r, 2)
return v.verify_status_to_string(i.status) == 'pass' and i.algorithm ==
'ed25519-sha256' and e:find('Index value is greater than the number of verification results')
and true

-- [msys.validate.dkim.verify_status_to_string]
return not pcall(msys.validate.dkim.verify_status_to_string) and msys.validate.dkim.verify_status_to_string(2)
== 'fail'

-- [thread.mutex]
return thread.mutex(thread.MUTEX_RECURSIVE):lock() and not pcall(thread.mutex,
9)

-- [mutex:lock]
local a = m:lock()
local again = pcall(m.lock, m) m:unlock()
return a and not again

-- [mutex:unlock]
m:lock() m:unlock()
return not pcall(m.unlock, m)

-- [mutex:trylock]
local a, b = m:trylock(), m:trylock() m:unlock()
return a and not b

-- [timer:stop]
t:stop()
return true

-- [timer:start]
t:stop() t:start()
return true

-- [timer:name]
return t:name() == 'nightly'

-- [msys.os.statvfs_subscribe]
return msys.os.statvfs_subscribe('/', 10) ~= nil

-- [msys.os.statvfs_read]
local r = msys.os.statvfs_read(msys.os.statvfs_subscribe('/', 0))
local n, e = msys.os.statvfs_read(msys.os.statvfs_subscribe('/no/such'))
return r.kilobytes_total > 0 and r.kilobytes_available <= r.kilobytes_total
and n == nil and #e > 0

-- [msys.policyeditor.get_mailfrom]
return msys.policyeditor.get_mailfrom({ec_message = msg}) == 'shop@sender.test'

-- [msys.policyeditor.get_rcptto]
return msys.policyeditor.get_rcptto({ec_message = msg}, {}, {}) == 'joe@one.test'

-- [msys.policyeditor.get_mess_recv_from]
return msys.policyeditor.get_mess_recv_from({ec_message = msg}):find('^192')
and true

-- [msys.policyeditor.get_mess_recv_via]
return msys.policyeditor.get_mess_recv_via({ec_message = msg}) ~= nil

-- [msys.policyeditor.get_header]
return msys.policyeditor.get_header({ec_message = msg}, {}, {header = 'From'}):find('shop@sender%.test')
and true

-- [msys.policyeditor.del_header]
return msys.policyeditor.del_header({ec_message = msg}, {}, {header = 'X-No'})
== 'X-No'

-- [msys.policyeditor.vctx_mess_get]
local p, c = msys.policyeditor, {ec_message = msg} p.vctx_mess_set(c, {},
{key = 'k', value = 'v'})
return p.vctx_mess_get(c, {}, {key = 'k'}) == 'v' and p.vctx_mess_get(c,
{}, {key = 'none'}) == nil

-- [msys.policyeditor.vctx_mess_set]
local p, c = msys.policyeditor, {ec_message = msg} p.vctx_mess_set(c, {},
{key = 'k', value = 'v'})
return p.vctx_mess_get(c, {}, {key = 'k'}) == 'v' and p.vctx_mess_get(c,
{}, {key = 'none'}) == nil

-- [msys.policyeditor.vctx_conn_get]
local p, c = msys.policyeditor, {ec_message = msg} p.vctx_conn_set(c, {},
{key = 'k', value = 'v'})
return p.vctx_conn_get(c, {}, {key = 'k'}) == 'v' and p.vctx_conn_get(c,
{}, {key = 'none'}) == nil

-- [msys.policyeditor.vctx_conn_set]
local p, c = msys.policyeditor, {ec_message = msg} p.vctx_conn_set(c, {},
{key = 'k', value = 'v'})
return p.vctx_conn_get(c, {}, {key = 'k'}) == 'v' and p.vctx_conn_get(c,
{}, {key = 'none'}) == nil

-- [msys.policyeditor.get_variable]
return msys.policyeditor.get_variable({}, {a = 1}, {name = 'a'}) == 1

-- [msys.policyeditor.set_variable]
local v = {}
return msys.policyeditor.set_variable({}, v, {name = 'a', value = 2}) ==
2 and v.a == 2

-- [msys.policyeditor.pcre_match]
local v = {}
return msys.policyeditor.pcre_match({}, v, {subject = 'a1', pattern = '(?<d>[0-9])'})
and v['$0'] == 'a1' and v['$1'] == '1' and v['$d'] == '1'

-- [msys.policyeditor.set_binding]
local p, c = msys.policyeditor, {ec_message = msg}
return p.set_binding(c, {}, {binding = 'vip,vip'}) and not p.set_binding(c,
{}, {binding = 'none'})

-- [msys.policyeditor.set_binding_group]
return not msys.policyeditor.set_binding_group({ec_message = msg}, {}, {binding_group
= 'none'})

-- [msys.policyeditor.send_email]
msys.policyeditor.send_email({}, {}, {from = 'a@sender.test', to = 'b@one.test, c@two.test',
subject = 'S\r\nBcc: x', body = 'text'})
return true
