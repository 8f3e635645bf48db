"""Texts: `msys.pcre`, `msys.base64`, `msys.qp`, `msys.idn`, and what is in Lua: `msys.dumper`, `msys.getopt`.

Standards: RFC 4648 §4 and RFC 2045 §6.8 (Base64), RFC 2045 §6.7 (quoted-printable), RFC 5321 §4.5.2 (dots),
RFC 5891 §4 and RFC 5891 §5 (names).
"""

import base64
import binascii
import quopri
import re
from collections.abc import Mapping
from typing import Any, Final

from outrider.base.errors import AddressError
from outrider.model.mailbox import parse_domain, unicode_domain
from outrider.policy.lua.api.coverage import Row
from outrider.policy.lua.api.host import Host, install, lua_text, octets_of, text_of
from outrider.policy.lua.api.patterns import (
    PatternError,
    bounded,
    compile_pattern,
    matches_of,
    replace,
    split,
)
from outrider.policy.lua.registry import LuaRegistry
from outrider.wire.message.charsets import decode, is_known, maybe_encode
from outrider.wire.message.transfer import encode_quoted

PATTERN_FAULT: Final = 1
"""`errnum` of every pattern that does not compile; PCRE's own numbers are not kept."""

_FOLD: Final = 76
# RFC 2045 §6.8
_SPACE: Final = re.compile(rb"[\t\n\r ]+")
_QUOTED: Final = re.compile(rb"=(?![0-9A-Fa-f]{2}|[ \t]*(?:\r?\n|\Z))")


class Patterns:
    """The functions of `msys.pcre`."""

    def __init__(self, host: Host) -> None:
        self._budget = host.budget

    def match(self, subject: Any, pattern: Any) -> Any:
        try:
            compiled = compile_pattern(octets_of(pattern, "a pattern"))
        except PatternError as error:
            return None, str(error), PATTERN_FAULT
        text = octets_of(subject, "a subject")
        found = bounded(self._budget, lambda: compiled.search(text))
        return None if found is None else matches_of(found)

    def replace(self, subject: Any, pattern: Any, replacement: Any) -> Any:
        text, new = octets_of(subject, "a subject"), octets_of(replacement, "a replacement")
        compiled = compile_pattern(octets_of(pattern, "a pattern"))
        return bounded(self._budget, lambda: replace(compiled, text, new))[0]

    def split(self, subject: Any, pattern: Any) -> Any:
        text = octets_of(subject, "a subject")
        compiled = compile_pattern(octets_of(pattern, "a pattern"))
        return bounded(self._budget, lambda: split(compiled, text))


def _charset(charset: Any) -> str:
    name = text_of(charset, "a charset")
    if not is_known(name):
        raise ValueError(f"the charset {name!r} is not known")
    return name


def _converted(text: bytes, charset: Any) -> bytes:
    """UTF-8 in another charset."""
    if charset is None:
        return text
    name = _charset(charset)
    made = maybe_encode(text.decode("utf-8", "replace"), name)
    if made is None:
        raise ValueError(f"the text has characters that {name} has not")
    return made


def _as_utf8(octets: bytes, charset: Any) -> bytes:
    return octets if charset is None else decode(octets, _charset(charset)).encode("utf-8", "replace")


def base64_encode(text: Any, fold: Any = None, charset: Any = None) -> bytes:
    """Base64 of a text in UTF-8, or in `charset`."""
    encoded = base64.b64encode(_converted(octets_of(text, "a text"), charset))
    if not fold:
        return encoded
    lines = [encoded[at : at + _FOLD] for at in range(0, len(encoded), _FOLD)]
    return b"\r\n".join(lines)


def base64_decode(text: Any, charset: Any = None) -> bytes:
    """The octets, or the text in UTF-8. Raises ValueError."""
    encoded = _SPACE.sub(b"", octets_of(text, "a text"))
    try:
        return _as_utf8(base64.b64decode(encoded, validate=True), charset)
    except binascii.Error:
        raise ValueError("the text is not Base64") from None


def quoted_encode(text: Any, charset: Any = None, dotstuffing: Any = None) -> bytes:
    """Quoted-printable of a text in UTF-8, or in `charset`."""
    encoded = encode_quoted(_converted(octets_of(text, "a text"), charset))
    if dotstuffing:
        encoded = re.sub(rb"(?m)^\.", b"..", encoded)
    return encoded


def quoted_decode(text: Any, charset: Any = None) -> bytes:
    """The octets, or the text in UTF-8. Raises ValueError."""
    encoded = octets_of(text, "a text")
    if _QUOTED.search(encoded):
        raise ValueError(
            "the text is not quoted-printable: = begins neither two hexadecimal digits nor a soft line break"
        )
    return _as_utf8(quopri.decodestring(encoded), charset)


def to_idn(name: Any) -> Any:
    """A domain name in A-labels, or `nil, message`."""
    try:
        return parse_domain(text_of(name, "a name"))
    except AddressError as error:
        return None, error.message


def to_utf8(name: Any) -> Any:
    """A domain name for people, or `nil, message`."""
    text = text_of(name, "a name")
    try:
        return unicode_domain(parse_domain(text))
    except AddressError as error:
        return None, error.message


def register(registry: LuaRegistry, host: Host, rows: Mapping[str, Row]) -> None:
    """Register them."""
    patterns = Patterns(host)
    install(
        registry,
        host,
        rows,
        "msys.pcre",
        {"match": patterns.match, "replace": patterns.replace, "split": patterns.split},
    )
    install(registry, host, rows, "msys.base64", {"encode": base64_encode, "decode": base64_decode})
    install(registry, host, rows, "msys.qp", {"encode": quoted_encode, "decode": quoted_decode})
    install(registry, host, rows, "msys.idn", {"to_idn": to_idn, "to_utf8": to_utf8})
    registry.register_source("msys.dumper", lua_text("dumper"))
    registry.register_source("msys.getopt", lua_text("getopt"))
