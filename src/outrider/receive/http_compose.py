"""The messages that a request in JSON asks for, written.

In: a request that is right as far as its form goes. Out: contents in wire form, each with its message id, or
a `Problem` that names what cannot be written.

Theory: what the messages of one request or batch have in common is written once (`wire.mime.MessageWriter`),
and so is a text without placeholders. Many messages are made a *turn* at a time, so that the others are
served between two turns.

Invariant: nothing but the composer itself is touched while it writes, so one turn may be in a thread.

Standards: RFC 5322 §3.6.4 (message ids).
"""

import sys
from collections.abc import Iterator
from typing import Final, NamedTuple

from outrider.base.clock import format_date
from outrider.base.errors import LocalProtocolError
from outrider.base.ids import MessageId
from outrider.base.long_octets import LONG_OCTETS, slices
from outrider.model.flow import Content
from outrider.model.reply import Reply
from outrider.receive.http_parse import Parsed, Personal
from outrider.receive.http_personal import MissingVariableError, Template, personal_fault
from outrider.receive.problems import Fault, Problem, pointer_of
from outrider.wire.headers import FieldError
from outrider.wire.mime import Draft, Mailbox, MessageWriter
from outrider.wire.smtp.content import ContentReader, stuff_plain
from outrider.wire.smtp.content_limits import ContentLimits
from outrider.wire.smtp.long_content import LongContent

TURN_MESSAGES: Final = 100
"""Chosen: so many personal messages are made in one turn of the loop, some 4 ms."""

TURN_OCTETS: Final = 262_144
"""Chosen: a turn ends behind so many octets too; encoding them takes some 4 ms."""


class Made(NamedTuple):
    """A message that was written, and for whom, if it is for one recipient of several."""

    message_id: MessageId
    content: Content | LongContent
    personal: Personal | None = None

    @property
    def head(self) -> Content:
        """The header section of a long content, else the content."""
        return self.content if isinstance(self.content, Content) else self.content.head

    @property
    def octets(self) -> int:
        """Length of the content."""
        return len(self.content.wire) if isinstance(self.content, Content) else self.content.size

    def joined(self) -> "Made":
        """With its content in one piece."""
        return self if isinstance(self.content, Content) else self._replace(content=self.content.joined())


class Composer:
    """Writes the messages of one request, or of a batch that has many requests.

    Args:
        hostname: Right side of message ids.
        boundary: Between the parts; random, and no id of a message, which others would learn by it.
        message_octets: Bounds a text with its variables.
        eight_bit: See `MessageWriter`.
    """

    __slots__ = ("_boundary", "_date", "_date_time", "_hostname", "_limit", "_writer")

    def __init__(self, hostname: str, boundary: str, message_octets: int, *, eight_bit: bool) -> None:
        self._hostname = hostname
        self._boundary = f"=_{boundary}"
        self._limit = message_octets
        self._writer = MessageWriter(eight_bit=eight_bit)
        self._date = ""
        self._date_time = -1

    def shared(self, parsed: Parsed, message_id: MessageId, now: float) -> Made:
        """The one message to all recipients.

        Raises:
            Problem: It cannot be written.
        """
        draft = parsed.draft
        if parsed.variables is not None:
            draft = _render(Template(draft, self._limit), parsed.variables, None, None)
        try:
            return Made(message_id, self._write(draft, message_id, now))
        except FieldError as error:
            raise Problem("invalid", errors=(Fault("/" + error.field, error.reason),)) from error

    def personal(self, parsed: Parsed, ids: list[MessageId], now: float) -> Iterator[list[Made]]:
        """A message for each recipient, under the id of the same place: a list for each turn.

        Raises:
            Problem: One of them cannot be written.
        """
        template = Template(parsed.draft, self._limit)
        common = parsed.variables or {}
        turn: list[Made] = []
        octets = 0
        for number, each in enumerate(parsed.personal):
            variables = {**common, **each.variables} if each.variables else common
            draft = _render(template, variables, number, (each.mailbox,))
            try:
                content = self._write(draft, ids[number], now)
            except FieldError as error:
                fault = Fault("/" + error.field, error.reason)
                if _is_made(error, parsed.draft):
                    fault = personal_fault(error, number)
                raise Problem("invalid", errors=(fault,)) from error
            made = Made(ids[number], content, each)
            turn.append(made)
            octets += made.octets
            if len(turn) >= TURN_MESSAGES or octets >= TURN_OCTETS:
                yield turn
                turn, octets = [], 0
        if turn:
            yield turn

    def _write(self, draft: Draft, message_id: MessageId, now: float) -> Content | LongContent:
        if int(now) != self._date_time:
            self._date_time = int(now)
            self._date = format_date(now)
        octets = self._writer.write(
            draft, message_id=f"{message_id}@{self._hostname}", date=self._date, boundary=self._boundary
        )
        return stuff_plain(octets) if len(octets) <= LONG_OCTETS else _stuff_long(octets)


def _stuff_long(octets: bytes) -> Content | LongContent:
    """As `stuff_plain`, a piece at a time."""
    reader = ContentReader(ContentLimits(sys.maxsize, sys.maxsize))
    for piece in slices(octets):
        reader.feed_chunk(piece)
    reader.finish_chunks()
    content = reader.finish_apart()
    if isinstance(content, Reply):
        raise LocalProtocolError("a message that was written holds a stray line end")
    return content


def _render(
    template: Template, variables: dict[str, str], number: int | None, to: tuple[Mailbox, ...] | None
) -> Draft:
    try:
        return template.render(variables, to)
    except MissingVariableError as error:
        name = str(error)
        place = () if number is None else ("recipients", number)
        pointer = pointer_of(*place, "variables", name)
        raise Problem("invalid", errors=(Fault(pointer, f"there is no variable {name}"),)) from error


def _is_made(error: FieldError, draft: Draft) -> bool:
    """True when the fault is of one recipient: in its name, or in a text that its variables are in."""
    field = error.field
    if field == "to/0/name":
        return True
    texts = {"subject": draft.subject, "text": draft.text, "html": draft.html}
    if field in texts:
        return "{{" in (texts[field] or "")
    return field.startswith("headers/") and any("{{" in text for _, text in draft.headers)
