"""Constants of Momentum's core as scripts write them; `msys.core` and globals.

Theory: the manual gives no values; scripts pass and compare them. Groups that are or-ed are bits, the others
are counted. Those of other packages are beside their functions.
"""

from typing import Final

from outrider.policy.lua.script import VALIDATE_AGAIN, VALIDATE_CONT, VALIDATE_DONE

CTX_MESS: Final = 1
CTX_CONN: Final = 2

ENV_FROM: Final = 1
ENV_TO: Final = 2
ENV_COMPLETE: Final = 4

TE_7BIT: Final = 0
TE_8BIT: Final = 1
TE_BASE64: Final = 2
TE_QUOTED_PRINTABLE: Final = 3

P_ESMTP: Final = 1
P_SMPP: Final = 2
P_MM7: Final = 3
P_HTTP: Final = 4

PROTOCOLS: Final = {P_ESMTP: "ESMTP", P_SMPP: "SMPP", P_MM7: "MM7", P_HTTP: "HTTP"}
"""What `msys.core.protocol_string` calls them; HTTP is ours."""

_SIEVE: Final = (
    "MSG",
    "MSG_BODY",
    "ENV_FROM",
    "ENV_TO",
    "AC",
    "550_OK",
    "DNS_LOOKUP_OK",
    "PHASE_ACCEPT",
    "PHASE_CONNECT",
    "PHASE_EHLO",
    "PHASE_MAILFROM",
    "PHASE_RCPTTO",
    "PHASE_DATA",
    "PHASE_SPOOL",
    "PHASE_EACH_RCPT",
)

CORE: Final[dict[str, int]] = {
    "VALIDATE_CONT": VALIDATE_CONT,
    "VALIDATE_DONE": VALIDATE_DONE,
    "VALIDATE_AGAIN": VALIDATE_AGAIN,
    "ECMESS_CTX_MESS": CTX_MESS,
    "ECMESS_CTX_CONN": CTX_CONN,
    "VCTX_MESS": CTX_MESS,
    "VCTX_CONN": CTX_CONN,
    "EC_MSG_ENV_FROM": ENV_FROM,
    "EC_MSG_ENV_TO": ENV_TO,
    "EC_MSG_ENV_COMPLETE": ENV_COMPLETE,
    "EC_MIME_TE_7BIT": TE_7BIT,
    "EC_MIME_TE_8BIT": TE_8BIT,
    "EC_MIME_TE_BASE64": TE_BASE64,
    "EC_MIME_TE_QUOTED_PRINTABLE": TE_QUOTED_PRINTABLE,
    "EC_AUTH_OK": 0,
    "EC_AUTH_FAIL": 1,
    "EC_AUTH_ERROR": 2,
    "FAILED": 0,
    "DELAYED": 1,
    "DELIVERED": 2,
    "RELAYED": 3,
    "EXPANDED": 4,
    "O_RDONLY": 0,
    "O_WRONLY": 1,
    "O_RDRW": 2,
    "O_RDWR": 2,
    "O_CREAT": 64,
    "O_APPEND": 1024,
    "O_BINARY": 4096,
    "ECTP_COMPLETE_CALLBACK": 0,
    "ECTP_COMPLETE_CALLBACK_SCHED": 1,
    "P_ESMTP": P_ESMTP,
    "P_SMPP": P_SMPP,
    "P_MM7": P_MM7,
    "EM_SUCCEEDED": 1,
    **{f"SIEVEREQ_{name}": 1 << place for place, name in enumerate(_SIEVE)},
}
"""Of `msys.core`."""

GLOBALS: Final[dict[str, int]] = {
    "EC_MESSAGE_ENQUEUE_HOOK_CONT": 0,
    "EC_MESSAGE_ENQUEUE_HOOK_OK": 1,
    "EC_MESSAGE_ENQUEUE_HOOK_ERR": 2,
    "EC_MSG_MCMT_OK": 0,
    "EC_MSG_MCMT_INVALID": 1,
    "EC_MSG_MCMT_ERROR": 2,
    "MCMT_RECEPTION_ALLOW": 0,
    "MCMT_RECEPTION_REJECT": 1,
    "MCMT_RECEPTION_PASSTHRU": 2,
    "GENERATE_BOUNCES_HOOK_CONT": 0,
    "GENERATE_BOUNCES_HOOK_OK": 1,
    "GENERATE_DELAY_DSN_HOOK_CONT": 0,
    "GENERATE_DELAY_DSN_HOOK_OK": 1,
    "DELAY_DSN_SEND_NOTIFICATION_OK": 1,
    "EC_BINDING_SLOT_UNBOUND": -1,
    "VCTX_MESS": CTX_MESS,
    "VCTX_CONN": CTX_CONN,
    "MM7_CONTINUE": 0,
    "MM7_TEMP_FAIL": 1,
    "MM7_PERM_FAIL": 2,
    "MM7_DELIVERED": 3,
}
"""Constants that the manual prints without a module."""
