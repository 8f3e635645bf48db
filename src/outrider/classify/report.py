"""The parts of a delivery report: text for people, fields for programs, the returned message.

In: what became of each recipient. Out: the octets of one MIME part each, header included, lines ended by
CRLF, ready to stand between boundaries.

Invariant: whatever the inputs, a field is one line (or folded), visible, and at most 998 octets long.
Standards: RFC 3464 §2.2 and RFC 3464 §2.3 (fields), RFC 6522 §3 (parts), RFC 6533 §3 (UTF-8),
RFC 2046 §5.2.1 (message/rfc822 has no transfer encoding that changes octets).
"""

import textwrap
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec

from outrider.base.clock import format_date
from outrider.classify.options import DsnOptions
from outrider.classify.table import CLASSES, UNDETERMINED
from outrider.classify.text import (
    clean,
    clean_ascii,
    cut,
    utf8_address_ascii,
    visible,
)
from outrider.model.changes import LastReply, Stored
from outrider.model.flow import Content, Outcome, Phase, Recipient, Traits
from outrider.wire.headers import LINE_OCTETS
from outrider.wire.message.charsets import is_utf8
from outrider.wire.message.transfer import encode_quoted
from outrider.wire.mime_parts import format_base64
from outrider.wire.smtp.content import unstuff, unstuff_header

TEXT_WIDTH = 76
# RFC 5322 §2.1.1 asks for lines of at most 78.

DIAGNOSTIC_CHARS = 600
# Length of a remote reply that we repeat; chosen: published replies are shorter, and a line may have 998
# octets (RFC 5322 §2.1.1).

HOST_CHARS = 255
# RFC 1035 §2.3.4.

ADDRESS_CHARS = 500
# RFC 5321 §4.5.3.1.3 allows 256 for a path; an ORCPT may have 500 (RFC 3461 §4.2).


ADDRESS_OCTETS = 960
# What a line of 998 octets (RFC 5322 §2.1.1) has for an address beyond ASCII, in UTF-8 or as RFC 6533 §3
# writes it; chosen: only an ORCPT that no mailbox could have is longer, and is cut.


class DsnKind(StrEnum):
    """The kinds of reports that a relay sends; the values are those of the Action field (RFC 3464 §2.3.3)."""

    FAILED = "failed"
    DELAYED = "delayed"
    RELAYED = "relayed"


EXPIRED_DIGIT = "4"
# RFC 3463 §2: a persistent transient failure is one whose attempts were abandoned; sending later may succeed

_CLASS_DIGIT = {DsnKind.FAILED: "5", DsnKind.DELAYED: "4", DsnKind.RELAYED: "2"}


class RecipientReport(msgspec.Struct, frozen=True):
    """What a report says about one recipient.

    Attributes:
        recipient: With its NOTIFY and ORCPT.
        outcome: The last outcome; for an expired entry the last attempt's, if there was one.
        attempted_time: When that was.
        bounce_class: From the verdict; chooses the sentence for people.
        retry_until_time: For DELAYED: when we give up; 0 where unknown.
        expired: For FAILED: nobody refused it for good, its time was over.
        last: For an entry that expired without a last attempt: the attempt before, or None when there was
        none.
    """

    recipient: Recipient
    outcome: Outcome
    attempted_time: float
    bounce_class: str = ""
    retry_until_time: float = 0.0
    expired: bool = False
    last: LastReply | None = None


class _Said(NamedTuple):
    """What a report repeats: who said what when; `attempted_time` 0 is never."""

    text: str
    enhanced: str
    host: str
    ours: bool
    attempted_time: float


def _last_said(report: RecipientReport) -> _Said:
    """The answer to the last attempt; where there was none, why there was none."""
    outcome = report.outcome
    if report.last is not None:
        last = report.last
        words = last.text.split(" ", 2)
        enhanced = words[1] if len(words) > 1 and _is_status(words[1]) else ""
        return _Said(last.text, enhanced, last.host, last.ours, last.attempted_time)
    never = report.expired and outcome.phase == Phase.QUEUE
    said_at = 0.0 if never else report.attempted_time
    return _Said(str(outcome.reply), outcome.reply.enhanced or "", outcome.host, outcome.ours, said_at)


def text_part(
    intro: str, message_id: str, kind: DsnKind, reports: Sequence[RecipientReport], options: DsnOptions
) -> bytes:
    """The part for people."""
    lines = [line for paragraph in intro.split("\n") for line in textwrap.wrap(paragraph, TEXT_WIDTH) or [""]]
    for report in reports[: options.max_recipients]:
        lines += ["", f"<{cut(visible(str(report.recipient.address)), ADDRESS_CHARS)}>"]
        lines += _indented(_sentence(kind, report))
        if kind is not DsnKind.RELAYED:
            lines += _indented(_said(_last_said(report)))
    if len(reports) > options.max_recipients:
        lines += ["", f"... and {len(reports) - options.max_recipients} more recipients."]
    lines += ["", f"Message id: {message_id}", ""]
    text = "\r\n".join(lines)
    if text.isascii():
        return b"Content-Type: text/plain; charset=us-ascii\r\n\r\n" + text.encode("ascii")
    return (
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + format_base64(text.encode("utf-8", "replace"))
    )


def status_part(
    stored: Stored, kind: DsnKind, reports: Sequence[RecipientReport], hostname: str, *, utf8: bool
) -> bytes:
    """The part for programs; with `utf8` as message/global-delivery-status (RFC 6533 §4)."""
    groups = [_message_fields(stored, hostname)]
    groups.extend(_recipient_fields(kind, report, utf8=utf8) for report in reports)
    fields = "\r\n\r\n".join("\r\n".join(group) for group in groups) + "\r\n"
    if utf8:
        octets = fields.encode("utf-8", "replace")
        encoding = b"7bit" if octets.isascii() else b"8bit"
        return b"Content-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: %b\r\n\r\n%b" % (
            encoding,
            octets,
        )
    return b"Content-Type: message/delivery-status\r\n\r\n" + fields.encode("ascii", "replace")


def returned_part(content: Content, *, whole: bool, options: DsnOptions) -> bytes:
    """The returned message, or its header.

    The whole message only where it fits (`max_returned_octets`) and its lines are short enough to be sent.
    """
    whole = whole and len(content.wire) <= options.max_returned_octets
    if whole and not content.traits & Traits.LONG_LINES:
        plain = unstuff(content)
        if content.traits & Traits.HEADER_UTF8 and is_utf8(unstuff_header(content)):
            return _base64_part(b"message/global", plain)
        encoding = b"8bit" if content.traits & Traits.EIGHT_BIT else b"7bit"
        return b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: %b\r\n\r\n%b" % (encoding, plain)
    header = _header(content, options.max_returned_header_octets)
    if header.isascii() and max(map(len, header.split(b"\r\n"))) <= LINE_OCTETS:
        return b"Content-Type: text/rfc822-headers\r\n\r\n" + header
    if header.isascii() or not is_utf8(header):  # RFC 6522 §4: broken ones are made legal that way
        return (
            b"Content-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
            + encode_quoted(header)
        )
    return _base64_part(b"message/global-headers", header)


def _base64_part(kind: bytes, plain: bytes) -> bytes:
    head = b"Content-Type: %b\r\nContent-Transfer-Encoding: base64\r\n\r\n" % kind
    return head + format_base64(plain)


def _header(content: Content, limit: int) -> bytes:
    """The header section, cut before the first field that does not fit."""
    wire = content.wire[: content.header_octets]
    header = unstuff(msgspec.structs.replace(content, wire=wire)) if wire else b""
    if len(header) <= limit:
        return header
    cut = limit
    while True:
        cut = header.rfind(b"\r\n", 0, cut)
        if cut < 0:
            return b""
        if header[cut + 2 : cut + 3] not in (b" ", b"\t"):
            return header[: cut + 2]


def _message_fields(stored: Stored, hostname: str) -> list[str]:
    fields = [f"Reporting-MTA: dns; {clean_ascii(hostname, HOST_CHARS)}"]
    if stored.envid:
        fields.insert(0, f"Original-Envelope-Id: {cut(visible(stored.envid), ADDRESS_CHARS)}")
    fields.append(f"Arrival-Date: {format_date(stored.received_time)}")
    fields.append(f"X-Outrider-Message-Id: {clean_ascii(stored.message_id, HOST_CHARS)}")
    return fields


def _recipient_fields(kind: DsnKind, report: RecipientReport, *, utf8: bool) -> list[str]:
    said = _last_said(report)
    fields = []
    if report.recipient.orcpt:
        address_type, semicolon, original = report.recipient.orcpt.partition(";")
        if semicolon:
            fields.append(f"Original-Recipient: {_typed(clean_ascii(address_type, 40), original, utf8=utf8)}")
    fields.append(f"Final-Recipient: {_typed('rfc822', str(report.recipient.address), utf8=utf8)}")
    fields.append(f"Action: {kind}")
    digit = EXPIRED_DIGIT if report.expired else _CLASS_DIGIT[kind]
    fields.append(f"Status: {_status(digit, said.enhanced)}")
    if said.host and not said.ours:
        fields.append(f"Remote-MTA: dns; {clean_ascii(said.host, HOST_CHARS)}")
    text = clean_ascii(said.text, DIAGNOSTIC_CHARS)
    fields.append(_folded(f"Diagnostic-Code: {'x-outrider' if said.ours else 'smtp'}; {text}"))
    if said.attempted_time:
        fields.append(f"Last-Attempt-Date: {format_date(said.attempted_time)}")
    if kind is DsnKind.DELAYED and report.retry_until_time:
        fields.append(f"Will-Retry-Until: {format_date(report.retry_until_time)}")
    return fields


def _typed(address_type: str, address: str, *, utf8: bool) -> str:
    if address.isascii() and address_type.lower() != "utf-8":
        return f"{address_type}; {cut(visible(address), ADDRESS_CHARS)}"
    return f"utf-8; {cut(visible(address) if utf8 else utf8_address_ascii(address), ADDRESS_OCTETS)}"


def _folded(field: str) -> str:
    """Folded at spaces (RFC 5322 §2.2.3); what has no space stays whole, it is short enough by its limit."""
    return "\r\n ".join(textwrap.wrap(field, TEXT_WIDTH, break_long_words=False, break_on_hyphens=False))


def status_code(kind: DsnKind, outcome: Outcome) -> str:
    """The Status field: the outcome's status code with the digit of the action (RFC 3464 §2.3.4)."""
    return _status(_CLASS_DIGIT[kind], outcome.reply.enhanced or "")


def _status(digit: str, enhanced: str) -> str:
    if not _is_status(enhanced):
        return f"{digit}.0.0"
    _, subject, detail = enhanced.split(".")
    return f"{digit}.{int(subject)}.{int(detail)}"


def _is_status(text: str) -> bool:
    parts = text.split(".")
    return len(parts) == 3 and all(part.isascii() and part.isdigit() and len(part) <= 3 for part in parts)


def _sentence(kind: DsnKind, report: RecipientReport) -> str:
    if kind is DsnKind.RELAYED:
        return "Passed on; the next server sends no confirmation."
    if report.expired:
        was_tried = bool(_last_said(report).attempted_time)
        tried = "The last attempt failed for now" if was_tried else "No attempt was made"
        return f"It could not be delivered within the time allowed, and will not be tried again. {tried}."
    return CLASSES.get(report.bounce_class, CLASSES[UNDETERMINED]).explanation


def _said(said: _Said) -> str:
    reply = clean(said.text, DIAGNOSTIC_CHARS)
    if said.ours:
        return f"This server says: {reply}"
    return f"{clean(said.host, HOST_CHARS) or 'The receiving server'} said: {reply}"


def _indented(text: str) -> list[str]:
    return textwrap.wrap(text, TEXT_WIDTH, initial_indent="    ", subsequent_indent="    ")
