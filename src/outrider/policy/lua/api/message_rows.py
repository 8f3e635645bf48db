"""Rows of what half of Momentum's API is about the message, its session, and the core.

Source: the manual's pages of each function; phases are the manual's, and those in which the same is of use
and cannot do harm.
"""

from typing import Final

from outrider.model.hooks import HookPhase
from outrider.policy.lua.api.coverage import (
    ANY,
    AT_LOAD,
    BIND,
    BODY,
    FINAL,
    OUT,
    RCPTTO,
    SESSION,
    Row,
    Status,
)

_PARTLY: Final = Status.PARTLY
_NOT: Final = Status.NOT_CARRIED_OVER

READ: Final = BODY | BIND | FINAL | OUT
"""Where a message can be read."""

_EDIT: Final = BODY | OUT

_READ_ENVELOPE: Final = READ | RCPTTO
_LIST: Final = frozenset({HookPhase.DATA, HookPhase.DATA_SPOOL, HookPhase.MSG_GEN})
_EACH: Final = frozenset({HookPhase.EACH_RCPT})
_CONNECT: Final = frozenset({HookPhase.CONNECT})
_EHLO: Final = frozenset({HookPhase.EHLO})
_MAILFROM: Final = frozenset({HookPhase.MAILFROM})
_RCPTTO_LIST: Final = frozenset({HookPhase.RCPTTO_LIST})
READERS: Final = frozenset(
    ("header", "address_header", "content_type", "text", "text_match", "body_match", "raw_match")
)
"""Methods of `msgpart` that change nothing, or not always."""

VCTX: Final = (
    Row("vctx:get", "vctx", SESSION),
    Row("vctx:set", "vctx", SESSION),
    Row(
        "vctx:set_code",
        "vctx",
        SESSION,
        _PARTLY,
        "the text of a 2xx is not used; nothing can be refused in set_binding, final_validation, response and"
        " disposal",
    ),
    Row(
        "vctx:disconnect",
        "vctx",
        SESSION,
        _PARTLY,
        "the session ends with 421 and the given text: no other code does (RFC 5321 §3.8)",
    ),
    Row("vctx:pbp_action", "vctx", SESSION, _PARTLY, "as vctx:set_code"),
    Row("vctx:pbp_disconnect", "vctx", SESSION, _PARTLY, "as vctx:disconnect"),
    Row("vctx:tarpit", "vctx", _CONNECT),
    Row("vctx:add_recipient", "vctx", _LIST | RCPTTO | _RCPTTO_LIST),
    Row("vctx:remove_recipient", "vctx", _LIST | RCPTTO | _RCPTTO_LIST | _MAILFROM),
    Row(
        "vctx:recipient_list",
        "vctx",
        SESSION - RCPTTO,
        _PARTLY,
        "empty before all are known; replaced from rcptto_list up to data_spool",
    ),
    Row("ac.remote_addr", "ac", SESSION),
    Row("ac.protocol", "ac", SESSION),
    Row("ac:esmtp_capability_add", "ac", _CONNECT | _EHLO),
    Row("ac:esmtp_capability_remove", "ac", _CONNECT | _EHLO),
    Row(
        "ac:inbound_session_count",
        "ac",
        SESSION,
        _PARTLY,
        "of listeners that scripts are asked for, with policy.audit_monitors; networks by octets"
        " (IPv6: /24 /32 /48 /56 /64); services other than SMTP have none",
    ),
)

CORE: Final = (
    Row("msys.core.string_new", "msys.core", ANY),
    Row("msys.core.get_now_ts", "msys.core", ANY),
    Row("msys.core.protocol_string", "msys.core", ANY),
    Row("msys.core.accept_construct_get_message_construct", "msys.core", SESSION),
    Row("msys.core.stringwrite", "msys.core", ANY),
)

_ENVELOPE: Final = "msg envelope, routing, identity"
_NOTES: Final = "msg context"
_CONTENT_SECTION: Final = "msg headers and content"
_UNASKED: Final = "the new message goes out by the configuration alone: no script is asked about it"
_UP_TO_EACH: Final = (
    "content changes up to each_rcpt and in outbound; Momentum also permits it in set_binding"
)

MSG: Final = (
    Row("msg.id", "msg fields", READ),
    Row("msg.batch_id", "msg fields", READ, _PARTLY, "the message's id: there are no batches"),
    Row("msg.conn_id", "msg fields", READ, _PARTLY, "the message's id: connections have none"),
    Row("msg.priority", "msg fields", READ, Status.WORKS, "set in set_binding"),
    Row("msg.recv_method", "msg fields", READ),
    Row("msg.delivered", "msg fields", READ, _NOT, "no hook takes over a delivery"),
    Row(
        "msg:mailfrom",
        _ENVELOPE,
        _READ_ENVELOPE,
        _PARTLY,
        "changes from data up to each_rcpt; Momentum also permits it in rcptto and set_binding",
    ),
    Row("msg:rcptto", _ENVELOPE, _READ_ENVELOPE, _PARTLY, "changes in each_rcpt only, not later"),
    Row("msg:get_envelope2", _ENVELOPE, _READ_ENVELOPE),
    Row("msg:binding", _ENVELOPE, BIND | FINAL | OUT),
    Row("msg:binding_group", _ENVELOPE, BIND | FINAL),
    Row("msg:routing_domain", _ENVELOPE, _READ_ENVELOPE, _PARTLY, "changes in each_rcpt only"),
    Row("msg:get_delivery_method", _ENVELOPE, READ),
    Row("msg:get_message_size", _ENVELOPE, READ),
    Row("msg:is_mcmt", _ENVELOPE, READ | RCPTTO, _PARTLY, "always 0: there are no such containers"),
    Row("msg:rsrc_get", _ENVELOPE, _EACH, _NOT, "channel not available"),
    Row(
        "msg:listener_addr",
        _ENVELOPE,
        READ,
        _PARTLY,
        "by HTTP and on the way out as the configuration says",
    ),
    Row(
        "msg:reception_peer",
        _ENVELOPE,
        READ,
        _PARTLY,
        "the port is 0 where it is not known: by HTTP, behind a load balancer and on the way out",
    ),
    Row("msg:code", _ENVELOPE, _EDIT, _PARTLY, "as vctx:set_code; empty where this hook set none"),
    Row("msg:discard", _ENVELOPE, _EDIT),
    Row("msg:inject", _ENVELOPE, BODY | BIND, _PARTLY, _UNASKED),
    Row(
        "msg:forward",
        _ENVELOPE,
        BODY | BIND,
        _PARTLY,
        f"not in rcptto, where there is no message yet; {_UNASKED}",
    ),
    Row("msg:context_get", _NOTES, _READ_ENVELOPE),
    Row("msg:context_set", _NOTES, _READ_ENVELOPE),
    Row("msg:context_exists", _NOTES, _READ_ENVELOPE),
    Row("msg:context_exists_and_get", _NOTES, _READ_ENVELOPE),
    Row("msg:context_delete", _NOTES, _READ_ENVELOPE),
    Row("msys.core.ec_message_context_get", _NOTES, _READ_ENVELOPE),
    Row("msys.core.ec_message_context_set", _NOTES, _READ_ENVELOPE),
    Row("msys.core.ec_message_context_exists", _NOTES, _READ_ENVELOPE),
    Row("msys.core.ec_message_context_exists_and_get", _NOTES, _READ_ENVELOPE),
    Row("msys.core.ec_message_context_delete", _NOTES, _READ_ENVELOPE),
    Row("msys.core.ec_message_context_firstkey", _NOTES, _READ_ENVELOPE),
    Row("msys.core.ec_message_context_nextkey", _NOTES, _READ_ENVELOPE),
    Row("msys.core.ec_message_new", _CONTENT_SECTION, ANY),
    Row("msg:header", _CONTENT_SECTION, READ, _PARTLY, _UP_TO_EACH),
    Row("msg:address_header", _CONTENT_SECTION, READ),
    Row("msg:raw", _CONTENT_SECTION, READ, Status.WORKS, "dots are not stuffed; line ends become CRLF"),
    Row("msg:raw_match", _CONTENT_SECTION, READ),
    Row("msg:raw_replace", _CONTENT_SECTION, _EDIT),
    Row(
        "msg:body",
        _CONTENT_SECTION,
        READ,
        _PARTLY,
        f"dots are not stuffed; line ends become CRLF; {_UP_TO_EACH}",
    ),
    Row("msg:body_match", _CONTENT_SECTION, READ),
    Row("msg:body_replace", _CONTENT_SECTION, _EDIT),
    Row("msg:text", _CONTENT_SECTION, READ),
    Row("msg:text_match", _CONTENT_SECTION, READ),
    Row("msg:text_replace", _CONTENT_SECTION, _EDIT),
    Row(
        "msg:build",
        _CONTENT_SECTION,
        ANY,
        _PARTLY,
        "text/plain is the first alternative and text/html the last, as a table has no order; attachments"
        " are strings or messages",
    ),
    Row(
        "msg:mime",
        _CONTENT_SECTION,
        READ,
        _PARTLY,
        "its parts are the hook's: ask for them again in the next one",
    ),
    Row("msg:makePart", _CONTENT_SECTION, READ, _PARTLY, "the body is a string"),
    Row("msg:makeContainer", _CONTENT_SECTION, READ, _PARTLY, "multiparts only"),
    Row("msg:makeBoundary", _CONTENT_SECTION, READ),
)

_WINDOW: Final = "within the part's own body; may be set to what they are, as scripts do that make parts"

MSGPART: Final = (
    Row("msgpart.parts", "msgpart", READ),
    Row("msgpart.thread", "msgpart", READ),
    Row("msgpart.body_start", "msgpart", READ, _PARTLY, _WINDOW),
    Row("msgpart.body_end", "msgpart", READ, _PARTLY, _WINDOW),
    *(
        Row(f"msgpart:{name}", "msgpart", READ if name in READERS else _EDIT)
        for name in (
            "header",
            "address_header",
            "content_type",
            "text",
            "text_match",
            "text_replace",
            "body_match",
            "body_replace",
            "raw_match",
            "raw_replace",
            "addFirstChild",
            "addLastChild",
            "insertAfter",
            "insertBefore",
            "unlink",
        )
    ),
)

_CONSOLE: Final = "there is no console of Momentum's; what is registered is never called, and the log says so"

BASE: Final = (
    Row("msys.registerModule", "msys", AT_LOAD),
    Row("msys.registerControl", "msys", ANY, _NOT, _CONSOLE),
    Row(
        "msys.registerAuth", "msys", ANY, _NOT, "logins are the server's; what is registered is never called"
    ),
    Row("msys.config", "msys", ANY, _PARTLY, '("get", "hostname") alone'),
    Row(
        "msys.dnsLookup",
        "msys",
        SESSION,
        _PARTLY,
        "asks the configuration's nameservers: the option server is refused",
    ),
    Row("msys.expandMacro", "msys", ANY, _PARTLY, "%{vctx_conn:key}, %{vctx_mess:key} and SPF's letters"),
    Row("msys.parseRFC2822Addresses", "msys", ANY),
    Row("msys.readfile", "msys", ANY, _PARTLY, "files in the folder of the scripts and below it"),
    Row("msys.sleep", "msys", SESSION),
    Row(
        "msys.runInPool",
        "msys",
        SESSION,
        _PARTLY,
        "the function runs in the worker's own thread, within a hook's budget",
    ),
    Row("msys.lock", "msys", SESSION, _PARTLY, "between sessions of all workers; a session's end with it"),
    Row("msys.unlock", "msys", SESSION, _PARTLY, "as msys.lock"),
    Row("msys.asyncOk", "msys", ANY),
    Row("msys.type", "msys", ANY),
    Row("msys.cast", "msys", ANY, _PARTLY, "to the class that the object has"),
    Row("msys.getClassMetaTable", "msys", ANY, _NOT, "classes of the server cannot be changed by scripts"),
    Row("msys.runSieveScript", "msys", ANY, _NOT, "Sieve is not carried over"),
    Row("msys.shareSet", "msys", ANY, _PARTLY, "of all workers, until the server stops; 64 KiB a value"),
    Row("msys.shareGet", "msys", ANY, _PARTLY, "as msys.shareSet"),
    Row("msys.shareUnset", "msys", ANY, _PARTLY, "as msys.shareSet"),
)

ROWS: Final = (*VCTX, *CORE, *MSG, *MSGPART, *BASE)
