"""What functions of the API take and give, as the Lua language servers write types (LuaCATS).

In: nothing. Out: for each function that is there a `Signature`, for the stubs.

Theory: a line for each function, `name(argument: type, other?: type): type, type`; `?` is an argument that
may be left out, `...` more of them. Methods are named by what the manual calls their object. A function that
is not carried over has none: it raises whatever it is given.

Source: the manual's pages of each function, and what the functions here give where the manual is silent.
"""

import re
from typing import Final, NamedTuple

_TEXT: Final = """
vctx:get(type: integer, key: string): string
vctx:set(type: integer, key: string, value: string|number|nil)
vctx:set_code(code: integer|string, text?: string)
vctx:disconnect(code?: integer|string, text?: string)
vctx:pbp_action(code: integer|string, text?: string): integer
vctx:pbp_disconnect(code?: integer|string, text?: string): integer
vctx:tarpit(seconds: number)
vctx:add_recipient(address: string|string[])
vctx:remove_recipient(address: string|string[])
vctx:recipient_list(addresses?: string|string[]): string[]
ac:esmtp_capability_add(name: string)
ac:esmtp_capability_remove(name: string)
msys.core.string_new(): EcString
msys.core.get_now_ts(): number
msys.core.protocol_string(protocol: integer): string
msys.core.accept_construct_get_message_construct(ac: Accept): MessageConstruct
msys.core.stringwrite(str: EcString, text: string, length?: integer)
msys.core.ec_message_new(origin?: nil): EcMessage
msys.core.ec_message_context_get(msg: EcMessage, type: integer, key: string): string
msys.core.ec_message_context_set(msg: EcMessage, type: integer, key: string, value: string|number)
msys.core.ec_message_context_exists(msg: EcMessage, type: integer, key: string): integer
msys.core.ec_message_context_exists_and_get(msg: EcMessage, type: integer, key: string): integer, string?
msys.core.ec_message_context_delete(msg: EcMessage, type: integer, key: string): integer
msys.core.ec_message_context_firstkey(msg: EcMessage, type: integer): string?
msys.core.ec_message_context_nextkey(msg: EcMessage, type: integer, key: string): string?
msg:mailfrom(address?: string): string
msg:rcptto(address?: string): string
msg:get_envelope2(flags: integer, localpart: EcString, domain?: EcString)
msg:binding(name?: string): string?
msg:binding_group(name?: string): string?
msg:routing_domain(domain?: string): string
msg:get_delivery_method(): string
msg:get_message_size(): integer
msg:is_mcmt(): integer
msg:listener_addr(flag?: "ip"|"port"|"all"): string
msg:reception_peer(flag?: "ip"|"port"|"all"): string
msg:code(number?: integer, text?: string): string
msg:discard(reason?: string)
msg:inject(mailfrom: string, rcptto: string)
msg:forward(sender: string, rcptto: string, text: string, subject?: string, charset?: string)
msg:context_get(type: integer, key: string): string
msg:context_set(type: integer, key: string, value: string|number)
msg:context_exists(type: integer, key: string): integer
msg:context_exists_and_get(type: integer, key: string): integer, string?
msg:context_delete(type: integer, key: string): integer
msg:header(name: string): string[]
msg:address_header(name: string, component?: "all"|"localpart"|"user"|"detail"|"domain"): string[]
msg:raw(value?: string): string
msg:raw_match(pattern: string): table|false
msg:raw_replace(pattern: string, replacement: string): boolean
msg:body(value?: string): string
msg:body_match(pattern: string): table|false
msg:body_replace(pattern: string, replacement: string): boolean
msg:text(value?: string, type?: string, charset?: string): string|string[]|nil
msg:text_match(pattern: string): table|false
msg:text_replace(pattern: string, replacement: string): boolean
msg:build(headers: table<string, string>, parts: table<string, string>, attachments?: table[])
msg:mime(readonly?: boolean): MessagePart?
msg:makePart(mimetype: string, body?: string, encoding?: integer): MessagePart
msg:makeContainer(mimetype: string, boundary?: string, add_terminator?: boolean): MessagePart
msg:makeBoundary(...: MessagePart): string
msgpart:header(name: string): string[]
msgpart:address_header(name: string, component?: "all"|"localpart"|"user"|"detail"|"domain"): string[]
msgpart:content_type(): ContentType
msgpart:text(value?: string, type?: string, charset?: string): string?
msgpart:text_match(pattern: string): table|false
msgpart:text_replace(pattern: string, replacement: string): boolean
msgpart:body_match(pattern: string): table|false
msgpart:body_replace(pattern: string, replacement: string): boolean
msgpart:raw_match(pattern: string): table|false
msgpart:raw_replace(pattern: string, replacement: string): boolean
msgpart:addFirstChild(child: MessagePart): boolean
msgpart:addLastChild(child: MessagePart): boolean
msgpart:insertAfter(part: MessagePart)
msgpart:insertBefore(part: MessagePart)
msgpart:unlink()
msys.registerModule(name: string, module: PolicyModule)
msys.config(action: string, ...: string): string?
msys.dnsLookup(name: string, type?: string, options?: table): table?, string?
msys.expandMacro(text: string): string
msys.parseRFC2822Addresses(text: string, component?: string): string[]
msys.readfile(file_or_uri: string): string?, string?
msys.sleep(seconds: number)
msys.runInPool(pool: string|integer, fn: function, is_async?: boolean|function, mode?: integer): ...any
msys.lock(name: string)
msys.unlock(name: string)
msys.asyncOk(): boolean
msys.type(x: any): string
msys.cast(object: any, class: string): any
msys.shareSet(key: string, value: string|number|boolean|nil): any
msys.shareGet(key: string): any
msys.shareUnset(key: string)
msys.db.query(cache: string, sql: string, params?: table, options?: table): (fun(): table?), string?
msys.db.fetch_row(cache: string, sql: string, params?: table, options?: table): table?, string?
msys.db.execute(cache: string, sql: string, params?: table, options?: table): boolean, string?
ac:inbound_session_count(cidr?: string, service?: string): integer
msys.audit.connections(monitor: string, options?: table|string): integer
msys.audit.receptions(monitor: string, options?: table|string): integer
msys.audit.rejections(monitor: string, options?: table|string): integer
msys.audit.inbound_session_count(cidr?: string, service?: string): integer
msys.audit_series.define(name: string, type: string, interval: number, num_windows: integer, options?: table)
msys.audit_series.add(name: string, options?: table|string|Accept)
msys.audit_series.count(name: string, options?: table|string|Accept): integer
msys.audit_series.remove_item(name: string, key?: table|string|Accept)
msys.cidr.define(name: string, options: table|string)
msys.cidr.query(name: string, address?: string): any
msys.cidr.reload(name: string)
msys.gauge_cache.define(name: string, maxelems: integer, ttl: number, replicated?: boolean)
msys.gauge_cache.inc(cache: string, key: string): integer
msys.gauge_cache.dec(cache: string, key: string): integer
msys.gauge_cache.get(cache: string, key: string): integer
msys.gauge_cache.remove_item(cache: string, key: string)
msys.counter.open(path: string, semantics?: integer): userdata
msys.counter.inc(handle_or_path: userdata|string)
msys.counter.add(handle_or_path: userdata|string, delta: integer)
msys.counter.read(handle_or_path: userdata|string): integer
msys.counter.reset(handle_or_path: userdata|string)
msys.counter.unlink(path: string)
msys.pcre.match(subject: string, pattern: string): table?, string?, integer?
msys.pcre.replace(subject: string, pattern: string, replacement: string): string
msys.pcre.split(subject: string, pattern: string): string[]
msys.base64.encode(text: string|EcString, fold?: boolean, charset?: string): string
msys.base64.decode(text: string|EcString, charset?: string): string
msys.qp.encode(text: string|EcString, charset?: string, dotstuffing?: boolean): string
msys.qp.decode(text: string|EcString, charset?: string): string
msys.idn.to_idn(name: string): string?, string?
msys.idn.to_utf8(name: string): string?, string?
msys.dumper.Dumper(value: any): string
msys.getopt.getopt(...: any): any
msys.getopt.rest(...: any): any
json.decode(text: string): any, integer?, string?
json.encode(value: any): any
json.new(): any
json.strerror(code: integer): string
xml.parsexml(text: string, keep_blanks?: integer): Doc
xml.newnode(name: string): Node
doc:root(): Node?
doc:tostring(): string
doc:xpath(query: string, contextnode?: Node): (fun(): Node?)
node:addchild(name_or_node: string|Node): Node
node:attribute(name: string, value?: string): string?
node:attr(name: string, value?: string): string?
node:children(): (fun(): Node?)
node:contents(text?: string): string
node:doc(): Doc
node:name(): string
node:tostring(): string
node:unlink(): Node
msys.http.client.new(): Client
client:set_header(line?: string)
client:set_timeout(seconds?: number)
client:do_request(method: "GET"|"POST"|"PUT"|"DELETE", url: string, data?: string): any
client:get_status(): integer?, string?
client:get_body(): string?
client:get_headers(): string[]
client:parse_headers(raw: string[]): table<string, string>
curl.new(): C
curl.escape(text: string): string
curl.unescape(text: string): string
c:setopt(option: integer, ...: any)
c:perform(): any
c:close()
msys.bounce.classify(msg: EcMessage): integer?, string?, string?, string?
msys.bounce.classify_smtp_response(text: string, domain?: string): integer, string, string
msys.rfc3464.compute_delivery_status(msg: EcMessage, action: integer): table<string, string>
msys.rfc3464.compute_delivery_status_string(response_text: string): string
msys.rfc3464.create_mdn(msg: EcMessage, action: integer): EcMessage
msys.rfc3464.send_mdn(msg: EcMessage, action: integer): integer
msys.rfc3464.extract_delivery_status(msg: EcMessage): table?
msys.av.engines(): string[]
msys.av.scan(engine?: string, msg?: EcMessage, vctx?: ValidateContext): integer, string, string?, integer?
msys.av.scan_part(part: MessagePart, engine?: string, vctx?: any): integer, string, string?, integer?
msys.validate.opendkim.sign(msg: EcMessage?, vctx: ValidateContext?, options?: SigningOptions)
msys.validate.opendkim.verify(msg: EcMessage): userdata, integer
msys.validate.opendkim.get_num_sigs(dkim: userdata): integer, integer
msys.validate.opendkim.get_sig(dkim: userdata, index?: integer): userdata?, integer
msys.validate.opendkim.get_sig_domain(sig: userdata): string, integer
msys.validate.opendkim.get_sig_selector(sig: userdata): string, integer
msys.validate.opendkim.get_sig_canons(sig: userdata): string, integer
msys.validate.opendkim.get_sig_errorstr(sig: userdata): string, integer
msys.validate.opendkim.get_sig_identity(dkim: userdata, sig: userdata): string, integer
msys.validate.opendkim.get_sig_keysize(sig: userdata): integer, integer
msys.validate.opendkim.get_sig_signalg(sig: userdata): string, integer
msys.validate.opendkim.get_sig_flags(sig: userdata): integer, integer
msys.validate.opendkim.get_sig_hdrsigned(sig: userdata, header: string): boolean, integer
msys.validate.dkim.sign(msg: EcMessage?, vctx: ValidateContext?, options?: SigningOptions)
msys.validate.dkim.get_domains(msg: EcMessage, vctx: ValidateContext): string[]
msys.validate.dkim.get_responsible_domain(msg: EcMessage, vctx: ValidateContext): string?
msys.validate.dkim.get_verify_results(vctx?: ValidateContext): integer, userdata?
msys.validate.dkim.verify_results_get_count(results: userdata): integer
msys.validate.dkim.verify_results_get_item(results: userdata, index: integer): table
msys.validate.dkim.verify_status_to_string(status: integer): string
msys.validate.dk.sign(msg: EcMessage?, vctx: ValidateContext?, options?: SigningOptions)
msys.validate.dk.get_responsible_domain(msg: EcMessage, vctx: ValidateContext): string?
msys.sign.dk.sign(msg: EcMessage?, vctx: ValidateContext?, options?: SigningOptions)
msys.message_scope.gen_thread_id(msg?: EcMessage): string
msys.threadpool.count(): integer
msys.threadpool.find(name_or_id: string|integer): string|integer|nil
msys.threadpool.stat(name_or_id: string|integer): table?
thread.mutex(type?: integer): Mutex
mutex:lock(): boolean
mutex:unlock(): boolean
mutex:trylock(): boolean
msys.timer.after(seconds: number, fn: function, name?: string): Timer
msys.timer.at(epoch: number, fn: function, name?: string): Timer
msys.timer.every(seconds: number, fn: function, name?: string): Timer
timer:stop()
timer:start()
timer:name(): string?
msys.os.statvfs_subscribe(path: string, interval: number): userdata
msys.os.statvfs_read(record: userdata): table?, string?
msys.ts.chunk_logger.log(text: string)
msys.policyeditor.get_mailfrom(ctx: PolicyEditorContext, vars: table, params: table): string
msys.policyeditor.get_rcptto(ctx: PolicyEditorContext, vars: table, params: table): string
msys.policyeditor.get_mess_recv_from(ctx: PolicyEditorContext, vars: table, params: table): string
msys.policyeditor.get_mess_recv_via(ctx: PolicyEditorContext, vars: table, params: table): string
msys.policyeditor.get_header(ctx: PolicyEditorContext, vars: table, params: table): string?
msys.policyeditor.del_header(ctx: PolicyEditorContext, vars: table, params: table): string
msys.policyeditor.vctx_mess_get(ctx: PolicyEditorContext, vars: table, params: table): string?
msys.policyeditor.vctx_mess_set(ctx: PolicyEditorContext, vars: table, params: table): string?
msys.policyeditor.vctx_conn_get(ctx: PolicyEditorContext, vars: table, params: table): string?
msys.policyeditor.vctx_conn_set(ctx: PolicyEditorContext, vars: table, params: table): string?
msys.policyeditor.get_variable(ctx: PolicyEditorContext, vars: table, params: table): any
msys.policyeditor.set_variable(ctx: PolicyEditorContext, vars: table, params: table): any
msys.policyeditor.pcre_match(ctx: PolicyEditorContext, vars: table, params: table): boolean
msys.policyeditor.set_binding(ctx: PolicyEditorContext, vars: table, params: table): boolean
msys.policyeditor.set_binding_group(ctx: PolicyEditorContext, vars: table, params: table): boolean
msys.policyeditor.send_email(ctx: PolicyEditorContext, vars: table, params: table)
"""

_CHANGED: Final = 'name: string, value: string|string[]|nil, mode?: "replace"|"prepend"|"append"'

OVERLOADS: Final = {
    "msg:header": f"fun(self: EcMessage, {_CHANGED}): boolean",
    "msgpart:header": f"fun(self: MessagePart, {_CHANGED}): boolean",
}
"""Other forms of the same functions."""

FIELDS: Final = {
    "msg.id": "string",
    "msg.batch_id": "string",
    "msg.conn_id": "string",
    "msg.priority": "integer",
    "msg.recv_method": "integer",
    "ac.remote_addr": "string",
    "ac.protocol": "integer",
    "msgpart.parts": "MessagePart[]?",
    "msgpart.thread": "MessagePart?",
    "msgpart.body_start": "integer",
    "msgpart.body_end": "integer",
}
"""Types of fields."""

CLASSES: Final = """\
---@class EcString
---@field buffer string
---@field set fun(self: EcString, text: string)
---@field write fun(self: EcString, text: string, length?: integer)

---@class MessageConstruct
---@field ctx ValidateContext

---@class ContentType
---@field mimetype string
---@field charset string
---@field encoding string
---@field is_attachment boolean
---@field filename string

---@class SigningOptions
---@field signing_domain? string
---@field base_domain? string
---@field selector? string
---@field keyfile? string
---@field keybuf? string
---@field identity? string
---@field header_canon? string
---@field body_canon? string
---@field digest? string
---@field headerlist? string
---@field body_length_limit? integer

---@class PolicyEditorContext
---@field ec_message EcMessage
"""
"""Classes that no function is of, as LuaCATS."""


class Signature(NamedTuple):
    """What one function takes and gives.

    Attributes:
        arguments: Name, with `?` where it may be left out, and type.
        returns: Types.
    """

    arguments: tuple[tuple[str, str], ...]
    returns: tuple[str, ...]


_LINE: Final = re.compile(r"(?P<name>[\w.:]+)\((?P<arguments>[^()]*)\)(?:: (?P<returns>.+))?")
_COMMA: Final = re.compile(r", (?![^<(]*[>)])")


def _signature(arguments: str, returns: str | None) -> Signature:
    given = [each.partition(": ") for each in _COMMA.split(arguments) if each]
    taken = tuple((name, kind) for name, _, kind in given)
    return Signature(taken, tuple(_COMMA.split(returns)) if returns else ())


def _parse(text: str) -> dict[str, Signature]:
    found: dict[str, Signature] = {}
    for line in text.strip().splitlines():
        match = _LINE.fullmatch(line)
        if match is None or match["name"] in found:
            raise ValueError(f"{line!r} is no signature, or its function has one already")
        found[match["name"]] = _signature(match["arguments"], match["returns"])
    return found


SIGNATURES: Final = _parse(_TEXT)
"""By the names of rows."""
