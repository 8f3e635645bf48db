"""Messages that scripts make: `msys.core.ec_message_new`, `msg:build`, `msg:inject`, `msg:forward`.

In: fields, texts, attachments. Out: a message in the spool, on its way as any other that is submitted.

Theory: a hook waits until the new message is stored, so it is not lost when the hook's own is taken.
"""

from collections.abc import Callable
from typing import Any, Final

from outrider.policy.lua.api.content import field_value
from outrider.policy.lua.api.contexts import note_text
from outrider.policy.lua.api.envelope import path_of
from outrider.policy.lua.api.host import Host, needs, octets_of, text_of
from outrider.policy.lua.convert import kind_of
from outrider.policy.lua.messages import Msg
from outrider.wire.message import transfer
from outrider.wire.message.build import Attached, build_message
from outrider.wire.message.limits import with_crlf
from outrider.wire.message.makers import make_message, make_multipart, make_text

_ORDER: Final = {"text/plain": 0, "text/html": 2}
# a table of Lua has no order; readers take the last alternative that they can show, RFC 2046 §5.1.4
RECIPIENTS_MAX: Final = 1_000
# chosen: who has more uses a list


def new_message(*_values: Any) -> Msg:
    """A message with nothing in it yet."""
    return Msg(None, None).make()


def build(msg: Msg, headers: Any, parts: Any, attachments: Any = None) -> None:
    """Make a message that is empty what these say."""
    if not msg.is_made:
        raise ValueError("build is for a message of msys.core.ec_message_new()")
    if not isinstance(headers, dict):
        raise ValueError(f"headers are a table of names and values, not {kind_of(headers)}")  # noqa: TRY004
    if not isinstance(parts, dict) or not parts:
        raise ValueError("parts are a table of content types and texts, with one at least")
    fields = [
        (name, field_value(name, value))
        for name, value in ((text_of(name, "a header's name"), value) for name, value in headers.items())
    ]
    texts = [(text_of(kind, "a content type"), note_text(text, "a text")) for kind, text in parts.items()]
    texts.sort(key=lambda each: (_ORDER.get(each[0].partition(";")[0].strip().lower(), 1), each[0]))
    attached = [_attached(each) for each in _list(attachments)]
    msg.message.set_raw(build_message(fields, texts, attached))


def _list(value: Any) -> list[Any]:
    if value is None or value == {}:
        return []
    if not isinstance(value, list):
        raise ValueError("attachments are a list of tables")  # noqa: TRY004 - scripts hear it
    return value


def _attached(value: Any) -> Attached:
    if not isinstance(value, dict):
        raise ValueError(f"an attachment is a table, not {kind_of(value)}")  # noqa: TRY004 - scripts hear it
    content = value.get(b"content")
    if isinstance(content, Msg):
        return Attached(content.message.raw(), is_message=True)
    fields = octets_of(value.get(b"headers", b""), "an attachment's headers")
    octets = octets_of(content, "an attachment's content")
    kind = text_of(value.get(b"type", b"application/octet-stream"), "an attachment's type")
    is_plain = kind.lower().startswith("text/") and b"\0" not in octets
    return Attached(
        with_crlf(octets) if is_plain else octets,
        kind,
        text_of(value.get(b"name", b""), "an attachment's name"),
        fields + b"\r\n" if fields and not fields.endswith(b"\r\n") else fields,
        transfer.QUOTED_PRINTABLE,
    )


def recipients_of(value: Any) -> tuple[str, ...]:
    """Recipients, separated by commas. Raises ValueError."""
    found = tuple(path_of(each) for each in text_of(value, "recipients").split(",") if each.strip())
    if not 1 <= len(found) <= RECIPIENTS_MAX:
        raise ValueError(f"a message has 1 to {RECIPIENTS_MAX} recipients")
    return found


class NewMessages:
    """What sends them."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def inject(self, msg: Msg, mailfrom: Any, rcptto: Any) -> None:
        """Send this message anew."""
        raw = msg.message.raw()
        await self._send(raw, mailfrom, rcptto)

    async def forward(
        self, msg: Msg, sender: Any, rcptto: Any, text: Any, subject: Any = None, charset: Any = None
    ) -> None:
        """Send a message with this one in it."""
        if charset is None and not octets_of(text, "a text").isascii():
            raise ValueError("a text beyond ASCII needs its charset")
        note = make_text(
            note_text(text, "a text"), charset="" if charset is None else text_of(charset, "a charset")
        )
        mixed = make_multipart("mixed", [note, make_message(msg.message.raw())])
        mixed.header.prepend(
            "Subject", "Forwarded message" if subject is None else field_value("Subject", subject)
        )
        mixed.header.prepend("To", ", ".join(recipients_of(rcptto)))
        if path_of(sender):
            mixed.header.prepend("From", path_of(sender))
        mixed.header.append("MIME-Version", "1.0")
        await self._send(mixed.octets(), sender, rcptto)

    async def _send(self, octets: bytes, sender: Any, recipients: Any) -> None:
        outbox = needs(self._host.outbox, "sending new messages")
        await outbox.send(octets, path_of(sender), recipients_of(recipients))

    def methods(self) -> dict[str, Callable[..., Any]]:
        """By the names that scripts use."""
        return {"build": build, "inject": self.inject, "forward": self.forward}
