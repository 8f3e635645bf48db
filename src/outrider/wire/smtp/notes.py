"""XSETCONTEXT: what a trusted client notes about its connection for policy.

In: the arguments of the command. Out: names and values.

Theory: an application or a relay in front of the server knows whose mail it hands over. It says so before the
mail, as Momentum's clients do: `XSETCONTEXT customer=acme plan=gold`, any number of times; a later value of a
name replaces an earlier one. Values are xtext, so that they can hold spaces and `=`.

Invariant: a command that cannot be read notes nothing. Its length is that of any command.

Standards: RFC 3461 §4 (xtext). The command is Momentum's own.
"""

import re
from typing import Final

from outrider.wire.smtp import replies
from outrider.wire.smtp.commands import CommandError, decode_xtext

NOTES_MAX: Final = 100
"""Of a session. Chosen: three times what a message may bring, because a connection brings many."""
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}").fullmatch


def parse_notes(text: str) -> list[tuple[str, str]]:
    """`name=value`, several of them divided by spaces; at least one.

    Raises:
        CommandError: One of them is none.
    """
    found = []
    for word in text.split():
        name, mark, value = word.partition("=")
        if not mark or not _NAME(name):
            raise CommandError(replies.BAD_NOTE, "no name=value")
        found.append((name, decode_xtext(value)))
    if not found:
        raise CommandError(replies.BAD_NOTE, "nothing to note")
    return found
