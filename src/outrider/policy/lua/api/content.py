"""`msg`: header, raw form, body and text, read, searched, changed; new messages.

In: a `msg`. Out: what it says, or another content.

Theory: patterns run over the octets of raw form and body, and over the characters of texts; a text's pattern
is the same one, read as UTF-8. Line ends that a script writes become CRLF. What may take long is ended by the
clock of processor time (`patterns`). Changes are refused at the script's line where the phase does not permit
them.
"""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from typing import Any, Final, cast

from outrider.policy.errors import ForbiddenError
from outrider.policy.lua.api.constants import TE_7BIT, TE_8BIT, TE_BASE64, TE_QUOTED_PRINTABLE
from outrider.policy.lua.api.contexts import note_text
from outrider.policy.lua.api.host import Host, octets_of, text_of, whole_of
from outrider.policy.lua.api.patterns import bounded, compile_pattern, expand, matches_of
from outrider.policy.lua.convert import kind_of
from outrider.policy.lua.messages import Msg
from outrider.policy.mail import EDIT_PHASES
from outrider.wire.headers import check_text
from outrider.wire.message import search, transfer
from outrider.wire.message.addresses import AddressList
from outrider.wire.message.content import is_text, set_text, texts
from outrider.wire.message.delimiters import choose_boundary
from outrider.wire.message.header import ADDRESS_FIELDS, Header, Value
from outrider.wire.message.limits import with_crlf
from outrider.wire.message.makers import make_binary, make_multipart
from outrider.wire.message.tree import Part

END_OF_DATA: Final = b"\r\n.\r\n"
"""What a body that is set ends with."""

ENCODINGS: Final = {
    TE_7BIT: transfer.SEVEN_BIT,
    TE_8BIT: transfer.EIGHT_BIT,
    TE_BASE64: transfer.BASE64,
    TE_QUOTED_PRINTABLE: transfer.QUOTED_PRINTABLE,
}
_MODES: Final = frozenset({"replace", "prepend", "append"})
_COMPONENTS: Final = frozenset({"all", "localpart", "user", "detail", "domain"})
_OF_CONTENT: Final = ("Content-MD5", "Content-Length")
_OF_OTHER_CONTENT: Final = ("Content-Disposition", "Content-Description", "Content-Location")
# what is not true any more of a message whose whole content is a new text, and one that was none before
_FOLDED: Final = re.compile(r"\r?\n[ \t]+")
_NAMED: Final = re.compile(r'([^<>"@:;()\\]+)<([^<>@\s]+@[^<>@\s]+)>\s*(?:,|\Z)')
# a name without quotes, in which no other address can be hidden, and an address


def check_writes(msg: Msg) -> None:
    """Raises ForbiddenError where content may not change."""
    mail = msg.mail
    if mail is not None and mail.phase not in EDIT_PHASES:
        order = ", ".join(phase for phase in type(mail.phase) if phase in EDIT_PHASES)
        raise ForbiddenError(f"content changes in {order} only, not in {mail.phase}", phase=mail.phase)


_NO_TEXT: Final = re.compile(rb"[\0-\x08\n-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xa8\xa9]")
# what `wire.headers.FORBIDDEN` is in UTF-8, without the tab


def header_values(header: Header, name: Any) -> list[bytes]:
    """The values of a field, decoded; what none may be given is a space, so that they can be put back."""
    return [_NO_TEXT.sub(b" ", value) for value in header.get_octets(text_of(name, "a header's name"))]


def field_value(name: str, value: Any) -> Value:
    """What a script gives a field: text beyond ASCII, which is encoded, or ASCII, which stands as it is.

    ASCII may hold encoded words already, and the white space around a value is none of it.

    Raises:
        FieldError: It cannot be written.
    """
    text = _FOLDED.sub(" ", note_text(value, "a header's value")).strip(" \t")
    if not text.isascii():
        return _with_quotes(text) if name.lower() in ADDRESS_FIELDS else text
    if "=?" not in text:
        return text
    check_text(text.replace("\t", " "), name)
    return text.encode()


def _with_quotes(text: str) -> str:
    """Mailboxes whose names hold a comma, as `header_values` decodes them, with these in quotes again."""
    mailboxes: list[str] = []
    at = 0
    while at < len(text):
        found = _NAMED.match(text, at)
        if found is None:
            return text
        name = found[1].strip()
        mailboxes.append(f'"{name}" <{found[2]}>' if "," in name else f"{name} <{found[2]}>")
        at = found.end()
    return ", ".join(mailboxes)


def change_header(header: Header, name: Any, value: Any = None, mode: Any = None) -> bool:
    """Set a field, add to it, or take it away (nil, or an empty value)."""
    field = text_of(name, "a header's name")
    how = "replace" if mode is None else text_of(mode, "a mode")
    if how not in _MODES:
        raise ValueError(f"a mode is one of {', '.join(sorted(_MODES))}, not {how!r}")
    if value is None or value in (b"", {}):
        header.delete(field)
        return True
    given = value if isinstance(value, list) else [value]
    values = [field_value(field, each) for each in given]
    if how == "replace":
        header.replace(field, values)
    elif how == "append":
        for each in values:
            header.append(field, each)
    else:
        for each in reversed(values):
            header.prepend(field, each)
    return True


def address_components(found: AddressList, component: Any) -> list[bytes]:
    """One component of each address."""
    what = "all" if component is None else text_of(component, "a component")
    if what not in _COMPONENTS:
        raise ValueError(f"a component is one of {', '.join(sorted(_COMPONENTS))}, not {what!r}")
    attribute = {"all": "spec", "localpart": "local_part"}.get(what, what)
    return [getattr(each, attribute).encode("utf-8", "surrogateescape") for each in found.addresses]


@lru_cache(1_000)
def text_pattern(pattern: bytes) -> re.Pattern[str]:
    """A pattern over characters. Raises PatternError, or ValueError: it is no UTF-8."""
    octets = compile_pattern(pattern)
    return re.compile(octets.pattern.decode(), octets.flags | re.ASCII)


class _Encoded:
    """A match in a text, its groups as octets."""

    def __init__(self, found: re.Match[str]) -> None:
        self._found = found

    def __getitem__(self, group: int | str) -> bytes | None:
        text = self._found[group]
        return None if text is None else text.encode("utf-8", "surrogateescape")


def _text_matches(found: re.Match[str]) -> dict[Any, bytes]:
    table: dict[Any, bytes] = {0: found[0].encode("utf-8", "surrogateescape")}
    for place, text in enumerate(found.groups(), 1):
        table[place] = (text or "").encode("utf-8", "surrogateescape")
    for name, text in found.groupdict().items():
        table[name.encode()] = (text or "").encode("utf-8", "surrogateescape")
    return table


class Searches:
    """Finds and replaces in parts, within the time that a hook has."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def match(self, part: Part, pattern: Any, where: str) -> dict[Any, bytes] | bool:
        """The first match in `raw`, `body` or `text`, or false."""
        octets = octets_of(pattern, "a pattern")
        if where == "text":
            of_text = text_pattern(octets)
            in_text = bounded(self._host.budget, lambda: search.find_text(part, of_text.search))
            return False if in_text is None else _text_matches(in_text)
        compiled = compile_pattern(octets)
        find = search.find_raw if where == "raw" else search.find_body
        found = bounded(self._host.budget, lambda: find(part, compiled.search))
        return False if found is None else matches_of(found)

    def replace(self, part: Part, pattern: Any, replacement: Any, where: str) -> bool:
        """Replace each match; false where there was none."""
        octets, new = octets_of(pattern, "a pattern"), octets_of(replacement, "a replacement")
        if where == "text":
            of_text = text_pattern(octets)

            def write(found: re.Match[str]) -> str:
                return note_text(expand(cast("re.Match[bytes]", _Encoded(found)), new))

            count = bounded(self._host.budget, lambda: search.replace_text(part, of_text.search, write))
        else:
            compiled = compile_pattern(octets)
            change = search.replace_raw if where == "raw" else search.replace_body

            def expanded(found: re.Match[bytes]) -> bytes:
                return expand(found, new)

            count = bounded(
                self._host.budget, lambda: change(part, compiled.search, expanded, tidy=with_crlf)
            )
        return count > 0


def put_text(part: Part, value: Any, kind: Any, charset: Any) -> None:
    """Make a part a text."""
    set_text(
        part,
        note_text(value, "a text"),
        media_type="" if kind is None else text_of(kind, "a type"),
        charset="" if charset is None else text_of(charset, "a charset"),
    )


def part_of(value: Any, what: str) -> Part:
    """A script's `msgpart`. Raises ValueError."""
    if not isinstance(value, Part):
        raise ValueError(f"{what} is a msgpart, not {kind_of(value)}")  # noqa: TRY004 - scripts hear it
    return value


class Contents:
    """The methods of `msg` that read and change its content."""

    def __init__(self, host: Host) -> None:
        self._searches = Searches(host)

    def header(self, msg: Msg, name: Any, *change: Any) -> list[bytes] | bool:
        """The values of a field; with a value, another one."""
        if not change:
            return header_values(msg.message.header, name)
        check_writes(msg)
        return change_header(msg.message.header, name, *change)

    def address_header(self, msg: Msg, name: Any, component: Any = None) -> list[bytes]:
        return address_components(msg.message.header.addresses(text_of(name, "a header's name")), component)

    def raw(self, msg: Msg, value: Any = None) -> bytes:
        """The whole message, dots not stuffed."""
        if value is not None:
            check_writes(msg)
            msg.message.set_raw(with_crlf(octets_of(value, "a message")))
        return msg.message.raw()

    def body(self, msg: Msg, value: Any = None) -> bytes:
        """The body, transfer encoding untouched, dots not stuffed."""
        if value is not None:
            octets = octets_of(value, "a body")
            if not octets.endswith(END_OF_DATA) and octets != END_OF_DATA[2:]:
                raise ValueError("a body ends with CRLF.CRLF")
            check_writes(msg)
            body = octets[: -len(END_OF_DATA) + 2] if octets != END_OF_DATA[2:] else b""
            msg.message.set_body(with_crlf(body))
        return msg.message.body()

    def text(self, msg: Msg, *change: Any) -> Any:
        """The text of the only text part, a list of several, or nil; with a value, a new body."""
        if change and change[0] is not None:
            check_writes(msg)
            value, kind, charset, *_ = (*change, None, None)
            root = msg.message.root
            was_text = is_text(root)
            put_text(root, value, kind, charset)
            for name in _OF_CONTENT if was_text else (*_OF_CONTENT, *_OF_OTHER_CONTENT):
                root.header.delete(name)
            return None
        found = texts(msg.message.root)
        return found[0] if len(found) == 1 else found or None

    def match(self, msg: Msg, pattern: Any, *, where: str) -> Any:
        return self._searches.match(msg.message.root, pattern, where)

    def replace(self, msg: Msg, pattern: Any, replacement: Any, *, where: str) -> bool:
        check_writes(msg)
        return self._searches.replace(msg.message.root, pattern, replacement, where)

    def mime(self, msg: Msg, readonly: Any = True) -> Part:
        """The message as a part; with false, one that can be changed."""
        if readonly is False:
            check_writes(msg)
            msg.is_writable = True
        return msg.message.root

    def make_part(self, _msg: Msg, mimetype: Any, body: Any = None, encoding: Any = None) -> Part:
        """A leaf that stands nowhere yet; without an encoding, one of 7 bits or what the body needs."""
        octets = b"" if body is None else octets_of(body, "a body")
        if encoding is None:
            fits = transfer.can_carry(octets, transfer.SEVEN_BIT)
            chosen = transfer.SEVEN_BIT if fits else transfer.shorter_encoding(octets)
        else:
            place = whole_of(encoding, "an encoding")
            if place not in ENCODINGS:
                raise ValueError("an encoding is one of msys.core.EC_MIME_TE_…")
            chosen = ENCODINGS[place]
        return make_binary(octets, text_of(mimetype, "a type"), encoding=chosen)

    def make_container(self, _msg: Msg, mimetype: Any, boundary: Any = None, _terminator: Any = None) -> Part:
        """A multipart that stands nowhere yet."""
        kind, slash, subtype = text_of(mimetype, "a type").partition("/")
        if kind.lower() != "multipart" or not slash:
            raise ValueError(f"a container is a multipart/…, not {kind}{slash}{subtype}")
        return make_multipart(
            subtype, (), boundary="" if boundary is None else text_of(boundary, "a boundary")
        )

    def make_boundary(self, msg: Msg, *parts: Any) -> str:
        """A boundary that stands in none of these."""
        octets = [part_of(each, "a part").octets() for each in _flat(parts)]
        return choose_boundary([msg.message.raw(), *octets])

    def methods(self) -> dict[str, Callable[..., Any]]:
        """By the names that scripts use."""
        found: dict[str, Callable[..., Any]] = {
            "header": self.header,
            "address_header": self.address_header,
            "raw": self.raw,
            "body": self.body,
            "text": self.text,
            "mime": self.mime,
            "makePart": self.make_part,
            "makeContainer": self.make_container,
            "makeBoundary": self.make_boundary,
        }
        for where in ("raw", "body", "text"):
            found[f"{where}_match"] = partial(self.match, where=where)
            found[f"{where}_replace"] = partial(self.replace, where=where)
        return found


def _flat(values: Iterable[Any]) -> Iterable[Any]:
    for each in values:
        if isinstance(each, list):
            yield from each
        else:
            yield each
