"""What HTTP clients send and get, as JSON: the request of an injection and the answers.

`parse_request` turns a body into a `Draft` and an envelope, or raises a `Problem` that names every fault at
once.

Theory: an address is parsed by the grammar of the envelope and never looked for inside other text, so `From`
and MAIL FROM, `To` and RCPT TO are the same by construction; a name is shown beside it and never parsed.

Standards: RFC 8259 §8.1 (UTF-8), RFC 6901 §3 (pointers).
"""

import re
from typing import Final, Protocol

import msgspec

from outrider.base.errors import AddressError
from outrider.model.address import Address
from outrider.model.mailbox import parse_mailbox
from outrider.receive.problems import Fault, Problem, pointer_of
from outrider.wire.mime import Draft, Mailbox


class NamedAddress(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An address with the name to show beside it."""

    address: str
    name: str = ""


class MessageRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /v1/messages` as application/json.

    Attributes:
        author: From, and the envelope's sender. In JSON: `from`.
        to: To; each is a recipient.
        cc: Cc; each is a recipient.
        bcc: Recipients that the message does not show.
        reply_to: Reply-To.
        subject: Subject.
        text: Plain text.
        html: HTML. With `text` too, readers choose (multipart/alternative).
        headers: Further header fields: name and text, or several texts.
    """

    author: str | NamedAddress = msgspec.field(name="from")
    to: list[str | NamedAddress] = []
    cc: list[str | NamedAddress] = []
    bcc: list[str | NamedAddress] = []
    reply_to: list[str | NamedAddress] = []
    subject: str | None = None
    text: str | None = None
    html: str | None = None
    headers: dict[str, str | list[str]] = {}


class Accepted(msgspec.Struct, frozen=True):
    """Answer 202: the message is ours now.

    Attributes:
        id: Its id.
        recipients: How many recipients it has.
        durability: How surely it is stored.
    """

    id: str
    recipients: int
    durability: str = "durable"


class RecipientState(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where one recipient of a message stands.

    Attributes:
        recipient: Its address, as far as the redaction profile shows it.
        state: `queued`, `held`, `delivered`, `bounced`, `expired`, `purged` or `discarded`.
        tenant: Whose message it is; not shown.
        domain: Recipient's domain.
        attempts: Attempts made.
        updated_time: Of the last event, RFC 3339.
        due_time: Of the next attempt, RFC 3339.
        reply: Last reply of the receiver, or our own.
        bounce_class: Class of the last failure.
    """

    recipient: str
    state: str
    tenant: str
    domain: str = ""
    attempts: int = 0
    updated_time: str = ""
    due_time: str = ""
    reply: str = ""
    bounce_class: str = ""


class StateLookup(Protocol):
    """Knows what became of messages."""

    async def lookup(self, message_id: str) -> list[RecipientState] | None:
        """The state of each recipient of a message, None when nothing is known of it."""
        ...


_REQUEST: Final = msgspec.json.Decoder(MessageRequest)
_PLACE: Final = re.compile(r" - at `\$([^`]*)`$")
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")


class Parsed(msgspec.Struct, frozen=True):
    """A request that is right as far as its form goes."""

    mail_from: Address
    recipients: tuple[Address, ...]
    draft: Draft


def parse_request(body: bytes | bytearray) -> Parsed:
    """The draft and envelope of a JSON body.

    Raises:
        Problem: It is not JSON, or not a message; `errors` names every fault.
    """
    request = _decode(body)
    faults: list[Fault] = []
    author = _mailbox(request.author, ("from",), faults)
    to = _mailboxes(request.to, "to", faults)
    cc = _mailboxes(request.cc, "cc", faults)
    bcc = _mailboxes(request.bcc, "bcc", faults)
    reply_to = _mailboxes(request.reply_to, "reply_to", faults)
    if not (request.to or request.cc or request.bcc):
        faults.append(Fault("/to", "at least one recipient is needed"))
    if request.text is None and request.html is None:
        faults.append(Fault("/text", "a text or html is needed"))
    if faults or author is None:
        raise Problem("invalid", errors=tuple(faults))
    headers: list[tuple[str, str]] = []
    for name, value in request.headers.items():
        headers += [(name, value)] if isinstance(value, str) else [(name, each) for each in value]
    recipients = tuple(dict.fromkeys(box.address for box in (*to, *cc, *bcc)))
    draft = Draft(author, to, cc, reply_to, request.subject, request.text, request.html, tuple(headers))
    return Parsed(author.address, recipients, draft)


def _decode(body: bytes | bytearray) -> MessageRequest:
    try:
        request: MessageRequest = _REQUEST.decode(body)
    except msgspec.ValidationError as error:
        text = str(error)
        place = _PLACE.search(text)
        pointer = "" if place is None else pointer_of(*(a or b for a, b in _STEP.findall(place.group(1))))
        raise Problem("invalid", errors=(Fault(pointer, _PLACE.sub("", text)),)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem("bad_json", str(error)) from error
    return request


def _mailboxes(given: list[str | NamedAddress], key: str, faults: list[Fault]) -> tuple[Mailbox, ...]:
    found = (_mailbox(each, (key, number), faults) for number, each in enumerate(given))
    return tuple(mailbox for mailbox in found if mailbox is not None)


def _mailbox(given: str | NamedAddress, place: tuple[str | int, ...], faults: list[Fault]) -> Mailbox | None:
    text, name = (given, "") if isinstance(given, str) else (given.address, given.name)
    try:
        return Mailbox(parse_mailbox(text, smtputf8=True), name)
    except AddressError as error:
        faults.append(Fault(pointer_of(*place), error.message))
        return None
