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
_NO_MONITOR: Final = "raises as where no monitor is configured; count with msys.audit_series"

SERVICE_ROWS: Final[tuple[Row, ...]] = (
    *_rows("5.1", "msys.", "snmpTrap", ANY, _N, "raises; events and metrics go to a monitor"),
    *_rows("5.3", "msys.db.", "query fetch_row execute"),
    *_rows(
        "5.4",
        "msys.audit_series.",
        "define add count remove_item",
        ANY,
        _P,
        "counted on this node; networks by octets (IPv6: /32 /48 /56 /64); closed windows are not logged",
    ),
    *_rows("5.4", "msys.audit.", "connections receptions rejections", ANY, _N, _NO_MONITOR),
    *_rows(
        "5.4", "msys.audit.", "inbound_session_count", ANY, _N, "raises; sessions are limited by listener"
    ),
    *_rows("5.5", "msys.cidr.", "define query reload"),
    *_rows("5.6", "msys.gauge_cache.", "define inc dec get remove_item"),
    *_rows("5.6", "msys.counter.", "open inc add read reset unlink"),
    *_rows(
        "5.7",
        "msys.pcre.",
        "match replace split",
        ANY,
        _P,
        "run by Python's re: no recursion, verbs, \\K, \\G, Unicode properties; `errnum` is always 1",
    ),
    *_rows("5.7", "msys.base64.", "encode decode"),
    *_rows("5.7", "msys.qp.", "encode decode"),
    *_rows("5.7", "msys.idn.", "to_idn to_utf8"),
    *_rows("5.7", "msys.dumper.", "Dumper"),
    *_rows("2", "msys.getopt.", "getopt rest", ANY, _P, "its shape is documented nowhere; as POSIX's getopt"),
    *_rows("5.8", "json.", "decode encode new strerror"),
    *_rows("5.8", "xml.", "parsexml newnode"),
    *_rows("5.8", "doc:", "root tostring"),
    *_rows("5.8", "doc:", "xpath", ANY, _P, _XPATH),
    *_rows("5.8", "node:", "addchild attribute attr children contents doc name tostring unlink"),
    *_rows("5.9", "msys.http.client.", "new"),
    *_rows(
        "5.9", "client:", "set_header set_timeout do_request get_status get_body get_headers parse_headers"
    ),
    *_rows("5.9", "curl.", "new escape unescape"),
    *_rows("5.9", "c:", "setopt perform close", ANY, _P, _CURL),
    *_rows("5.9", "msys.httpclnt.", "http_status_classifier", ANY, _N, _CHANNEL),
    *_rows(
        "5.9",
        "sess:",
        "request_add_header request_delete_header request__delete_header request_set_body request_finalize",
        ANY,
        _N,
        "objects of the HTTP channel, which is not built yet",
    ),
    *_rows(
        "5.9", "msys.httpsrv.", "register", ANY, _N, "raises; scripts serve no pages, the control API does"
    ),
    *_rows("5.9", "session:", "request_url_get response_status_set_std", ANY, _N, "objects of msys.httpsrv"),
    *_rows("5.10", "msys.delivery.", "ob_get_current_message", ANY, _N, _CHANNEL),
    *_rows("5.10", "msys.apn.", "apn_status_classifier", ANY, _N, _CHANNEL),
    *_rows("5.10", "msys.gcm.", "gcm_classify_error gcm_get_result_error_code", ANY, _N, _CHANNEL),
    *_rows("5.10", "msys.mstore.", "save load inject delete", ANY, _N, _CHANNEL),
    *_rows(
        "5.10",
        "msys.smpp.",
        "smpp_read_msg_text_blob smpp_write_msg_text_blob"
        " smpp_get_message_id_from_pdu smpp_get_deliver_mo_msg",
        ANY,
        _N,
        _CHANNEL,
    ),
    *_rows("5.10", "msys.mcmt.collector.", "setMapping", ANY, _N, _CHANNEL),
    *_rows(
        "5.10",
        "msys.xmpp.",
        "send routeStanza valid_domain connected online registerModule",
        ANY,
        _N,
        _CHANNEL,
    ),
    *_rows("5.10", "jid:", "user domain resource bare get", ANY, _N, "objects of XMPP"),
    *_rows("5.10", "msys.aggregator.mblox.", "setup get_operatorID", ANY, _N, _CHANNEL),
    *_rows(
        "5.11",
        "msys.bounce.",
        "classify",
        BODY | BIND,
        _P,
        "by the table of reply texts; the full classifier follows",
    ),
    *_rows(
        "5.11",
        "msys.bounce.",
        "classify_smtp_response",
        ANY,
        _P,
        "by the table of reply texts, whatever the domain; the full classifier follows",
    ),
    *_rows(
        "5.11",
        "msys.rfc3464.",
        "compute_delivery_status",
        BODY | BIND | FINAL,
        _P,
        "Final-Recipient, Action, Status; there is no reply yet",
    ),
    *_rows("5.11", "msys.rfc3464.", "compute_delivery_status_string"),
    *_rows("5.11", "msys.rfc3464.", "create_mdn send_mdn extract_delivery_status", BODY | BIND | FINAL),
    *_rows(
        "5.11", "msys.av.", "engines scan scan_part", BODY, _P, "answers `no engine` until scanning exists"
    ),
    *_rows(
        "5.11",
        "msys.validate.opendkim.",
        "sign",
        FINAL,
        _P,
        "the key says the algorithm, never SHA-1; the whole body is signed; keyfile without macros",
    ),
    *_rows(
        "5.11",
        "msys.validate.opendkim.",
        "verify get_num_sigs get_sig get_sig_domain get_sig_selector"
        " get_sig_canons get_sig_errorstr get_sig_identity get_sig_keysize get_sig_signalg get_sig_flags"
        " get_sig_hdrsigned",
        BODY,
    ),
    *_rows("5.11", "msys.validate.dkim.", "sign", FINAL, _P, "as msys.validate.opendkim.sign"),
    *_rows(
        "5.11",
        "msys.validate.dkim.",
        "get_domains get_responsible_domain get_verify_results"
        " verify_results_get_count verify_results_get_item verify_status_to_string",
        BODY,
    ),
    *_rows(
        "5.11",
        "msys.validate.dkim.",
        "reflect",
        ANY,
        _N,
        "raises; it answers mail to whoever claims to have sent it",
    ),
    *_rows(
        "5.11",
        "msys.validate.dk.",
        "sign",
        FINAL,
        _P,
        "signs with DKIM and says so to the log: DomainKeys is retired",
    ),
    *_rows(
        "5.11",
        "msys.validate.dk.",
        "get_responsible_domain",
        BODY,
        _P,
        "of Sender or From; nothing is checked",
    ),
    *_rows("5.11", "msys.sign.dk.", "sign", FINAL, _P, "as msys.validate.dk.sign"),
    *_rows(
        "5.11",
        "msys.adaptive.",
        "registerRules",
        AT_LOAD,
        _N,
        "says to the log that rules of scripts are not applied",
    ),
    *_rows(
        "5.11",
        "msys.message_scope.",
        "query",
        frozenset({HookPhase.EACH_RCPT}),
        _N,
        'answers "error": there are no lists',
    ),
    *_rows("5.11", "msys.message_scope.", "query_static", ANY, _N, 'answers "error": there are no lists'),
    *_rows("5.11", "msys.message_scope.", "load", AT_LOAD, _N, "says to the log that nothing is loaded"),
    *_rows(
        "5.11", "msys.message_scope.", "gen_thread_id", _FROM_MAILFROM, _P, "the message's id; from data on"
    ),
    *_rows("5.11", "msys.beta.rcptto_proxy.", "query", RCPTTO, _N, "raises; ask a data source"),
    *_rows(
        "5.12", "msys.threadpool.", "count find stat", ANY, _P, "two names without threads; figures are 0"
    ),
    *_rows("5.12", "thread.", "mutex"),
    *_rows("5.12", "mutex:", "lock unlock trylock"),
    *_rows(
        "5.12",
        "msys.timer.",
        "after at every",
        ANY,
        _P,
        "in every worker; kept until stopped, not until collected",
    ),
    *_rows("5.12", "timer:", "stop start name"),
    *_rows("5.12", "msys.os.", "statvfs_subscribe statvfs_read"),
    *_rows(
        "5.13", "msys.ts.chunk_logger.", "log", ANY, _P, "into the server's log; its formats do not apply"
    ),
    *_rows("5.14", "msys.policyeditor.", "get_mailfrom get_rcptto", _ADDRESSES | FINAL),
    *_rows("5.14", "msys.policyeditor.", "get_mess_recv_from get_mess_recv_via", BODY),
    *_rows("5.14", "msys.policyeditor.", "get_header del_header", BODY),
    *_rows(
        "5.14", "msys.policyeditor.", "vctx_mess_get vctx_mess_set vctx_conn_get vctx_conn_set", BODY | BIND
    ),
    *_rows("5.14", "msys.policyeditor.", "get_variable set_variable pcre_match"),
    *_rows("5.14", "msys.policyeditor.", "set_binding set_binding_group", BIND),
    *_rows(
        "5.14", "msys.policyeditor.", "get_binding_domain_failure_rate", ANY, _N, "raises; rates are metrics"
    ),
    *_rows("5.14", "msys.policyeditor.", "send_email"),
    *_rows("5.14", "msys.policyeditor.", "send_trap", ANY, _N, "raises; SNMP traps are not sent"),
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
