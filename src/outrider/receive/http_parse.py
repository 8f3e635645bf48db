"""A JSON request as an envelope and a draft, checked as far as its form goes.

In: a body from anybody. Out: a `Parsed`, or a `Problem` that names every fault at once.

Theory: an address is parsed by the grammar of the envelope and never looked for inside other text, so `From`
and MAIL FROM, `To` and RCPT TO are the same by construction; a name is shown beside it and never parsed.

Standards: RFC 8259 §8.1 (UTF-8), RFC 6901 §3 (pointers).
"""

import re
from binascii import a2b_base64
from difflib import get_close_matches
from typing import Final

import msgspec

from outrider.base.errors import AddressError
from outrider.base.long_octets import LONG_OCTETS
from outrider.model.address import Address
from outrider.model.flow import Recipient
from outrider.model.mailbox import parse_mailbox
from outrider.receive.http_models import AttachmentRequest, MessageRequest, NamedAddress, PersonalRecipient
from outrider.receive.http_repeated import repeated
from outrider.receive.problems import Fault, Problem, pointer_of
from outrider.wire.headers import FORBIDDEN, FieldError
from outrider.wire.mime import Draft, Mailbox
from outrider.wire.mime_parts import Attachment, Part, format_part

FAULTS_MAX: Final = 50
"""Chosen: a client mends one kind of fault at a time; bounds the answer."""

_REQUEST: Final = msgspec.json.Decoder(MessageRequest)
_PLACE: Final = re.compile(r" - at `(?:key` in `)?\$([^`]*)`$")
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.{0,64})", re.DOTALL)
"""How msgspec names a field that there is not; of a longer name the beginning is enough."""
_MISSING: Final = re.compile(r"Object missing required field `([^`]*)`")
"""How it names one that has to be there; the names are ours."""
_INNER: Final[dict[str, type[msgspec.Struct]]] = {
    "attachments": AttachmentRequest,
    "recipients": PersonalRecipient,
}
"""What stands in a list of a message; in others stand addresses."""
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}", re.ASCII)
_NOT_A_NAME: Final = "is not a name of letters, digits, `_`, `.`, `-`"

Pairs = tuple[tuple[str, str], ...]


class Personal(msgspec.Struct, frozen=True):
    """One recipient of a personalised request."""

    mailbox: Mailbox
    variables: dict[str, str]
    metadata: Pairs


class Parsed(msgspec.Struct, frozen=True):
    """A request that is right as far as its form goes.

    Attributes:
        mail_from: Sender of the envelope.
        recipients: Of the one message; empty when `personal` is not.
        personal: Recipients who get a message each.
        draft: What the messages are made of; texts hold placeholders when `variables` is not None.
        variables: For all recipients; None means that texts are taken literally.
        stream: The stream that was asked for.
        send_at_time: Unix seconds, 0 is at once.
        key: The line's own idempotency key.
    """

    mail_from: Address
    recipients: tuple[Recipient, ...]
    personal: tuple[Personal, ...]
    draft: Draft
    variables: dict[str, str] | None
    stream: str | None
    send_at_time: float
    key: str | None

    @property
    def recipient_count(self) -> int:
        """How many recipients there are."""
        return len(self.recipients) + len(self.personal)

    @property
    def first_recipient(self) -> Address:
        """One of them, for the record of a refusal."""
        return self.recipients[0].address if self.recipients else self.personal[0].mailbox.address


def parse_request(body: bytes | bytearray, attachments_max: int) -> Parsed:
    """The draft and envelope of a JSON body.

    Raises:
        Problem: It is not JSON, or not a message; `errors` names every fault.
    """
    request = _decode(body)
    faults = [Fault(pointer, "stands more than once") for pointer in repeated(body, FAULTS_MAX)]
    author = _mailbox(request.author, ("from",), faults)
    to = _mailboxes(request.to, "to", faults) if request.to else ()
    cc = _mailboxes(request.cc, "cc", faults) if request.cc else ()
    bcc = _mailboxes(request.bcc, "bcc", faults) if request.bcc else ()
    reply_to = _mailboxes(request.reply_to, "reply_to", faults) if request.reply_to else ()
    metadata = _metadata(request.metadata, ("metadata",), faults) if request.metadata else ()
    variables = None if request.variables is None else _variables(request.variables, ("variables",), faults)
    personal: tuple[Personal, ...] = ()
    if request.recipients:
        variables = variables or {}
        personal = _personal(request.recipients, metadata, faults)
    _check_whole(request, attachments_max, faults)
    parts = _parts(request.attachments[:attachments_max], faults) if request.attachments else ()
    if faults or author is None:
        raise Problem("invalid", errors=tuple(faults[:FAULTS_MAX]))
    headers: list[tuple[str, str]] = []
    for name, value in request.headers.items():
        headers += [(name, value)] if isinstance(value, str) else [(name, each) for each in value]
    draft = Draft(
        author, to, cc, reply_to, request.subject, request.text, request.html, tuple(headers), parts
    )
    addresses = dict.fromkeys([box.address for box in (*to, *cc, *bcc)])
    return Parsed(
        author.address,
        tuple([Recipient(address, metadata=metadata) for address in addresses]),
        personal,
        draft,
        variables,
        request.stream,
        0.0 if request.send_at is None else request.send_at.timestamp(),
        request.idempotency_key,
    )


def _check_whole(request: MessageRequest, attachments_max: int, faults: list[Fault]) -> None:
    """What concerns more than one field."""
    to_all = bool(request.to or request.cc or request.bcc)
    if request.recipients and to_all:
        faults.append(Fault("/recipients", "stands instead of to, cc and bcc, not beside them"))
    if not (request.recipients or to_all):
        faults.append(Fault("/to", "at least one recipient is needed"))
    if request.text is None and request.html is None:
        faults.append(Fault("/text", "a text or html is needed"))
    if len(request.attachments) > attachments_max:
        faults.append(Fault("/attachments", f"more than {attachments_max} attachments"))


def _decode(body: bytes | bytearray) -> MessageRequest:
    try:
        request: MessageRequest = _REQUEST.decode(body)
    except msgspec.ValidationError as error:
        text = str(error)
        place = _PLACE.search(text)
        steps = [] if place is None else [a or b for a, b in _STEP.findall(place.group(1))]
        missing = _MISSING.match(text)
        if missing is not None:
            raise Problem(
                "invalid", errors=(Fault(pointer_of(*steps, missing.group(1)), "is needed"),)
            ) from error
        unknown = _UNKNOWN.match(_PLACE.sub("", text).removesuffix("`"))
        if unknown is not None:
            raise Problem("invalid", errors=(_unknown_field(steps, unknown.group(1)),)) from error
        raise Problem("invalid", errors=(Fault(pointer_of(*steps), _PLACE.sub("", text)),)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem("bad_json", str(error)) from error
    return request


def _unknown_field(steps: list[str], name: str) -> Fault:
    """What is told of a field that there is not: where it stands, and what was probably meant."""
    model = _INNER.get(steps[0], NamedAddress) if steps else MessageRequest
    close = get_close_matches(name, [field.encode_name for field in msgspec.structs.fields(model)], n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return Fault(pointer_of(*steps, name), f"is not a field{hint}")


def _mailboxes(given: list[str | NamedAddress], key: str, faults: list[Fault]) -> tuple[Mailbox, ...]:
    found = [_mailbox(each, (key, number), faults) for number, each in enumerate(given)]
    return tuple([mailbox for mailbox in found if mailbox is not None])


def _mailbox(given: str | NamedAddress, place: tuple[str | int, ...], faults: list[Fault]) -> Mailbox | None:
    text, name = (given, "") if isinstance(given, str) else (given.address, given.name)
    try:
        return Mailbox(parse_mailbox(text, smtputf8=True), name)
    except AddressError as error:
        faults.append(Fault(pointer_of(*place), error.message))
        return None


def _personal(given: list[PersonalRecipient], common: Pairs, faults: list[Fault]) -> tuple[Personal, ...]:
    found = []
    for number, each in enumerate(given):
        place: tuple[str | int, ...] = ("recipients", number)
        try:
            mailbox = Mailbox(parse_mailbox(each.address, smtputf8=True), each.name)
        except AddressError as error:
            faults.append(Fault(pointer_of(*place, "address"), error.message))
            continue
        variables = _variables(each.variables, (*place, "variables"), faults) if each.variables else {}
        metadata = common
        if each.metadata:
            own = _metadata(each.metadata, (*place, "metadata"), faults)
            metadata = tuple({**dict(common), **dict(own)}.items())
        found.append(Personal(mailbox, variables, metadata))
    return tuple(found)


def _variables(
    given: dict[str, str | int], place: tuple[str | int, ...], faults: list[Fault]
) -> dict[str, str]:
    # the model's pattern is not enough: Python's `$` lets a line feed pass
    faults += [Fault(pointer_of(*place, name), _NOT_A_NAME) for name in given if not _NAME.fullmatch(name)]
    return {name: value if isinstance(value, str) else str(value) for name, value in given.items()}


def _metadata(given: dict[str, str], place: tuple[str | int, ...], faults: list[Fault]) -> Pairs:
    for name, text in given.items():
        if not _NAME.fullmatch(name):
            faults.append(Fault(pointer_of(*place, name), _NOT_A_NAME))
        found = FORBIDDEN.search(text)
        if found is not None:
            what = f"holds U+{ord(found.group()):04X}, which is no text"
            faults.append(Fault(pointer_of(*place, name), what))
    return tuple(given.items())


def _octets(text: str, field: str) -> bytes:
    """What base64 stands for, a piece at a time.

    Raises:
        FieldError: It is no base64 (RFC 4648 §4).
    """
    last = max(len(text) - 1, 0) // LONG_OCTETS * LONG_OCTETS
    is_padded_right = len(text) % 4 == 0 and not text.endswith("===") and text.find("=", 0, last) < 0
    try:
        pieces = [
            a2b_base64(text[at : at + LONG_OCTETS], strict_mode=True)
            for at in range(0, len(text), LONG_OCTETS)
        ]
    except ValueError:  # what binascii raises is one
        pieces = None
    if pieces is None or not is_padded_right:
        raise FieldError(field, "is not base64 without line ends (RFC 4648 §4)")
    return b"".join(pieces)


def _parts(given: list[AttachmentRequest], faults: list[Fault]) -> tuple[Part, ...]:
    parts = []
    seen: set[str] = set()
    for number, each in enumerate(given):
        field = f"attachments/{number}"
        try:
            attachment = Attachment(
                _octets(each.content, f"{field}/content"), each.content_type, each.filename, each.content_id
            )
            parts.append(format_part(attachment, field))
        except FieldError as error:
            faults.append(Fault("/" + error.field, error.reason))
        if each.content_id and each.content_id in seen:
            faults.append(Fault(f"/{field}/content_id", "stands twice"))
        seen.add(each.content_id)
    return tuple(parts)
