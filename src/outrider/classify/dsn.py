"""Delivery status notifications: what goes back to the sender, written octet by octet.

In: a stored message, what became of some of its recipients, and its content. Out: a complete `Submission`
from the null reverse-path, or None when nobody is to be told.

Theory: a report is `multipart/report` with a text for people, fields for programs and the returned message
or its header. Everything in it that others wrote (replies, ORCPT, ENVID, host names) passes through
`classify.text` first. The parts are 7 bit wherever the standards allow it, so that a report gets through
every server; only a returned message with 8-bit content, or a sender's address beyond ASCII, needs more.

Invariants: a message with the null reverse-path never causes a report, so a report never causes another;
a recipient with NOTIFY=NEVER is in no report; the result has no bare CR or LF and parses.
Standards: RFC 3464 §2 (format), RFC 6522 §3 (multipart/report), RFC 2045 §6.4 (8bit in a multipart),
RFC 3461 §4.1, RFC 3461 §4.3 and RFC 3461 §6 (when, what is returned, how it is addressed), RFC 6533 §4
(internationalised), RFC 5321 §4.5.5 (null reverse-path), RFC 3834 §5 (Auto-Submitted).
"""

from collections.abc import Sequence

from outrider.base.clock import format_date
from outrider.base.ids import MessageId
from outrider.classify.options import DsnOptions, DsnTemplate
from outrider.classify.report import DsnKind, RecipientReport, returned_part, status_part, text_part
from outrider.model.address import Address, format_path
from outrider.model.changes import Stored
from outrider.model.flow import Envelope, Notify, Origin, Recipient, Submission
from outrider.wire.headers import address_field, text_field
from outrider.wire.smtp.content import stuff_plain

_WANTED = {
    DsnKind.FAILED: Notify.FAILURE,
    DsnKind.DELAYED: Notify.DELAY,
    DsnKind.RELAYED: Notify.SUCCESS,
}

LISTENER = "internal"
# Name of the listener in the origin of what we write ourselves.


def is_due(kind: DsnKind, mail_from: Address | None, notify: int, options: DsnOptions) -> bool:
    """True when the sender is to be told of `kind` for a recipient with this NOTIFY (RFC 3461 §4.1)."""
    if mail_from is None or not options.enabled:
        return False
    if notify == Notify.UNSPECIFIED:
        return kind is DsnKind.FAILED or (kind is DsnKind.DELAYED and options.delay_notices)
    return bool(notify & _WANTED[kind]) and not notify & Notify.NEVER


def build_dsn(
    kind: DsnKind,
    stored: Stored,
    reports: Sequence[RecipientReport],
    original: bytes,
    options: DsnOptions,
    *,
    message_id: MessageId,
    now_time: float,
    hostname: str,
) -> Submission | None:
    """The report on `reports`, as a submission to commit with the change that causes it.

    Args:
        kind: One kind for one report.
        stored: The message.
        reports: Recipients with equal `kind` in one attempt; those that are not due are left out.
        original: Content of the message in wire form.
        options: Templates and bounds.
        message_id: Id of the report.
        now_time: Unix seconds.
        hostname: Our host name: Reporting-MTA, and the domain of the report's From and Message-ID.

    Returns:
        None when the sender wants no report, or there is no sender.
    """
    sender = stored.mail_from
    if sender is None:
        return None
    due = [report for report in reports if is_due(kind, sender, report.recipient.notify, options)]
    if not due:
        return None
    utf8 = sender.needs_smtputf8
    content = stored.content(original)
    whole = kind is DsnKind.FAILED and (
        stored.ret == "FULL" or (stored.ret is None and options.return_content)
    )
    template: DsnTemplate = getattr(options, kind.value)
    values = _placeholders(stored, due, hostname)
    parts = (
        text_part(template.intro.format_map(values), stored.message_id, kind, due, options),
        status_part(stored, kind, due, hostname, utf8=utf8),
        returned_part(content, whole=whole, options=options),
    )
    boundary = _boundary(message_id, parts)
    local_part, _, domain = (options.from_address or f"mailer-daemon@{hostname}").rpartition("@")
    author = Address(local_part, domain)
    fields = (
        address_field("From", [(author, options.from_name.format_map(values), "from_name")]),
        f"To: {format_path(sender)}\r\n".encode(),
        text_field("Subject", template.subject.format_map(values), "subject"),
        f"Date: {format_date(now_time)}\r\n".encode(),
        f"Message-ID: <{message_id}@{hostname}>\r\n".encode(),
        b"Auto-Submitted: auto-replied\r\n",
        b"MIME-Version: 1.0\r\n",
        b'Content-Type: multipart/report; report-type=delivery-status;\r\n boundary="%b"\r\n' % boundary,
        b"" if all(map(bytes.isascii, parts)) else b"Content-Transfer-Encoding: 8bit\r\n",
    )
    plain = b"%b\r\n--%b\r\n%b\r\n--%b--\r\n" % (
        b"".join(fields),
        boundary,
        (b"\r\n--" + boundary + b"\r\n").join(parts),
        boundary,
    )
    return Submission(
        message_id,
        now_time,
        Origin(LISTENER, "internal", "", hostname, None, None, stored.origin.tenant, stored.origin.stream),
        Envelope(None, (Recipient(sender, Notify.NEVER),), smtputf8=utf8),
        stuff_plain(plain),
    )


def _placeholders(stored: Stored, reports: Sequence[RecipientReport], hostname: str) -> dict[str, str]:
    until = max(report.retry_until_time for report in reports)
    return {
        "hostname": hostname,
        "message_id": stored.message_id,
        "arrival": format_date(stored.received_time),
        "retry_until": format_date(until) if until else "-",
    }


def _boundary(message_id: str, parts: Sequence[bytes]) -> bytes:
    """A boundary that no part holds (RFC 2046 §5.1.1); from the id, so that a report can be repeated."""
    number = 0
    while True:
        boundary = f"=_outrider_{message_id}_{number}".encode("ascii")
        if not any(boundary in part for part in parts):
            return boundary
        number += 1
