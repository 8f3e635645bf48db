"""Recorded metadata of messages, to be rehearsed: one JSON object a line.

In: lines as people, programs or `policy record` write them. Out: submissions, with the notes of connection
and message.

Theory: what decides is mostly client, envelope and header, so a trace holds those and no body: nobody has to
keep whole messages to try a script on what was sent yesterday. Unknown names are refused, so that a slip is
no silent difference.

Invariant: a trace is read whole or not at all; whoever reads says in which line the fault is.
"""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from outrider.base.errors import AddressError, LocalProtocolError, OutriderError
from outrider.base.ids import MessageId
from outrider.model.address import Address
from outrider.model.flow import Envelope, Origin, Recipient, Submission
from outrider.model.mailbox import parse_mailbox
from outrider.wire.smtp.content import normalise_plain

LINE_OCTETS: Final = 4 << 20
# chosen: the header of a message has 100 KiB at most, and a thousand recipients have as much
_ID: Final = "0" * 18

Text = Annotated[str, Meta(max_length=1 << 20)]


class TraceError(OutriderError):
    """A line is no trace."""


class Trace(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One message.

    Attributes:
        recipients: At least one address.
        mail_from: The reverse-path; empty is the null one.
        header: Its header section; each line ends with LF or CRLF.
        listener: Name of the listener.
        protocol: `ESMTP`, `HTTP` and so on.
        client: IP address.
        helo: What the client called itself.
        user: Login that was right; empty is none.
        tls: Version and cipher; empty is none.
        tenant: Who sends.
        stream: Of the tenant.
        context: Notes of the connection.
        notes: Notes of the message.
        id: Its id, to find it again.
        received_time: Unix seconds.
    """

    recipients: Annotated[list[str], Meta(min_length=1, max_length=100_000)]
    mail_from: str = ""
    header: Text = ""
    listener: str = "smtp"
    protocol: str = "ESMTP"
    client: str = "127.0.0.1"
    helo: str = "localhost"
    user: str = ""
    tls: str = ""
    tenant: str = "default"
    stream: str = "default"
    context: dict[str, str] = {}
    notes: dict[str, str] = {}
    id: str = ""
    received_time: float = 0.0


_DECODER: Final = msgspec.json.Decoder(Trace)


def parse_trace(line: bytes) -> Trace:
    """The trace of a line.

    Raises:
        TraceError: It is none; says why.
    """
    if len(line) > LINE_OCTETS:
        raise TraceError(f"has more than {LINE_OCTETS} octets")
    try:
        return _DECODER.decode(line)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise TraceError(f"is no trace: {error}") from error


def format_trace(trace: Trace) -> bytes:
    """A line, without its end."""
    return msgspec.json.encode(trace)


def submission_of(trace: Trace, plain: bytes | None = None) -> Submission:
    """The message of a trace.

    Args:
        trace: See there.
        plain: The whole message, where there is one; its line ends may be LF.

    Raises:
        TraceError: An address is none.
    """
    octets = trace.header.encode("utf-8", "replace").rstrip(b"\r\n") + b"\r\n\r\n" if plain is None else plain
    try:
        content = normalise_plain(octets or b"\r\n")
    except LocalProtocolError as error:
        raise TraceError(error.message) from error
    is_utf8 = not all(text.isascii() for text in (trace.mail_from, *trace.recipients))
    recipients = tuple(Recipient(_address(text, is_utf8=is_utf8)) for text in trace.recipients)
    mail_from = _address(trace.mail_from, is_utf8=is_utf8) if trace.mail_from else None
    return Submission(
        MessageId(trace.id or _ID),
        trace.received_time,
        Origin(
            trace.listener,
            trace.protocol,
            trace.client,
            trace.helo,
            trace.user or None,
            trace.tls or None,
            trace.tenant,
            trace.stream,
        ),
        Envelope(mail_from, recipients, smtputf8=is_utf8),
        content,
        0.0,
        tuple(trace.notes.items()),
    )


def _address(text: str, *, is_utf8: bool) -> Address:
    try:
        return parse_mailbox(text, smtputf8=is_utf8)
    except AddressError as error:
        raise TraceError(f"{text!r} is no address: {error.message}") from error
