"""One header section: its fields by name and by place, read and changed.

In: the octets of a header section, of a message or of a part. Out: values as text, and the section again,
in which every field that was not changed is as it came.

Theory: a NUL, which no message holds, marks the folds, so that each field is one line; a look-up by name is
then a search (measured: 1 µs each at 14 fields, and 2 µs once for the marks), and a list of fields is made
for the first change. Nothing else is read before it is asked for. What is no field (a line without a colon)
has its place, keeps its octets and has no name. Values that go in are `str`, which is text and is encoded
as the field asks, or `bytes`, which are the value as it stands in the message.

Invariant: `octets()` ends in CRLF or is empty, holds no empty line, no bare CR, bare LF or NUL; a field
that was set is found again with the value that was given; all others are the octets that they were.

Standards: RFC 5322 §2.2 (fields), RFC 5322 §2.2.3 (folding), RFC 5322 §4.5 (space before the colon), RFC
2047 §5 (encoded words), RFC 6532 §3 (UTF-8).
"""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Final

from outrider.base.errors import LocalProtocolError
from outrider.wire.headers import (
    LINE_OCTETS,
    NAME_OCTETS,
    FieldError,
    address_field,
    check_name,
    check_text,
    fold_field,
    text_field,
)
from outrider.wire.message.addresses import AddressList, parse_addresses
from outrider.wire.message.charsets import decode
from outrider.wire.message.limits import DEFAULT, MessageLimitError, MessageLimits
from outrider.wire.message.parameters import format_parametered, parse_parametered
from outrider.wire.message.words import decode_words

ADDRESS_FIELDS: Final = frozenset(
    (
        *("from", "sender", "reply-to", "to", "cc", "bcc", "return-path"),
        *("resent-from", "resent-sender", "resent-to", "resent-cc", "resent-bcc", "resent-reply-to"),
        *("disposition-notification-to", "errors-to", "return-receipt-to"),
    )
)
"""Fields of addresses (RFC 5322 §3.6, RFC 8098 §2.1), in which only display names may be encoded words."""

PARAMETERED_FIELDS: Final = frozenset(("content-type", "content-disposition"))
"""Fields of a value with parameters, which RFC 2231 §4 encodes; encoded words would hide them."""

STRUCTURED_FIELDS: Final = ADDRESS_FIELDS | PARAMETERED_FIELDS

_FOLD: Final = b"\0"
_BAD_VALUE: Final = re.compile(rb"\0|\r(?!\n)|(?<!\r)\n|\r\n(?![ \t])|\r\n[ \t]*(?=\r|\Z)")
_PIECES: Final = re.compile(rb"[ \t]*[^ \t]+")
_ROOM: Final = LINE_OCTETS - NAME_OCTETS - 2

Value = str | bytes


class Header:
    """The fields of one section; a field is named by its name or by its place, which counts from 0.

    Args:
        section: Octets of the section, without the empty line.
        utf8: Text beyond ASCII is written as UTF-8 (RFC 6532 §3), not in encoded words.
        before: Called before each change with the lower-case name that it concerns.
        limits: Bounds.

    Raises:
        MessageLimitError: The section is beyond the limits.
    """

    __slots__ = ("_before", "_fields", "_folded", "_lower", "_names", "_utf8", "is_changed")

    def __init__(
        self,
        section: bytes = b"",
        *,
        utf8: bool = False,
        before: Callable[[str], None] | None = None,
        limits: MessageLimits = DEFAULT,
    ) -> None:
        if len(section) > limits.header_octets:
            raise MessageLimitError("header_octets", limits.header_octets)
        if section.find(_FOLD) >= 0:  # twice as fast as `in`
            raise LocalProtocolError("a header section holds a NUL")
        if section and section[-2:] != b"\r\n":
            section += b"\r\n"
        # One line a field, folds marked; from the first change or look by place on, the list is in charge.
        self._folded = section.replace(b"\r\n ", b"\0 ").replace(b"\r\n\t", b"\0\t")
        if len(section) > limits.fields and self._folded.count(b"\n") > limits.fields:
            raise MessageLimitError("fields", limits.fields)
        self._lower: bytes | None = None
        self._fields: list[bytes] | None = None
        self._names: list[bytes] = []
        self._utf8 = utf8
        self._before = before
        self.is_changed = False

    def __len__(self) -> int:
        """Number of fields, and of lines that are none."""
        return len(self._split())

    def __contains__(self, name: str) -> bool:
        return bool(self._values(name, is_first=True))

    def octets(self) -> bytes:
        """The section: each field with its line end."""
        fields = self._fields
        if fields is None:
            return self._folded.replace(_FOLD, b"\r\n")
        return b"\r\n".join(fields).replace(_FOLD, b"\r\n") + b"\r\n" if fields else b""

    def names(self) -> list[str]:
        """The name of each field as it is written; empty for a line that is no field."""
        return [self.name_at(place) for place in range(len(self))]

    def name_at(self, place: int) -> str:
        """The name of the field at `place` as it is written; empty where the line is no field."""
        return self._split()[place][: len(self._names[place])].decode("latin-1")

    def find(self, name: str, start: int = 0) -> int:
        """Place of the first field of this name from `start` on; -1 if there is none."""
        self._split()
        try:
            return self._names.index(_key(name), start)
        except ValueError:
            return -1

    def places(self, name: str) -> list[int]:
        """Places of all fields of this name."""
        self._split()
        key = _key(name)
        return [place for place, each in enumerate(self._names) if each == key]

    def get(self, name: str) -> str | None:
        """The value of the first field of this name, decoded; None if there is none."""
        values = self._values(name, is_first=True)
        return decode_words(_unfold(values[0])) if values else None

    def get_all(self, name: str) -> list[str]:
        """The values of all fields of this name, unfolded, encoded words decoded."""
        values = self._values(name)
        if len(values) == 1:  # the usual
            text = _unfold(values[0])
            return [decode_words(text) if "=?" in text else text]
        return [decode_words(_unfold(value)) for value in values]

    def get_octets(self, name: str) -> list[bytes]:
        """As `get_all`, in UTF-8; a value that is no UTF-8 is taken for Windows-1252."""
        values = [value.replace(_FOLD, b"").strip(b" \t") for value in self._values(name)]
        return [
            value
            if value.isascii() and b"=?" not in value
            else decode_words(_unfold(value)).encode("utf-8", "surrogateescape")
            for value in values
        ]

    def get_unfolded(self, name: str) -> str | None:
        """The value of the first field of this name, unfolded but not decoded; None if there is none."""
        values = self._values(name, is_first=True)
        return _unfold(values[0]) if values else None

    def get_raw(self, name: str) -> list[bytes]:
        """The values of all fields of this name as they stand in the message, with their folds."""
        return [value.replace(_FOLD, b"\r\n") for value in self._values(name)]

    def addresses(self, name: str) -> AddressList:
        """The addresses of all fields of this name, and what is wrong in them."""
        lists = [parse_addresses(_unfold(value)) for value in self._values(name)]
        if len(lists) == 1:
            return lists[0]
        return AddressList(
            tuple(address for each in lists for address in each.addresses),
            tuple(fault for each in lists for fault in each.faults),
            sum(each.more_faults for each in lists),
        )

    def value_at(self, place: int) -> str:
        """The value of the field at `place`: unfolded, decoded, without the white space around it."""
        return decode_words(self.unfolded_at(place))

    def unfolded_at(self, place: int) -> str:
        """The value of the field at `place`, unfolded but not decoded; Windows-1252 where it is no UTF-8."""
        return _unfold(self._value(place))

    def raw_at(self, place: int) -> bytes:
        """The value of the field at `place`: all between its colon and its line end."""
        return self._value(place).replace(_FOLD, b"\r\n")

    def items(self) -> Iterator[tuple[str, str]]:
        """Names and decoded values in order; lines that are no field are left out."""
        for place, name in enumerate(self.names()):
            if name:
                yield name, self.value_at(place)

    def append(self, name: str, value: Value) -> None:
        """Add a field behind all others.

        Raises:
            FieldError: Name or value cannot be written.
        """
        self.insert(len(self._split()), name, value)

    def prepend(self, name: str, value: Value) -> None:
        """Add a field before all others (but not before a line that would continue it)."""
        self.insert(0, name, value)

    def insert(self, place: int, name: str, value: Value) -> None:
        """Add a field before the one at `place`."""
        self._insert(place, [(name, self._written(name, value))])

    def replace(self, name: str, values: Iterable[Value]) -> None:
        """Take all fields of this name out and add one for each of `values` behind all others."""
        made = [(name, self._written(name, value)) for value in values]
        self.delete(name)
        if made:
            self._insert(len(self._split()), made)

    def set(self, name: str, value: Value) -> None:
        """Give the first field of this name that value in its place and take the others out, or append it."""
        places = self.places(name)
        if not places:
            self.append(name, value)
            return
        self.set_at(places[0], value)
        self._drop(name, places[1:])

    def set_at(self, place: int, value: Value) -> None:
        """Give the field at `place` another value; its name stays as it is written."""
        name = self.name_at(place)
        if not name:
            raise FieldError(f"line {place}", "is no header field")
        written = self._written(name, value)
        self._changes(name)
        self._split()[place] = written

    def delete(self, name: str) -> int:
        """Take out all fields of this name; returns how many there were.

        Lines that are no field and would come first then go with them: readers would take the header to end.
        """
        return self._drop(name, self.places(name))

    def delete_at(self, place: int) -> None:
        """Take out the field, or line, at `place`."""
        self._drop(self.name_at(place), [place])

    def _drop(self, name: str, places: list[int]) -> int:
        if places:
            self._changes(name)
            fields, names = self._split(), self._names
            gone = set(places)
            if names[0]:
                first = 0
                while first < len(names) and (first in gone or not names[first]):
                    gone.add(first)
                    first += 1
            self._fields = [each for place, each in enumerate(fields) if place not in gone]
            self._names = [each for place, each in enumerate(names) if place not in gone]
        return len(places)

    def _insert(self, place: int, made: list[tuple[str, bytes]]) -> None:
        for name, _ in made:
            self._changes(name)
        fields, names = self._split(), self._names
        if fields and not place and fields[0][:1] in (b" ", b"\t"):
            place = 1  # else that line, which begins the section, would continue the new field
        fields[place:place] = [written for _, written in made]
        names[place:place] = [_key(name) for name, _ in made]

    def _changes(self, name: str) -> None:
        if self._before is not None:
            self._before(name.lower())
        self.is_changed = True

    def watch(self, before: Callable[[str], None]) -> None:
        """Have `before` called before each change from now on."""
        self._before = before

    def _values(self, name: str, *, is_first: bool = False) -> list[bytes]:
        """Values of the fields of this name, or of the first of them, folds marked."""
        lower = self._lower
        if lower is None and self._fields is None:
            self._lower = lower = b"\n" + self._folded.lower()
            if lower.find(b" :") >= 0 or lower.find(b"\t:") >= 0:  # perhaps a name's, RFC 5322 §4.5
                self._split()
        sought = _line_start(name)
        if self._fields is not None or lower is None or not sought:
            key, names = _key(name), self._names
            if key not in names:
                return []
            if is_first:
                return [self._value(names.index(key))]
            return [self._value(place) for place, each in enumerate(names) if each == key]
        folded = self._folded
        values: list[bytes] = []
        at = lower.find(sought)
        while at >= 0:
            at += len(sought) - 1
            end = folded.find(b"\r\n", at)
            values.append(folded[at:end])
            at = -1 if is_first else lower.find(sought, end)
        return values

    def _split(self) -> list[bytes]:
        """Fields without their line ends, folds marked; `_names` has the name of each."""
        fields = self._fields
        if fields is None:
            fields = self._folded.split(b"\r\n")
            fields.pop()
            cut = [line.partition(b":") for line in self._folded.lower().split(b"\r\n")]
            cut.pop()
            names = [name if colon else b"" for name, colon, _ in cut]
            joined = b"".join(names)
            if b" " in joined or b"\t" in joined:
                names = [_tidied(name) for name in names]
            self._fields, self._names = fields, names
            self._folded, self._lower = b"", None
        return fields

    def _value(self, place: int) -> bytes:
        field = self._split()[place]
        return field[field.find(b":") + 1 :] if self._names[place] else field

    def _written(self, name: str, value: Value) -> bytes:
        """The field without its line end, folds marked."""
        check_name(name, name)
        if isinstance(value, bytes):
            field = _raw_field(name, value)
        else:
            field = self._text_written(name, value.replace("\t", " "))
        return field[:-2].replace(b"\r\n", _FOLD)

    def _text_written(self, name: str, value: str) -> bytes:
        kind = name.lower()
        if value.isascii():
            return _address_text(name, value) if kind in ADDRESS_FIELDS else text_field(name, value, name)
        check_text(value, name)
        if self._utf8 and (kind in STRUCTURED_FIELDS or _is_plain(value)):
            return _checked_lines(name, fold_field(name, _PIECES.findall(value.encode())))
        if kind in ADDRESS_FIELDS:
            return _address_text(name, value)
        if kind in PARAMETERED_FIELDS:
            return _raw_field(name, format_parametered(parse_parametered(value), name))
        return text_field(name, value, name)


def _is_plain(text: str) -> bool:
    """True for a text that reads as itself where it stands as it is, in lines that are short enough."""
    if "=?" in text or text != text.strip(" "):
        return False
    octets = text.encode()
    return len(octets) <= _ROOM or max(map(len, _PIECES.findall(octets))) <= _ROOM


def _key(name: str) -> bytes:
    return name.encode("latin-1", "replace").lower() or b":"  # a name that no field has


@lru_cache(maxsize=1024)
def _line_start(name: str) -> bytes:
    """With what the line of a field of this name begins, its key between a line feed and a colon.

    Empty for what is no name.
    """
    key = _key(name)
    return b"" if b":" in key or b"\n" in key else b"\n%s:" % key


def _tidied(name: bytes) -> bytes:
    """A name without the space before its colon; empty for what is no name."""
    name = name.rstrip(b" \t")
    return b"" if b" " in name or b"\t" in name else name


def _unfold(value: bytes) -> str:
    value = value.replace(_FOLD, b"").strip(b" \t")
    try:
        return value.decode()
    except UnicodeDecodeError:
        return decode(value, "")


def _raw_field(name: str, value: bytes) -> bytes:
    """A field of a value that is already as it is to stand; folded where it is not and is too long.

    Raises:
        FieldError: It holds NUL, or CR or LF that are no fold.
    """
    bad = _BAD_VALUE.search(value)
    if bad is not None:
        raise FieldError(name, "holds a NUL, or a line end that is no fold")
    value = value.strip(b" \t")
    if b"\r\n" in value:
        field = b"%s: %s\r\n" % (name.encode("ascii"), value)
    else:
        field = fold_field(name, _PIECES.findall(value))
    return _checked_lines(name, field)


def _checked_lines(name: str, field: bytes) -> bytes:
    if len(field) > LINE_OCTETS and max(map(len, field.split(b"\r\n"))) > LINE_OCTETS:
        raise FieldError(name, f"has a word that fits in no line of {LINE_OCTETS} octets")
    return field


def _address_text(name: str, text: str) -> bytes:
    """A field of addresses given as text: as it is where it is ASCII, else with its display names encoded.

    Raises:
        FieldError: It is not ASCII and no list of mailboxes.
    """
    check_text(text, name)
    if text.isascii():
        return _raw_field(name, text.encode("ascii"))
    found = parse_addresses(text)
    mailboxes = []
    for each in found.addresses:
        if each.address is None or not each.address.local_part.isascii() or each.group:
            raise FieldError(name, "has text beyond ASCII in a group or in an address that is none")
        mailboxes.append((each.address, each.display_name, name))
    if found.faults or not mailboxes:
        raise FieldError(name, "has text beyond ASCII and is no list of mailboxes")
    return address_field(name, mailboxes)
