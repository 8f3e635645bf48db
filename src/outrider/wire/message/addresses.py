"""The addresses of a header field: text in, its mailboxes out, and what was wrong with the others.

Theory: a field is cut into tokens once (quoted strings, comments, literals, atoms, specials), then into
mailboxes at the commas outside of all these. A mailbox that follows the grammar becomes a
`model.address.Address` by the one parser of the house, so policy and routing see the same domain; of one
that does not, the parts that can be told are given and a fault says why. Obsolete forms are taken: routes,
spaces around dots, empty elements, dots in names.

Invariant: `parse_addresses` returns for whatever it is given, in linear time and with bounded results; each
address that has an `address` would be taken in MAIL or RCPT.

Standards: RFC 5322 §3.4 (addresses, groups), RFC 5322 §3.2.2 (comments), RFC 5322 §4.4 (obsolete forms),
RFC 2047 §5 (display names).
Not here: who may be the author (receive.submitter), which refuses what this reads with tolerance.
"""

import contextlib
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from outrider.base.errors import AddressError
from outrider.model.address import Address
from outrider.model.mailbox import maybe_plain_path, parse_domain, parse_mailbox, unicode_domain
from outrider.wire.message.words import decode_words

VALUE_CHARACTERS: Final = 65_536
"""Chosen: some two thousand addresses; what is beyond it is not read, and a fault says so."""

ADDRESSES: Final = 4_000
"""Chosen, as VALUE_CHARACTERS: the most that one field gives."""

FAULTS: Final = 20
"""Chosen: nobody reads more; what is counted beyond it is in `more_faults`."""

_PLAIN: Final = re.compile(r"(?:([A-Za-z0-9 '_-]*[A-Za-z0-9'_-])[ \t]+)?(<[^<>\"(\[ ]{3,320}>)").fullmatch
_QUOTED: Final = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL).match
_LITERAL: Final = re.compile(r"\[[^\[\]\\]*(?:\\.[^\[\]\\]*)*\]", re.DOTALL).match
_ATOM: Final = re.compile(r'[^ \t\r\n()<>\[\]:;@\\,."]+').match
_SPACE: Final = re.compile(r"[ \t\r\n]+").match
_IN_COMMENT: Final = re.compile(r"[()\\]").search
_PAIR: Final = re.compile(r"\\(.)", re.DOTALL)
_SEPARATORS: Final = ",;:"
_ESCAPED: Final = r"\\\1"
_NEEDS_BACKSLASH: Final = re.compile(r'(["\\])')


class HeaderAddress(msgspec.Struct, frozen=True, gc=False):
    """One mailbox of a field.

    Attributes:
        display_name: Decoded; that of a comment where the old form `a@b.test (Name)` was used; empty is none.
        local_part: As written, without comments and spaces; quoted where it has to be.
        domain: A-labels in lower case where it is valid, else as written; empty is none.
        address: The valid mailbox, or None.
        group: Display name of the group that it stands in; empty outside.
        text: The whole mailbox as it stands in the field, unfolded.
    """

    display_name: str
    local_part: str
    domain: str
    address: Address | None
    group: str
    text: str

    @property
    def spec(self) -> str:
        """`local-part@domain`, or what there is of it."""
        return f"{self.local_part}@{self.domain}" if self.domain else self.local_part

    @property
    def unicode_domain(self) -> str:
        """The domain with U-labels for its A-labels."""
        return unicode_domain(self.domain)

    @property
    def user(self) -> str:
        """The local part up to its first `+`."""
        return self.local_part.partition("+")[0]

    @property
    def detail(self) -> str:
        """The local part behind its first `+`; empty where there is none."""
        return self.local_part.partition("+")[2]


class AddressList(msgspec.Struct, frozen=True):
    """What a field holds.

    Attributes:
        addresses: In order, those of groups among them.
        faults: What does not follow the grammar: the place (from 1) and the reason, without the address.
        more_faults: How many more there were.
    """

    addresses: tuple[HeaderAddress, ...]
    faults: tuple[str, ...] = ()
    more_faults: int = 0


class _Token(NamedTuple):
    """`kind` is one of `a`tom, `q`uoted string, `l`iteral, `c`omment, space, or a special as itself."""

    kind: str
    text: str
    start: int
    end: int


def parse_addresses(value: str) -> AddressList:
    """The addresses of a field's value (unfolded or not, encoded words not yet decoded)."""
    text = value.strip(" \t")  # not by the pattern, which would try each place to begin the name at
    plain = _PLAIN(text)
    if plain is not None:
        address = maybe_plain_path(plain[2])
        if address is not None:
            name = " ".join(plain[1].split()) if plain[1] else ""
            found = HeaderAddress(name, address.local_part, address.domain, address, "", text)
            return AddressList((found,))
    reader = _Reader(value)
    return AddressList(
        tuple(reader.addresses), tuple(reader.faults[:FAULTS]), max(0, len(reader.faults) - FAULTS)
    )


class _Reader:
    """Reads one value; its faults are collected, never raised."""

    __slots__ = (
        *("_angle", "_box", "_first", "_group", "_is_group", "_is_spec", "_place", "_value"),
        *("addresses", "faults"),
    )

    def __init__(self, value: str) -> None:
        self._value = value[:VALUE_CHARACTERS]
        self._box: list[_Token] = []  # the mailbox that is being read
        self._is_spec = False  # an angle bracket or an @ is in it, so it is more than a name
        self._angle = False  # an angle bracket is open in it
        self._first = ""  # kind of the first word behind that
        self._is_group = False
        self._group = ""
        self._place = 1
        self.addresses: list[HeaderAddress] = []
        self.faults: list[str] = []
        for token in self._tokens():
            if len(self.addresses) >= ADDRESSES:
                self._fault(f"no more than {ADDRESSES} addresses are read")
                return
            if token.kind in _SEPARATORS and not self._is_inside(token.kind):
                self._separate(token.kind)
            else:
                self._keep(token)
        self._end_mailbox()
        if self._is_group:
            self._fault("its group is not closed")
        if len(value) > VALUE_CHARACTERS:
            self._fault(f"nothing beyond {VALUE_CHARACTERS} characters is read")

    def _fault(self, reason: str) -> None:
        self.faults.append(f"address {self._place}: {reason}")

    def _is_inside(self, kind: str) -> bool:
        """True when this separator belongs to the mailbox."""
        if kind == ":":
            return self._is_group or self._is_spec
        return self._angle and kind == "," and self._first == "@"  # a route, RFC 5322 §4.4

    def _separate(self, kind: str) -> None:
        if kind == ":":
            self._group = _phrase(self._box)
            self._is_group = True
            self._box = []  # in which nothing is that makes a mailbox, see `_is_inside`
            return
        self._end_mailbox()
        if kind == ";":
            if not self._is_group:
                self._fault("a semicolon stands outside of a group")
            self._group = ""
            self._is_group = False

    def _keep(self, token: _Token) -> None:
        if token.kind == "<" and not self._angle:
            self._angle, self._first = True, ""
        elif token.kind == ">":
            self._angle = False
        elif self._angle and not self._first and token.kind not in " c":
            self._first = token.kind
        if token.kind in "<@":
            self._is_spec = True
        self._box.append(token)

    def _end_mailbox(self) -> None:
        if self._angle:
            self._fault("its angle bracket is not closed")
            self._angle = False
        box, self._box = self._box, []
        self._is_spec = False
        self._take(box)

    def _tokens(self) -> Iterator[_Token]:
        value = self._value
        at, end = 0, len(value)
        can_quote = can_literal = True  # False after one that does not end, so that the cost stays linear
        while at < end:
            match = _ATOM(value, at)
            if match is not None:
                kind, text, stop = "a", match[0], match.end()
            elif (match := _SPACE(value, at)) is not None:
                kind, text, stop = " ", " ", match.end()
            else:
                kind = text = value[at]
                stop = at + 1
                if kind == '"' and can_quote:
                    match = _QUOTED(value, at)
                    if match is not None:
                        kind, text, stop = "q", _PAIR.sub(r"\1", match[1]), match.end()
                    else:
                        can_quote = False
                        self._fault("its quoted string is not closed")
                elif kind == "[" and can_literal:
                    match = _LITERAL(value, at)
                    if match is not None:
                        kind, text, stop = "l", "".join(match[0].split()), match.end()
                    else:
                        can_literal = False
                        self._fault("its address literal is not closed")
                elif kind == "(":
                    kind, stop = "c", self._comment_end(at)
                    text = _PAIR.sub(r"\1", value[at + 1 : stop - 1])
            yield _Token(kind, text, at, stop)
            at = stop

    def _comment_end(self, at: int) -> int:
        value = self._value
        depth, at = 1, at + 1
        while depth:
            match = _IN_COMMENT(value, at)
            if match is None:
                self._fault("its comment is not closed")
                return len(value)
            at = match.end()
            if match[0] == "\\":
                at += 1
            else:
                depth += 1 if match[0] == "(" else -1
        return min(at, len(value))

    def _take(self, box: list[_Token]) -> None:
        """One mailbox, or an empty element."""
        words = [token for token in box if token.kind not in " c"]
        if not words:
            return
        text = self._value[box[0].start : box[-1].end].strip(" \t\r\n").replace("\r\n", "")
        comments = [token.text for token in box if token.kind == "c"]
        opens = next((index for index, token in enumerate(box) if token.kind == "<"), -1)
        if opens < 0:
            display = ""
            spec = box
        else:
            closes = next((index for index in range(opens, len(box)) if box[index].kind == ">"), len(box))
            display = _phrase(box[:opens])
            spec = _without_route(box[opens + 1 : closes])
            if any(token.kind not in " c" for token in box[closes + 1 :]):
                self._fault("something stands behind its angle brackets")
        if not display and comments:
            display = decode_words(comments[-1].replace("\r\n", "").strip(" \t"))
        self._add(display, spec, text, is_empty_allowed=opens >= 0)
        self._place += 1

    def _add(self, display: str, spec: list[_Token], text: str, *, is_empty_allowed: bool) -> None:
        ats = [index for index, token in enumerate(spec) if token.kind == "@"]
        left = spec[: ats[-1]] if ats else spec
        *before, local = _words(left)
        if not before and '"' in local:
            local = _one_quoted(left) or local
        domain, *behind = _words(spec[ats[-1] + 1 :]) if ats else [""]
        if before and not display:
            display = " ".join(before)
        address = None
        if not local and not ats and is_empty_allowed:
            pass  # <>, the null reverse-path
        elif not ats:
            self._fault("it has no domain")
        elif before:
            self._fault("something stands before its local part")
        elif behind:
            self._fault("something stands behind its domain")
        elif len(ats) > 1:
            self._fault("it has more than one @")
        else:
            try:
                address = parse_mailbox(f"{local}@{domain}", smtputf8=True)
            except AddressError as error:
                self._fault(error.message)
        if address is not None:
            local, domain = address.local_part, address.domain
        elif domain:
            with contextlib.suppress(AddressError):  # then it stays as it is written
                domain = parse_domain(domain)
        self.addresses.append(HeaderAddress(display, local, domain, address, self._group, text))


def _without_route(spec: list[_Token]) -> list[_Token]:
    """What is in angle brackets without an obsolete route (RFC 5322 §4.4)."""
    first = next((token.kind for token in spec if token.kind not in " c"), "")
    if first == "@":
        for index, token in enumerate(spec):
            if token.kind == ":":
                return spec[index + 1 :]
    return spec


def _words(tokens: list[_Token]) -> list[str]:
    """The words that spaces and comments make of `tokens`, but for those around dots; at least one."""
    words = [""]
    is_open = True  # the next token continues the last word
    has_space = False
    for token in tokens:
        if token.kind in " c":
            has_space = True
            continue
        text = f'"{_escaped(token.text)}"' if token.kind == "q" else token.text
        if token.kind == "." or is_open or not has_space:
            words[-1] += text
        else:
            words.append(text)
        is_open = token.kind == "."
        has_space = False
    return words


def _one_quoted(tokens: list[_Token]) -> str:
    """An obsolete local part (RFC 5322 §4.4), words with dots between them, as one quoted string."""
    words = [token for token in tokens if token.kind not in " c"]
    kinds = "".join(token.kind for token in words).replace("q", "a")
    return (
        f'"{_escaped("".join(token.text for token in words))}"'
        if kinds == "a" + ".a" * (len(words) // 2)
        else ""
    )


def _escaped(text: str) -> str:
    """`text` as it stands in a quoted string."""
    return _NEEDS_BACKSLASH.sub(_ESCAPED, text)


def _phrase(tokens: list[_Token]) -> str:
    """A display name (RFC 5322 §3.2.5): words with one space where there were spaces or comments, decoded."""
    out: list[str] = []
    for token in tokens:
        if token.kind not in " c":
            out.append(token.text)
        elif out and out[-1] != " ":
            out.append(" ")
    return decode_words("".join(out).replace("\r\n", "").strip(" "))
