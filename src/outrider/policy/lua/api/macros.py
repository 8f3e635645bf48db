"""Macros in texts of scripts: `%{vctx_conn:key}`, `%{vctx_mess:key}`, and the letters of SPF.

In: a text. Out: the same with notes of the session and of the message filled in, and what is predefined for
their names; nothing where there is none, and outside of any hook. `%{s}` is the sender, `%{l}` and `%{o}` its
parts, `%{d}` its domain too, `%{i}` and `%{c}` the client's address, `%{h}` what it calls itself, `%{r}` our
name, `%{t}` the time; `%{p}`, which would ask DNS, is `unknown`.

Standards: RFC 7208 §7.2 (letters), RFC 7208 §7.3 (transformers).
"""

import re
from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address
from typing import Final

from outrider.policy.lua.api.host import Host
from outrider.policy.lua.api.patterns import bounded
from outrider.policy.lua.conversation import Conversation
from outrider.wire.spf.macros import LETTER, letters_of, transformed

_NOTE: Final = re.compile(r"(vctx_conn|vctx_mess):([^}]{1,255})")
_LETTER: Final = re.compile(LETTER)
_ANY_MACRO: Final = re.compile(r"%\{([^}]{1,300})\}")
_LETTERS: Final = "slodivhcrtp"


def expand_macros(host: Host, text: str, own: Mapping[str, str] | None = None) -> str:
    """A text with its macros filled in.

    Args:
        host: Knows the hook under way.
        text: The text.
        own: What letters stand for here, in place of SPF's.

    Raises:
        ValueError: One of them is not known.
    """
    return bounded(host.budget, lambda: _expand(host, text, own or {}))


def _expand(host: Host, text: str, own: Mapping[str, str]) -> str:
    current = host.current()
    conversation = current if isinstance(current, Conversation) else None
    letters: dict[str, str] = {}

    def filled(found: re.Match[str]) -> str:
        note = _NOTE.fullmatch(found[1])
        if note is not None:
            return "" if conversation is None else _noted(conversation, note[1], note[2])
        letter = _LETTER.fullmatch(found[1])
        if letter is None or letter[1].lower() not in _LETTERS:
            raise ValueError(
                f"the macro {found[0]} is not known: there are vctx_conn, vctx_mess and SPF's letters"
            )
        if not letters:
            letters.update({} if conversation is None else _letters(host, conversation), **own)
        return transformed(letters.get(letter[1].lower(), ""), *letter.groups())

    return _ANY_MACRO.sub(filled, text)


def _noted(conversation: Conversation, kind: str, key: str) -> str:
    mail, connection = conversation.mail, conversation.connection
    message = connection.message if mail is None else mail.context
    notes = connection.context if kind == "vctx_conn" else message
    return conversation.vctx.note(notes, key) or ""


def _letters(host: Host, conversation: Conversation) -> dict[str, str]:
    """What SPF's letters stand for in the hook under way; an empty sender is the client's postmaster."""
    mail, connection = conversation.mail, conversation.connection
    sender = connection.mail_from if mail is None else mail.mail_from
    helo = conversation.vctx.helo or connection.helo
    local_part, _, domain = (sender or f"postmaster@{helo}").rpartition("@")
    address = ip_address(connection.client or "0.0.0.0")
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    found = letters_of(local_part, domain, mapped or address, helo, host.hostname, host.clock.wall())
    return {**found, "d": domain, "p": "unknown"}
