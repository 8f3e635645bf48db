"""Where policy is asked on a message's way, in the order in which it happens.

A session is asked as its commands come; the phases from DATA on are asked one after the other when the whole
message is there, before it is stored. An HTTP request has no session: it enters at MSG_GEN. On the way out
each attempt on a recipient is asked about: before the wire, after it, and when nothing more is tried.

Standards: RFC 5321 §3.3 (mail transactions). The names are those of Momentum's hooks without `validate_`.
"""

from enum import StrEnum
from typing import Final


class HookPhase(StrEnum):
    """A moment at which policy decides."""

    CONNECT = "connect"
    EHLO = "ehlo"
    AUTH = "auth"
    MAILFROM = "mailfrom"
    RCPTTO = "rcptto"
    RCPTTO_LIST = "rcptto_list"
    DATA = "data"
    DATA_SPOOL = "data_spool"
    MSG_GEN = "msg_gen"
    EACH_RCPT = "each_rcpt"
    SET_BINDING = "set_binding"
    FINAL_VALIDATION = "final_validation"
    OUTBOUND = "outbound"
    RESPONSE = "response"
    DISPOSAL = "disposal"


SESSION_PHASES: Final = (
    HookPhase.CONNECT,
    HookPhase.EHLO,
    HookPhase.AUTH,
    HookPhase.MAILFROM,
    HookPhase.RCPTTO,
    HookPhase.RCPTTO_LIST,
)
"""Asked by `receive` while an SMTP session goes on."""

WHOLE_PHASES: Final = (HookPhase.DATA, HookPhase.DATA_SPOOL)
"""Asked once for a message that came by SMTP."""

RECIPIENT_PHASES: Final = (HookPhase.EACH_RCPT, HookPhase.SET_BINDING, HookPhase.FINAL_VALIDATION)
"""Asked for each recipient's own message."""

WAY_OUT_PHASES: Final = frozenset((HookPhase.OUTBOUND, HookPhase.RESPONSE, HookPhase.DISPOSAL))
"""Asked when what was stored is delivered."""
