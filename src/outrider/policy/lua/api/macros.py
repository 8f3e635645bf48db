"""Macros in texts of scripts: `%{vctx_conn:key}` and `%{vctx_mess:key}`.

In: a text. Out: the same with notes of the session and of the message filled in, and what is predefined for
their names; nothing where there is none, and outside of any hook.
"""

import re
from typing import Final

from outrider.policy.lua.api.host import Host
from outrider.policy.lua.api.patterns import bounded
from outrider.policy.lua.conversation import Conversation

_MACRO: Final = re.compile(r"%\{(vctx_conn|vctx_mess):([^}]{1,255})\}")
_ANY_MACRO: Final = re.compile(r"%\{([^}]{1,300})\}")


def expand_macros(host: Host, text: str) -> str:
    """A text with its macros filled in. Raises ValueError: one of them is not known."""
    return bounded(host.budget, lambda: _expand(host, text))


def _expand(host: Host, text: str) -> str:
    for found in _ANY_MACRO.finditer(text):
        if not _MACRO.fullmatch(found[0]):
            raise ValueError(f"the macro {found[0]} is not known: there are vctx_conn and vctx_mess")
    current = host.current()
    if not isinstance(current, Conversation):
        return _MACRO.sub("", text)

    def filled(found: re.Match[str]) -> str:
        message = current.connection.message if current.mail is None else current.mail.context
        notes = current.connection.context if found[1] == "vctx_conn" else message
        return current.vctx.note(notes, found[2]) or ""

    return _MACRO.sub(filled, text)
