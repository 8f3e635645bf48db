"""Values with parameters: Content-Type and Content-Disposition, read and written.

Theory: what is read is what a reader of mail would take. Comments are left out. A quote that does not end
ends with the value, and a value with spaces that nobody quoted is taken whole. Sections of RFC 2231 are
joined in their order. Encoded words have no place here but are common: in file names they are decoded. Of
two parameters of one name the first counts, but one in RFC 2231 form goes before one without.

Invariant: `parse_parametered` returns for whatever it is given, in linear time; `format_parametered` gives
what reads as the same again, or raises FieldError.

Standards: RFC 2045 §5.1 (syntax), RFC 2183 §2 (disposition), RFC 2231 §3 (continuations), RFC 2231 §4
(charsets), RFC 2231 §7 (attribute characters).
"""

import re
from typing import Final

import msgspec

from outrider.wire.headers import FOLD_OCTETS, FieldError, check_text
from outrider.wire.message.charsets import decode
from outrider.wire.message.delimiters import BOUNDARY_OCTETS
from outrider.wire.message.words import BREAKS, decode_words
from outrider.wire.mime_parts import extended_parameter

PARAMETERS: Final = 200
"""Chosen: a file name of a kilobyte in sections has some twenty; those beyond it are not read."""

VALUE_CHARACTERS: Final = 65_536
"""Chosen: as much as is written; what is beyond it is not read."""

TYPE_OCTETS: Final = 255
"""Chosen: no registered type has half of it."""

NAME_OCTETS: Final = 40
"""Chosen: no parameter in use has half of it, and a section of it fits a line."""

_MAIN: Final = re.compile(r"[ \t]*([^ \t;\"/]*(?:[ \t]*/[ \t]*[^ \t;\"]*)?)").match
_NEXT: Final = re.compile(
    r"[^;\"]*;[ \t;]*(?:([^ \t=;\"]+)[ \t]*=[ \t]*(?:\"([^\"\\]*(?:\\.[^\"\\]*)*)(?:\"|\\?\Z)|([^;]*)))?",
    re.DOTALL,
).match
_SKIP_QUOTED: Final = re.compile(r"[^;\"]*\"[^\"]*(?:\"|\Z)").match
_UP_TO_COMMENT: Final = re.compile(
    r"(?:[^\"(\\]+|\"[^\"\\]*(?:\\.[^\"\\]*)*(?:\"|\\?\Z)|\\.?)*", re.DOTALL
).match
_IN_COMMENT: Final = re.compile(r"[()\\]").search
_FIRST_WORD: Final = re.compile(r"[^ \t]*").match
_PAIR: Final = re.compile(r"\\(.)", re.DOTALL)
_SECTION: Final = re.compile(r"(.+?)(?:\*(0|[1-9][0-9]{0,2}))?(\*)?").fullmatch
_PERCENT: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]+").fullmatch
_TYPE: Final = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+").fullmatch
_PLAIN: Final = re.compile(r"[ -~]{0,900}").fullmatch
_WITH_SPACES: Final = frozenset(("name", "filename"))


class Parametered(msgspec.Struct, frozen=True):
    """A value and its parameters.

    Attributes:
        value: In lower case: `text/plain`, `attachment`.
        parameters: Names in lower case and values in order, each name once.
    """

    value: str
    parameters: tuple[tuple[str, str], ...] = ()

    def get(self, name: str) -> str:
        """The parameter's value; empty where there is none."""
        for each, value in self.parameters:
            if each == name:
                return value
        return ""

    def with_parameter(self, name: str, value: str) -> "Parametered":
        """The same with this parameter, in its place if there is one; an empty value takes it out."""
        pairs = [(each, value if each == name else old) for each, old in self.parameters]
        if value and not self.get(name):
            pairs.append((name, value))
        return Parametered(self.value, tuple(pair for pair in pairs if pair[1]))


def parse_parametered(text: str) -> Parametered:
    """The value of a field, unfolded."""
    text = text[:VALUE_CHARACTERS]
    if "(" in text:
        text = _without_comments(text)
    main = _MAIN(text)
    value = "" if main is None else main[1].lower()
    if " " in value or "\t" in value:  # RFC 2045 §5.1: around the slash, as between all tokens
        value = "".join(value.split())
    if ";" not in text:
        return Parametered(value)
    found: list[tuple[str, str]] = []
    at = 0 if main is None else main.end()
    while len(found) < PARAMETERS:
        match = _NEXT(text, at)
        if match is None:
            match = _SKIP_QUOTED(text, at)
            if match is None:
                break
        elif match[1] is not None:
            name = match[1].lower()
            if match[2] is not None:
                found.append((name, _PAIR.sub(r"\1", match[2])))
            else:
                plain = match[3].strip(" \t")
                found.append((name, plain if name in _WITH_SPACES else _FIRST_WORD(plain)[0]))  # type: ignore[index]  # it matches always
        if match.end() == at:
            break
        at = match.end()
    return Parametered(value, _joined(found))


def _without_comments(text: str) -> str:
    """`text` without comments, in which quotes mean nothing (RFC 5322 §3.2.2); one without end ends it."""
    out: list[str] = []
    at = 0
    while at < len(text):
        plain = _UP_TO_COMMENT(text, at)[0]  # type: ignore[index]  # it matches always
        out.append(plain)
        at = _comment_end(text, at + len(plain))
    return "".join(out)


def _comment_end(text: str, at: int) -> int:
    """Index behind the comment that begins at `at`; that of the end where it does not end."""
    depth, at = 1, at + 1
    while depth:
        found = _IN_COMMENT(text, at)
        if found is None:
            return len(text)
        at = found.end() + (found[0] == "\\")
        depth += {"(": 1, ")": -1}.get(found[0], 0)
    return at


def _joined(found: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """The parameters with their sections joined and decoded."""
    if not any("*" in name for name, _ in found):
        return tuple((name, _plain_value(name, value)) for name, value in dict(reversed(found)).items())[::-1]
    order: dict[str, None] = {}
    plain: dict[str, str] = {}
    sections: dict[str, dict[int, tuple[str, bool]]] = {}
    for name, value in found:
        match = _SECTION(name)
        base, number, star = match.groups() if match is not None else (name, None, None)
        order.setdefault(base)
        if number is None and star is None:
            plain.setdefault(base, value)
        else:
            sections.setdefault(base, {}).setdefault(int(number or 0), (value, star is not None))
    parameters = []
    for name in order:
        extended = _extended(sections[name]) if name in sections else None
        value = _plain_value(name, plain.get(name, "")) if extended is None else extended
        parameters.append((name, value))
    return tuple(parameters)


def _plain_value(name: str, value: str) -> str:
    return decode_words(value) if name in _WITH_SPACES else value


def _extended(sections: dict[int, tuple[str, bool]]) -> str | None:
    """The text of sections from 0 on, as far as none is missing; None where there is no section 0."""
    if 0 not in sections:
        return None
    charset = ""
    octets = b""
    for number in range(len(sections)):
        if number not in sections:
            break
        value, is_encoded = sections[number]
        if is_encoded and number == 0 and value.count("'") >= 2:
            charset, _, value = value.split("'", 2)
        raw = value.encode("utf-8", "replace")
        octets += _PERCENT.sub(_octet, raw) if is_encoded else raw
    return decode(octets, charset).translate(BREAKS)


def _octet(match: re.Match[bytes]) -> bytes:
    return bytes((int(match[1], 16),))


def format_parametered(value: Parametered, name: str) -> bytes:
    """The value of the field `name`: folded before each parameter that would not fit.

    Raises:
        FieldError: It is no media type or token, or a parameter has no name or holds a control character.
    """
    if not (_TYPE(value.value) or _TOKEN(value.value)):
        raise FieldError(name, "is not a media type such as text/plain, or a token")
    out = value.value
    used = len(name) + 2 + len(out)
    for parameter, text in value.parameters:
        if not _TOKEN(parameter) or "*" in parameter:
            raise FieldError(f"{name}/{parameter}", "is not a name of a parameter")
        for piece in format_parameter(parameter, check_text(text, f"{name}/{parameter}")):
            fits = used + len(piece) + 2 <= FOLD_OCTETS
            out += ("; " if fits else ";\r\n ") + piece
            used = used + len(piece) + 2 if fits else len(piece) + 1
    return out.encode("ascii")


def writable(value: Parametered, instead: str) -> Parametered:
    """What of `value`, as it came, can be written again: a type that cannot becomes `instead`."""
    kept = [
        (name, text[:VALUE_CHARACTERS])
        for name, text in value.parameters
        if _TOKEN(name) and "*" not in name and len(name) <= NAME_OCTETS and text.isprintable()
    ]
    is_type = _TYPE(value.value) and len(value.value) <= TYPE_OCTETS
    return Parametered(value.value if is_type else instead, tuple(kept))


def format_parameter(name: str, text: str) -> list[str]:
    """A parameter as `name=value`, or in as many sections as it takes (RFC 2231 §3)."""
    if _TOKEN(text) and len(name) + len(text) < FOLD_OCTETS - 4:
        return [f"{name}={text}"]
    is_short = "=?" not in text and len(name) + len(text) < FOLD_OCTETS - 8
    # many readers know no sections of a boundary, which has 70 octets at most (RFC 2046 §5.1.1)
    if _PLAIN(text) and (is_short or (name == "boundary" and len(text) <= BOUNDARY_OCTETS)):
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        return [f'{name}="{escaped}"']
    return extended_parameter(name, text)
