"""One message out of its parts: addresses, subject, text, HTML, attachments and further header fields.

In: a `Draft`, and what only the caller can make: message id, date and boundary. Out: the message in octets,
CRLF line ends, dots not stuffed, every line within RFC 5322's limit, or a `FieldError` that names the
argument at fault. Parts other than text come ready from `mime_parts`. The structure is
mixed(alternative(text, related(html, inline parts)), attachments), without the levels that nothing asks for.

Theory: whoever fills in a draft may be an application that passes on what its own users typed. So every
argument is checked here, where it is written, and the structure does not depend on luck: a part whose text
holds the boundary is encoded in a way that cannot hold it.

Invariant: a reader finds exactly the fields and bodies of the draft and none besides; text may only have its
line ends changed to CRLF and one added at its end.

Standards: RFC 5322 §3.6 (fields), RFC 2045 §6 (encodings), RFC 2046 §5.1 (multipart), RFC 2046 §5.1.4
(alternative).
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Generic, NamedTuple, TypeVar

import msgspec

from outrider.base.long_octets import LONG_OCTETS, find, line_slices
from outrider.model.address import Address
from outrider.wire.headers import LINE_OCTETS, FieldError, address_field, check_name, phrase_field, text_field
from outrider.wire.mime_parts import Part, format_base64, format_quoted

Argument = TypeVar("Argument")
Made = TypeVar("Made")

RESERVED: Final = frozenset(
    (
        *("from", "sender", "to", "cc", "bcc", "reply-to", "subject", "date", "message-id"),
        *(
            "mime-version",
            "return-path",
            "received",
            "delivered-to",
            "dkim-signature",
            "authentication-results",
        ),
        *("arc-seal", "arc-message-signature", "arc-authentication-results", "x-outrider-stream"),
        "x-outrider-context",
    )
)
"""Fields that arguments of their own or the server write; chosen, so that nobody has two of them."""

RESERVED_PREFIXES: Final = ("content-", "resent-", "arc-")
"""Families of fields that describe the body (RFC 2045 §9) or tell where it was (RFC 5322 §3.6.6)."""

SINGLE: Final = frozenset(("in-reply-to", "references", "comments-to", "list-id", "auto-submitted"))
"""Fields that may stand once (RFC 5322 §3.6, RFC 2919 §3, RFC 3834 §5)."""

UNENCODED: Final = frozenset(("in-reply-to", "references", "list-unsubscribe", "list-unsubscribe-post"))
"""Fields of ids and URLs, which readers do not find in encoded words (RFC 2047 §5)."""

PHRASED: Final = frozenset(("list-id", "disposition-notification-to", "errors-to", "return-receipt-to"))
"""Fields of a phrase and something in angle brackets (RFC 2919 §3, RFC 8098 §2.1); only that is encoded."""

_START: Final = "="
_BOUNDARY: Final = re.compile(r"=_[0-9A-Za-z_.-]{1,60}")
# `=_` is in no encoded text (RFC 2045 §6.7); 70 characters at most (RFC 2046 §5.1.1)

_MESSAGE_ID: Final = re.compile(r"[A-Za-z0-9._-]+@[A-Za-z0-9._-]+|[A-Za-z0-9._-]+@\[[A-Za-z0-9.:-]+\]")
_LINE_END: Final = re.compile(r"\r\n|\r|\n")
_CRLF: Final = b"\r\n"
_EIGHT_BIT: Final = b"Content-Transfer-Encoding: 8bit\r\n\r\n"


class Mailbox(msgspec.Struct, frozen=True):
    """An address with the name to show."""

    address: Address
    name: str = ""


class Draft(msgspec.Struct, frozen=True):
    """What a message is made of.

    Attributes:
        author: From.
        to: To; may be empty.
        cc: Cc.
        reply_to: Reply-To.
        subject: Subject; None leaves the field out.
        text: Plain text, or None.
        html: HTML, or None.
        headers: Further fields in order: name and text.
        parts: Attachments, and inline parts, which need an HTML.
    """

    author: Mailbox
    to: tuple[Mailbox, ...] = ()
    cc: tuple[Mailbox, ...] = ()
    reply_to: tuple[Mailbox, ...] = ()
    subject: str | None = None
    text: str | None = None
    html: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    parts: tuple[Part, ...] = ()


class _Memo(Generic[Argument, Made]):
    """The last argument of a function, and what came of it."""

    __slots__ = ("_argument", "_made", "_make")

    def __init__(self, make: Callable[[Argument], Made]) -> None:
        self._make = make
        self._made: Made | None = None
        self._argument: Argument | None = None

    def of(self, argument: Argument) -> Made:
        made = self._made
        if made is None or argument != self._argument:
            made = self._make(argument)
            self._made, self._argument = made, argument
        return made


class _Quoter:
    """Texts in quoted-printable (RFC 2045 §6.7), which encodes each line by itself.

    From the second text on, lines that stood in the one before are not encoded again: with the name of a
    reader put in, all others are the same.
    """

    __slots__ = ("_known", "_was_used")

    def __init__(self) -> None:
        self._known: dict[bytes, bytes] = {}
        self._was_used = False

    def quote(self, octets: bytes) -> bytes:
        """`octets`, which end in CRLF, encoded."""
        if not self._was_used:  # perhaps it is the only one
            self._was_used = True
            return format_quoted(octets)
        known = self._known
        found: dict[bytes, bytes] = {}
        lines: list[bytes] = []
        for line in octets.split(_CRLF):
            encoded = known.get(line)
            if encoded is None:
                encoded = format_quoted(line + _CRLF)
            found[line] = encoded
            lines.append(encoded)
        lines.pop()  # behind the last CRLF there is no line
        self._known = found
        return b"".join(lines)


class _Prose(NamedTuple):
    """A part of text and the boundaries that it must not hold."""

    text: str
    avoided: tuple[str, ...]


class MessageWriter:
    """Writes messages one after the other.

    What is equal to what stood in the message before is taken from there: of a request with a message for
    each recipient only what differs is written each time. Not for two threads at once.

    Args:
        eight_bit: Text beyond ASCII may go out as 8bit (RFC 6152 §2); else it is encoded.
    """

    __slots__ = (
        "_author",
        "_boundaries",
        "_cc",
        "_date",
        "_further",
        "_html",
        "_plain",
        "_reply_to",
        "_subject",
    )

    def __init__(self, *, eight_bit: bool = False) -> None:
        self._date = _Memo(partial(_text, "Date", "date"))
        self._author = _Memo(_author_field)
        self._cc = _Memo(partial(_list_field, "Cc", "cc"))
        self._reply_to = _Memo(partial(_list_field, "Reply-To", "reply_to"))
        self._subject = _Memo(partial(_text, "Subject", "subject"))
        self._further = _Memo(_further)
        self._boundaries = _Memo(_boundaries)
        self._plain = _Memo(partial(_part, b"plain", "text", eight_bit, _Quoter().quote))
        self._html = _Memo(partial(_part, b"html", "html", eight_bit, _Quoter().quote))

    def write(self, draft: Draft, *, message_id: str, date: str, boundary: str) -> bytes:
        """The message.

        Args:
            draft: Its parts.
            message_id: `left@right`, without angle brackets.
            date: Value of the Date field (RFC 5322 §3.3).
            boundary: Begins with `=_`; not to be guessed by who wrote the text.

        Raises:
            FieldError: An argument cannot be written; its `field` is the path in the draft.
        """
        if not _MESSAGE_ID.fullmatch(message_id):
            raise FieldError("message_id", "is not of the form left@right")
        boundaries = self._boundaries.of(boundary)
        fields = [self._date.of(date), self._author.of(draft.author)]
        if draft.to:
            fields.append(_list_field("To", "to", draft.to))
        if draft.cc:
            fields.append(self._cc.of(draft.cc))
        if draft.reply_to:
            fields.append(self._reply_to.of(draft.reply_to))
        if draft.subject is not None:
            fields.append(self._subject.of(draft.subject))
        fields.append(b"Message-ID: <%s>\r\n" % message_id.encode("ascii"))
        if draft.headers:
            fields.append(self._further.of(draft.headers))
        fields.append(b"MIME-Version: 1.0\r\n")
        fields += self._body(draft, boundaries)
        return b"".join(fields)

    def _body(self, draft: Draft, boundaries: tuple[str, str, str]) -> Sequence[bytes]:
        """Fields that describe the body, the empty line, and the body."""
        if not draft.parts and draft.html is None:  # the usual: text alone
            return self._plain.of(_Prose(draft.text or "", ()))
        inline = [(part.octets,) for part in draft.parts if part.is_inline]
        attached = [(part.octets,) for part in draft.parts if not part.is_inline]
        if inline and draft.html is None:
            raise FieldError(
                "attachments", "has an inline part (content_id), but there is no html to show it"
            )
        avoided = boundaries if _is_multipart(draft) else ()
        body: Sequence[bytes] = ()
        if draft.html is not None:
            body = self._html.of(_Prose(draft.html, avoided))
            if inline:
                body = _multipart(b'related; type="text/html"', boundaries[1], [body, *inline])
        if draft.text is not None or draft.html is None:
            plain = self._plain.of(_Prose(draft.text or "", avoided))
            body = _multipart(b"alternative", boundaries[0], [plain, body]) if body else plain
        return _multipart(b"mixed", boundaries[2], [body, *attached]) if attached else body


def _text(name: str, field: str, text: str) -> bytes:
    return text_field(name, text, field)


def _author_field(author: Mailbox) -> bytes:
    return address_field("From", [(author.address, author.name, "from/name")])


def _list_field(name: str, key: str, mailboxes: tuple[Mailbox, ...]) -> bytes:
    return address_field(
        name, [(box.address, box.name, f"{key}/{number}/name") for number, box in enumerate(mailboxes)]
    )


def _boundaries(boundary: str) -> tuple[str, str, str]:
    """Those of alternative, related and mixed.

    The second character differs, so none of them begins another one (RFC 2046 §5.1.2), and none is in any
    encoded text.
    """
    if not _BOUNDARY.fullmatch(boundary):
        raise FieldError("boundary", "is not of the form =_ and 1 to 60 letters, digits, `_`, `.` or `-`")
    own = boundary.removeprefix(_START)
    return boundary, f"=r{own}", f"=m{own}"


def _further(headers: tuple[tuple[str, str], ...]) -> bytes:
    fields = []
    seen: set[str] = set()
    for name, text in headers:
        field = "headers/" + name.replace("~", "~0").replace("/", "~1")
        check_name(name, field)
        lowered = name.lower()
        if lowered in RESERVED or lowered.startswith(RESERVED_PREFIXES):
            raise FieldError(field, "is written by the server or has an argument of its own")
        if lowered in SINGLE and lowered in seen:
            raise FieldError(field, "may stand only once")
        seen.add(lowered)
        made = (phrase_field if lowered in PHRASED else text_field)(name, text, field)
        if lowered in UNENCODED and b"=?utf-8?" in made:
            raise FieldError(
                field, "holds ids or URLs, which are ASCII and have at most 900 characters without a space"
            )
        fields.append(made)
    return b"".join(fields)


def _is_multipart(draft: Draft) -> bool:
    return bool(draft.parts) or (draft.text is not None and draft.html is not None)


def _multipart(subtype: bytes, boundary: str, parts: list[Sequence[bytes]]) -> list[bytes]:
    """A multipart with its fields, the empty line, and its parts, each of which ends in CRLF.

    It is of 8bit where a part is (RFC 2045 §6.4), which the fields of a part say last.
    """
    octets = boundary.encode("ascii")
    is_eight_bit = any(part[0].endswith(_EIGHT_BIT) for part in parts)
    end = _EIGHT_BIT if is_eight_bit else b"\r\n"
    body = [b'Content-Type: multipart/%s;\r\n boundary="%s"\r\n%s' % (subtype, octets, end)]
    for part in parts:
        body += (b"--%s\r\n" % octets, *part, b"\r\n")
    body.append(b"--%s--\r\n" % octets)
    return body


def _part(
    subtype: bytes, field: str, eight_bit: bool, quote: Callable[[bytes], bytes], prose: _Prose
) -> Sequence[bytes]:
    """A part of text: its fields, the empty line, and its content ending in CRLF."""
    text, boundaries = prose
    if "\0" in text:
        raise FieldError(field, "holds a NUL, which no message may hold")
    try:
        octets = _octets(text)
    except UnicodeEncodeError as error:
        raise FieldError(field, "holds half of a surrogate pair, which is not a character") from error
    is_ascii = octets.isascii()
    charset = b"us-ascii" if is_ascii else b"utf-8"
    holds_boundary = any(find(octets, each.encode("ascii"), 0) >= 0 for each in boundaries)
    if (is_ascii or eight_bit) and _lines_fit(octets) and not holds_boundary:
        encoding = b"7bit" if is_ascii else b"8bit"
    else:
        encoding, octets = _encode(octets, quote)
    return [
        b"Content-Type: text/%s; charset=%s\r\nContent-Transfer-Encoding: %s\r\n\r\n"
        % (subtype, charset, encoding),
        octets,
    ]


def _octets(text: str) -> bytes:
    """`text` in UTF-8 with CRLF as its line ends, also at its end; a piece at a time where it is long."""
    if len(text) <= LONG_OCTETS:
        octets = _with_crlf(text).encode()
        return octets if not octets or octets[-2:] == _CRLF else octets + _CRLF
    pieces: list[bytes] = []
    at = 0
    while at < len(text):
        end = at + LONG_OCTETS
        while text[end - 1 : end] == "\r":  # perhaps with an LF behind it
            end += 1
        pieces.append(_with_crlf(text[at:end]).encode())
        at = end
    if pieces[-1][-2:] != _CRLF:
        pieces.append(_CRLF)
    return b"".join(pieces)


def _with_crlf(text: str) -> str:
    if "\r" in text:
        return _LINE_END.sub("\r\n", text)
    return text.replace("\n", "\r\n")


def _lines_fit(octets: bytes) -> bool:
    return len(octets) <= LINE_OCTETS or all(
        max(map(len, piece.split(_CRLF))) <= LINE_OCTETS for piece in line_slices(octets)
    )


def _encode(octets: bytes, quote: Callable[[bytes], bytes]) -> tuple[bytes, bytes]:
    """The shorter one of quoted-printable, by `quote`, and base64; `octets` end in CRLF."""
    quoted = quote(octets) if len(octets) <= LONG_OCTETS else _quote_long(octets)
    if len(quoted) <= len(octets) * 4 // 3:
        return b"quoted-printable", quoted
    return b"base64", format_base64(octets)


def _quote_long(octets: bytes) -> bytes:
    """As `format_quoted`, a piece at a time; a line that is itself long is cut by a soft line end."""
    pieces: list[bytes] = []
    for lines in line_slices(octets):
        start = 0
        if len(lines) > 2 * LONG_OCTETS:  # its last line is long
            start = lines.rfind(_CRLF, 0, LONG_OCTETS + 1) + len(_CRLF)
            start = 0 if start < len(_CRLF) else start
            pieces.append(format_quoted(lines[:start]))
            while len(lines) - start > 2 * LONG_OCTETS:
                # what stands behind it makes room for the soft line end, and makes soft line ends CRLF
                piece = format_quoted(lines[start : start + LONG_OCTETS] + b"x\r\n")
                pieces += (piece[:-3], b"=", _CRLF)
                start += LONG_OCTETS
        pieces.append(format_quoted(lines[start:]))
    return b"".join(pieces)
