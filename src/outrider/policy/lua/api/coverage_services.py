"""Rows of what scripts have beside messages and sessions: databases, counters, texts, HTTP, signing.

In the order of the manual's sections.
"""

from collections.abc import Iterator
from typing import Final

from outrider.model.hooks import HookPhase
from outrider.policy.lua.api.coverage import ANY, AT_LOAD, BIND, BODY, FINAL, RCPTTO, Row, Status

_P: Final = Status.PARTLY
_N: Final = Status.NOT_CARRIED_OVER
_ADDRESSES: Final = RCPTTO | BODY | BIND
_FROM_MAILFROM: Final = frozenset({*HookPhase} - {HookPhase.CONNECT, HookPhase.EHLO, HookPhase.AUTH})


def _rows(
    section: str,
    prefix: str,
    names: str,
    phases: frozenset[str] = ANY,
    status: Status = Status.WORKS,
    note: str = "",
) -> Iterator[Row]:
    for name in names.split():
        yield Row(prefix + name, section, phases, status, note)


_CHANNEL: Final = "channel not available: the channel itself is not built yet"
_XPATH: Final = "XPath as far as Python's ElementPath knows it: no axes, functions, operators or namespaces"
_CURL: Final = "HTTP only; options beyond it are refused by name; callbacks get the whole answer at once"
_COUNTED: Final = "counted on this node; networks by octets (IPv6: /24 /32 /48 /56 /64)"

SERVICE_ROWS: Final[tuple[Row, ...]] = (
    *_rows(
        "msys.core",
        "msys.core.",
        "dns_get_domain mail_queue_delay_domain io_wrapper_open dict_iter2 dict_next dict_iter2_free"
        " dict_stringprint dict_key_delete dict_add_key_value ec_double_list_shift ec_message_blobject_get"
        " ec_blobject_delref",
        ANY,
        _N,
        "raises; the queue's, files and dictionaries of the server are not a script's",
    ),
    *_rows(
        "vctx",
        "msys.pbp.",
        "set_whitelist",
        ANY,
        _N,
        "raises; of the vendor's own policy: note it in a context",
    ),
    *_rows("msys", "msys.", "snmpTrap", ANY, _N, "raises; events and metrics go to a monitor"),
    *_rows("databases", "msys.db.", "query fetch_row execute"),
    *_rows(
        "sliding counters",
        "msys.audit_series.",
        "define add count remove_item",
        ANY,
        _P,
        f"{_COUNTED}; closed windows are not logged",
    ),
    *_rows(
        "sliding counters",
        "msys.audit.",
        "connections",
        ANY,
        _P,
        f"for policy.audit_monitors; {_COUNTED}; whom a listener's limits turn away is a rejection only",
    ),
    *_rows(
        "sliding counters",
        "msys.audit.",
        "receptions rejections",
        ANY,
        _P,
        f"for policy.audit_monitors; {_COUNTED}",
    ),
    *_rows(
        "sliding counters",
        "msys.audit.",
        "inbound_session_count",
        ANY,
        _P,
        f"with policy.audit_monitors; {_COUNTED}; services other than SMTP have none",
    ),
    *_rows("address tables", "msys.cidr.", "define query reload"),
    *_rows("shared caches and counters", "msys.gauge_cache.", "define inc dec get remove_item"),
    *_rows("shared caches and counters", "msys.counter.", "open inc add read reset unlink"),
    *_rows(
        "text",
        "msys.pcre.",
        "match replace split",
        ANY,
        _P,
        "run by Python's re: no recursion, verbs, \\K, \\G, Unicode properties; `errnum` is always 1",
    ),
    *_rows("text", "msys.base64.", "encode decode"),
    *_rows("text", "msys.qp.", "encode decode"),
    *_rows("text", "msys.idn.", "to_idn to_utf8"),
    *_rows("text", "msys.dumper.", "Dumper"),
    *_rows(
        "text", "msys.getopt.", "getopt rest", ANY, _P, "its shape is documented nowhere; as POSIX's getopt"
    ),
    *_rows("JSON and XML", "json.", "decode encode new strerror"),
    *_rows("JSON and XML", "xml.", "parsexml newnode"),
    *_rows("JSON and XML", "doc:", "root tostring"),
    *_rows("JSON and XML", "doc:", "xpath", ANY, _P, _XPATH),
    *_rows("JSON and XML", "node:", "addchild attribute attr children contents doc name tostring unlink"),
    *_rows("HTTP", "msys.http.client.", "new"),
    *_rows(
        "HTTP", "client:", "set_header set_timeout do_request get_status get_body get_headers parse_headers"
    ),
    *_rows("HTTP", "curl.", "new escape unescape"),
    *_rows("HTTP", "c:", "setopt perform close", ANY, _P, _CURL),
    *_rows("HTTP", "msys.httpclnt.", "http_status_classifier", ANY, _N, _CHANNEL),
    *_rows(
        "HTTP",
        "sess:",
        "request_add_header request_delete_header request__delete_header request_set_body request_finalize",
        ANY,
        _N,
        "objects of the HTTP channel, which is not built yet",
    ),
    *_rows(
        "HTTP", "msys.httpsrv.", "register", ANY, _N, "raises; scripts serve no pages, the control API does"
    ),
    *_rows("HTTP", "session:", "request_url_get response_status_set_std", ANY, _N, "objects of msys.httpsrv"),
    *_rows("delivery channels", "msys.delivery.", "ob_get_current_message", ANY, _N, _CHANNEL),
    *_rows("delivery channels", "msys.apn.", "apn_status_classifier", ANY, _N, _CHANNEL),
    *_rows(
        "delivery channels", "msys.gcm.", "gcm_classify_error gcm_get_result_error_code", ANY, _N, _CHANNEL
    ),
    *_rows("delivery channels", "msys.mstore.", "save load inject delete", ANY, _N, _CHANNEL),
    *_rows(
        "delivery channels",
        "msys.smpp.",
        "smpp_read_msg_text_blob smpp_write_msg_text_blob"
        " smpp_get_message_id_from_pdu smpp_get_deliver_mo_msg",
        ANY,
        _N,
        _CHANNEL,
    ),
    *_rows("delivery channels", "msys.mcmt.collector.", "setMapping", ANY, _N, _CHANNEL),
    *_rows(
        "delivery channels",
        "msys.xmpp.",
        "send routeStanza valid_domain connected online registerModule",
        ANY,
        _N,
        _CHANNEL,
    ),
    *_rows("delivery channels", "jid:", "user domain resource bare get", ANY, _N, "objects of XMPP"),
    *_rows("delivery channels", "msys.aggregator.mblox.", "setup get_operatorID", ANY, _N, _CHANNEL),
    *_rows(
        "bounces, reports, scanning, signing, policy services",
        "msys.bounce.",
        "classify",
        BODY | BIND,
        _P,
        "by the table of reply texts; the full classifier follows",
    ),
    *_rows(
        "bounces, reports, scanning, signing, policy services",
        "msys.bounce.",
        "classify_smtp_response",
        ANY,
        _P,
        "by the table of reply texts, whatever the domain; the full classifier follows",
    ),
    *_rows(
        "bounces, reports, scanning, signing, policy services",
        "msys.rfc3464.",
        "compute_delivery_status",
        BODY | BIND | FINAL,
        _P,
        "Final-Recipient, Action, Status; there is no reply yet",
    ),
    *_rows(
        "bounces, reports, scanning, signing, policy services",
        "msys.rfc3464.",
        "compute_delivery_status_string",
    ),
    *_rows(
        "bounces, reports, scanning, signing, policy services",
        "msys.rfc3464.",
        "create_mdn send_mdn extract_delivery_status",
        BODY | BIND | FINAL,
    ),
    *_rows(
        "bounces, reports, scanning, signing, policy services",
        "msys.av.",
        "engines scan scan_part",
        BODY,
        _P,
        "answers `no engine` until scanning exists",
    ),
    *_rows(
        "bounces, reports, scanning, signing, policy services",
        "msys.validate.opendkim.",
        "sign",
        FINAL,
        _P,
        "the key says the algorithm, never SHA-1; the whole body is signed; keyfile in the scripts' folder",
    ),
    *_rows(
        "bounces, reports, scanning, signing, policy services",
        "msys.validate.opendkim.",
        "verify get_num_sigs get_sig get_sig_domain get_sig_selector"
        " get_sig_canons get_sig_errorstr get_sig_identity get_sig_keysize get_sig_signalg get_sig_flags"
        " get_sig_hdrsigned",
        BODY,
    ),
    *_rows(
        "bounces, reports, scanning, signing, policy services",
        "msys.validate.dkim.",
        "sign",
        FINAL,
        _P,
        "as msys.validate.opendkim.sign",
    ),
    *_rows(
        "bounces, reports, scanning, signing, policy services",
        "msys.validate.dkim.",
        "get_domains get_responsible_domain get_verify_results"
        " verify_results_get_count verify_results_get_item verify_status_to_string",
        BODY,
    ),
    *_rows(
        "bounces, reports, scanning, signing, policy services",
        "msys.validate.dkim.",
        "reflect",
        ANY,
        _N,
        "raises; it answers mail to whoever claims to have sent it",
    ),
    *_rows(
        "bounces, reports, scanning, signing, policy services",
        "msys.validate.dk.",
        "sign",
        FINAL,
        _P,
        "signs with DKIM and says so to the log: DomainKeys is retired",
    ),
    *_rows(
        "bounces, reports, scanning, signing, policy services",
        "msys.validate.dk.",
        "get_responsible_domain",
        BODY,
        _P,
        "of Sender or From; nothing is checked",
    ),
    *_rows(
        "bounces, reports, scanning, signing, policy services",
        "msys.sign.dk.",
        "sign",
        FINAL,
        _P,
        "as msys.validate.dk.sign",
    ),
    *_rows(
        "bounces, reports, scanning, signing, policy services",
        "msys.adaptive.",
        "registerRules",
        AT_LOAD,
        _N,
        "says to the log that rules of scripts are not applied",
    ),
    *_rows(
        "bounces, reports, scanning, signing, policy services",
        "msys.message_scope.",
        "query",
        frozenset({HookPhase.EACH_RCPT}),
        _N,
        'answers "error": there are no lists',
    ),
    *_rows(
        "bounces, reports, scanning, signing, policy services",
        "msys.message_scope.",
        "query_static",
        ANY,
        _N,
        'answers "error": there are no lists',
    ),
    *_rows(
        "bounces, reports, scanning, signing, policy services",
        "msys.message_scope.",
        "load",
        AT_LOAD,
        _N,
        "says to the log that nothing is loaded",
    ),
    *_rows(
        "bounces, reports, scanning, signing, policy services",
        "msys.message_scope.",
        "gen_thread_id",
        _FROM_MAILFROM,
        _P,
        "the message's id; from data on",
    ),
    *_rows(
        "bounces, reports, scanning, signing, policy services",
        "msys.beta.rcptto_proxy.",
        "query",
        RCPTTO,
        _N,
        "raises; ask a data source",
    ),
    *_rows(
        "threads and timers",
        "msys.threadpool.",
        "count find stat",
        ANY,
        _P,
        "two names without threads; figures are 0",
    ),
    *_rows("threads and timers", "thread.", "mutex"),
    *_rows("threads and timers", "mutex:", "lock unlock trylock"),
    *_rows(
        "threads and timers",
        "msys.timer.",
        "after at every",
        ANY,
        _P,
        "in every worker; kept until stopped, not until collected",
    ),
    *_rows("threads and timers", "timer:", "stop start name"),
    *_rows("threads and timers", "msys.os.", "statvfs_subscribe statvfs_read"),
    *_rows(
        "logging", "msys.ts.chunk_logger.", "log", ANY, _P, "into the server's log; its formats do not apply"
    ),
    *_rows("msys.policyeditor", "msys.policyeditor.", "get_mailfrom get_rcptto", _ADDRESSES | FINAL),
    *_rows(
        "msys.policyeditor",
        "msys.policyeditor.",
        "get_mess_recv_from get_mess_recv_via",
        BODY | BIND,
        _P,
        "as msg:reception_peer and msg:listener_addr",
    ),
    *_rows("msys.policyeditor", "msys.policyeditor.", "get_header", BODY | BIND),
    *_rows(
        "msys.policyeditor",
        "msys.policyeditor.",
        "del_header",
        BODY,
        _P,
        "content changes up to each_rcpt; Momentum also permits it in set_binding",
    ),
    *_rows(
        "msys.policyeditor",
        "msys.policyeditor.",
        "vctx_mess_get vctx_mess_set vctx_conn_get vctx_conn_set",
        _ADDRESSES,
    ),
    *_rows("msys.policyeditor", "msys.policyeditor.", "get_variable set_variable pcre_match"),
    *_rows("msys.policyeditor", "msys.policyeditor.", "set_binding set_binding_group", BIND),
    *_rows(
        "msys.policyeditor",
        "msys.policyeditor.",
        "get_binding_domain_failure_rate",
        ANY,
        _N,
        "raises; rates are metrics",
    ),
    *_rows("msys.policyeditor", "msys.policyeditor.", "send_email"),
    *_rows(
        "msys.policyeditor", "msys.policyeditor.", "send_trap", ANY, _N, "raises; SNMP traps are not sent"
    ),
)
"""All of them."""

IN_LUA: Final = frozenset(
    {
        "msys.db",
        "msys.policyeditor",
        "msys.dumper",
        "msys.getopt",
        "json",
        "xml",
        "curl",
        "doc",
        "node",
        "c",
    }
)
"""Modules and objects whose functions scripts get from a part that is written in Lua."""
