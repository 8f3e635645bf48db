"""Header fields, written so that nothing can be smuggled into them.

In: field names and texts from anybody. Out: whole fields in octets, folded, each ended by CRLF, or a
`FieldError` that names the argument at fault.

Theory: a reader sees exactly the text that the author gave. Plain ASCII goes out as it is, folded before
spaces; what a reader could take for something else (characters beyond ASCII, an encoded word written by the
author, spaces at the ends, words too long for a line) goes into encoded words, cut between characters.

Invariant: a field holds no CR or LF but its folds, each followed by a space and then something visible; no
line is over 998 octets; decoding gives the text back, or there was an error.

Standards: RFC 5322 §2.2 (fields), RFC 5322 §2.2.3 (folding), RFC 5322 §3.2.3 (atoms), RFC 2047 §2 (encoded
words), RFC 2047 §5 (where), RFC 6532 §3.2 (UTF-8 in addresses).
"""

import re
from binascii import b2a_base64
from typing import Final

from outrider.base.errors import LocalProtocolError
from outrider.model.address import Address

FOLD_OCTETS: Final = 78
"""RFC 5322 §2.1.1: lines should have at most so many octets without CRLF."""

LINE_OCTETS: Final = 998
"""RFC 5322 §2.1.1: lines must have at most so many octets without CRLF."""

NAME_OCTETS: Final = 76
"""Chosen, because the name, its colon and a space then always fit in `FOLD_OCTETS`."""

VALUE_CHARACTERS: Final = 65_536
"""Chosen, because no reader shows more; bounds the work per field."""

ENCODED_WORD_OCTETS: Final = 75
"""RFC 2047 §2."""

ENCODED_LINE_OCTETS: Final = 76
"""RFC 2047 §2: a line that holds an encoded word has at most so many."""

FORBIDDEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""What no text of a field holds: control characters, line and paragraph separators, halves of characters."""

begins_field: Final = re.compile(rb"[!-9;-~]+[ \t]*:").match
"""Matches where a field begins: RFC 5322 §2.2, with the white space that RFC 5322 §4.5.8 still reads."""

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]+")
# Chosen narrower than ftext of RFC 5322 §2.2, because no field in use needs more and some readers choke on it
_WORDS: Final = re.compile(r" *[^ ]+")
_ATOMS: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_PHRASED: Final = re.compile(r'(?:"([^"<>\\]*)"|([^"<>]*[^"<> ])) *(<[!-;=?-~]{1,900}>)').fullmatch
_Q_LITERAL: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")
# RFC 2047 §5 (3): what may stand unencoded everywhere, also in a phrase

_WORD_START: Final = b"=?utf-8?"
_FRAME_OCTETS: Final = len("=?utf-8?b??=")
_FIRST_OCTETS_MIN: Final = _FRAME_OCTETS + 12
# a character of four octets in quoted-printable


class FieldError(LocalProtocolError):
    """An argument cannot be written into a message.

    Attributes:
        field: Which one, as a pointer (RFC 6901 §3) without its first slash: `subject`, `to/0/name`,
            `headers/X-Campaign`.
        reason: What is wrong with it.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}", field=field)
        self.field = field
        self.reason = message


def check_text(text: str, field: str) -> str:
    """`text`, fit for a header field.

    Raises:
        FieldError: It holds a control character, a line or paragraph separator or half a character, or it is
            too long.
    """
    if len(text) > VALUE_CHARACTERS:
        raise FieldError(field, f"is longer than {VALUE_CHARACTERS} characters")
    if text.isascii() and text.isprintable():
        return text
    found = FORBIDDEN.search(text)
    if found is not None:
        raise FieldError(field, f"holds U+{ord(found.group()):04X}, which no header field may hold")
    return text


def check_name(name: str, field: str) -> str:
    """`name`, fit to be the name of a header field.

    Raises:
        FieldError: It is not.
    """
    if not _NAME.fullmatch(name):
        raise FieldError(field, "is not a field name of letters, digits, `-`, `_` and `.`")
    if len(name) > NAME_OCTETS:
        raise FieldError(field, f"is a field name of more than {NAME_OCTETS} characters")
    return name


def text_field(name: str, text: str, field: str) -> bytes:
    """A field of free text, such as Subject (RFC 5322 §2.2.1).

    Raises:
        FieldError: Name or text cannot be written; names `field`.
    """
    check_name(name, field)
    check_text(text, field)
    if not text.isascii() or ("=?" in text and _may_hold_words(text)) or text != text.strip(" "):
        return _encoded_field(name, text)
    if len(name) + 2 + len(text) <= FOLD_OCTETS:
        return f"{name}: {text}\r\n".encode("ascii")
    words = _WORDS.findall(text)
    if max(map(len, words)) > LINE_OCTETS - NAME_OCTETS - 2:
        return _encoded_field(name, text)
    return fold_field(name, [word.encode("ascii") for word in words])


def phrase_field(name: str, text: str, field: str) -> bytes:
    """A field of one phrase and what stands in angle brackets, such as List-Id (RFC 2919 §3).

    Raises:
        FieldError: Name or text cannot be written; or it needs encoded words elsewhere than in the phrase.
    """
    plain = text_field(name, text, field)
    if _WORD_START not in plain:
        return plain
    found = _PHRASED(text)
    if found is None:
        raise FieldError(field, "holds text beyond ASCII that is not before its only angle brackets")
    room = ENCODED_LINE_OCTETS - len(name) - 2
    words = _encoded_words(found[2] or found[1] or "", room)
    return fold_field(name, [*words, f" {found[3]}".encode("ascii")], ENCODED_LINE_OCTETS)


def _may_hold_words(text: str) -> bool:
    """True where a reader may find an encoded word in it; it begins with `=?` and ends with `?=`."""
    return text.rfind("?=") > text.find("=?") >= 0


def _encoded_field(name: str, text: str) -> bytes:
    """A field of encoded words; they begin on a line of their own where the name leaves none a place."""
    room = ENCODED_LINE_OCTETS - len(name) - 2
    if room < _FIRST_OCTETS_MIN:
        return b"%s:\r\n %s\r\n" % (name.encode("ascii"), b"\r\n".join(_encoded_words(text)))
    return fold_field(name, _encoded_words(text, room), ENCODED_LINE_OCTETS)


def address_field(name: str, mailboxes: list[tuple[Address, str, str]]) -> bytes:
    """A field of mailboxes (RFC 5322 §3.4), such as From and To.

    Args:
        name: Name of the field.
        mailboxes: For each its address, display name (may be empty), and name of the argument for errors.

    Raises:
        FieldError: A display name cannot be written.
    """
    if len(mailboxes) == 1 and not mailboxes[0][1]:  # the usual To of a message that is for one
        address, _, field = mailboxes[0]
        return fold_field(name, [check_text(f"{address.local_part}@{address.domain}", field).encode()])
    words: list[bytes] = []
    octets = FOLD_OCTETS
    for address, display_name, field in mailboxes:
        if words:
            words[-1] += b","
        spec = f"{address.local_part}@{address.domain}"
        check_text(spec, field)
        if display_name:
            room = ENCODED_WORD_OCTETS if words else ENCODED_LINE_OCTETS - len(name) - 2
            phrase = _phrase(display_name, field, room)
            if phrase[0].startswith(_WORD_START):
                octets = ENCODED_LINE_OCTETS
            words += [b" " + word.lstrip(b" ") for word in phrase]
            spec = f"<{spec}>"
        words.append(b" " + spec.encode())
    words[0] = words[0][1:]
    return fold_field(name, words, octets)


def _phrase(text: str, field: str, room: int) -> list[bytes]:
    """A display name (RFC 5322 §3.2.5): atoms, a quoted string or encoded words, the first within `room`."""
    check_text(text, field)
    if not text.isascii() or "=?" in text or len(text) > FOLD_OCTETS:  # a word may end in another mailbox
        return _encoded_words(text, room)
    if _ATOMS.fullmatch(text):
        return [text.encode("ascii")]
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return [f'"{escaped}"'.encode("ascii")]


def fold_field(name: str, words: list[bytes], octets: int = FOLD_OCTETS) -> bytes:
    """A field of `words` after `name`, folded before a word's space where a line has over `octets`."""
    lines = [f"{name}:".encode("ascii")]
    line = lines[0] + b" "
    lines.clear()
    is_empty = True
    for word in words:
        if not is_empty and len(line) + len(word) > octets and word[:1] == b" ":
            lines.append(line)
            line = word
        else:
            line += word
        is_empty = False
    lines.append(line)
    return b"\r\n".join(lines) + b"\r\n"


def _encoded_words(text: str, first: int = ENCODED_WORD_OCTETS) -> list[bytes]:
    """`text` as encoded words (RFC 2047 §2), in whole characters, each but the first with a space before it.

    The first has at most `first` octets. The encoding is the shorter one of the whole text. White space
    between two encoded words is not part of the text (RFC 2047 §6.2).
    """
    octets = text.encode()
    literal = sum(octet in _Q_LITERAL or octet == 0x20 for octet in octets)
    is_quoted = literal + 3 * (len(octets) - literal) <= (len(octets) + 2) // 3 * 4
    encode, cost, unit = (_q_word, _q_cost, 1) if is_quoted else (_b_word, len, 4)
    room = _payload_octets(first, unit)
    words: list[bytes] = []
    chunk = b""
    used = 0
    for character in text:
        encoded = character.encode()
        size = cost(encoded)
        if used + size > room:
            words.append(encode(chunk))
            chunk = b""
            used = 0
            room = _payload_octets(ENCODED_WORD_OCTETS, unit)
        chunk += encoded
        used += size
    words.append(encode(chunk))
    return [words[0], *(b" " + word for word in words[1:])]


def _payload_octets(octets: int, unit: int) -> int:
    """What fits into a word of so many; base64 makes `unit` characters of three octets."""
    payload = min(octets, ENCODED_WORD_OCTETS) - _FRAME_OCTETS
    return payload // 4 * 3 if unit == 4 else payload


def _q_cost(octets: bytes) -> int:
    return sum(1 if octet in _Q_LITERAL or octet == 0x20 else 3 for octet in octets)


def _q_word(octets: bytes) -> bytes:
    payload = bytearray()
    for octet in octets:
        if octet in _Q_LITERAL:
            payload.append(octet)
        else:
            payload += b"_" if octet == 0x20 else b"=%02X" % octet
    return b"%sq?%s?=" % (_WORD_START, bytes(payload))


def _b_word(octets: bytes) -> bytes:
    return b"%sb?%s?=" % (_WORD_START, b2a_base64(octets, newline=False))
