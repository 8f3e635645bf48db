"""Notes for policy that a client writes into a header, as `X-Outrider-Context: key=value`, and their removal.

In: the header section of a client that may submit. Out: the notes, and the content without the fields.

Theory: an application by SMTP has no other place to tell policy what it knows of a message: a customer, a
campaign. XCLIENT and the like are not taken, because they say who the client is, which only the connection
proves. Only clients that are trusted or have authenticated get that far, so the field needs no list of its
own: who may send as a customer may say which one. An application that lets others write header fields has to
keep this one from them, as it has X-Outrider-Stream.

Invariant: no message leaves with such a field; one that cannot be read refuses the message, so that no note
is lost silently. Bounds are those of metadata by HTTP.
"""

import re
from typing import Final, NamedTuple

from msgspec.structs import replace

from outrider.model.flow import Content
from outrider.model.reply import Reply
from outrider.receive.submitter import field_end
from outrider.wire.smtp import replies

CONTEXT_FIELD: Final = b"x-outrider-context"
NOTES_MAX: Final = 32
"""As metadata by HTTP."""
TEXT_CHARACTERS: Final = 512
"""As metadata by HTTP."""

_FIELD: Final = re.compile(rb"(?:^|(?<=\n))x-outrider-context[ \t]*:")
_PAIR: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_.-]{0,63})[ \t]*=[ \t]*(.*)")


class Noted(NamedTuple):
    """What a header said, and the content without it."""

    notes: tuple[tuple[str, str], ...]
    content: Content


def take_notes(content: Content, header: bytes, lower: bytes) -> Noted | Reply:
    """The notes of a header section with its lower-case copy, or the refusal.

    To be called when `CONTEXT_FIELD` is in `lower`; it may be there as something else than a field's name.
    """
    found = [(each.start(), each.end(), field_end(header, each.end())) for each in _FIELD.finditer(lower)]
    if not found:
        return Noted((), content)
    notes: dict[str, str] = {}
    for _, value_at, end in found:
        try:
            text = re.sub(r"\r\n(?=[ \t])", "", header[value_at:end].decode()).strip()
        except UnicodeDecodeError:
            return replies.CONTEXT_UNREADABLE
        pair = _PAIR.fullmatch(text)
        if pair is None or pair[1] in notes or len(pair[2]) > TEXT_CHARACTERS or len(notes) >= NOTES_MAX:
            return replies.CONTEXT_UNREADABLE
        notes[pair[1]] = pair[2]
    wire, position = [], 0
    for start, _, end in found:
        wire.append(content.wire[position:start])
        position = end
    wire.append(content.wire[position:])
    gone = sum(end - start for start, _, end in found)
    own = replace(content, wire=b"".join(wire), header_octets=content.header_octets - gone)
    return Noted(tuple(notes.items()), own)
