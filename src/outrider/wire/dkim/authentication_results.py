"""The `Authentication-Results` field: what was checked and what came of it.

In: results with their properties, some of which hold what others wrote. Out: the field, folded, whose reader
sees each value as it was; what no value may hold is left out.

Standards: RFC 8601 §2.2 (syntax), RFC 8601 §2.7.1 (DKIM), RFC 8617 §4.1.1 (ARC-Authentication-Results),
RFC 2045 §5.1 (tokens).
"""

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from outrider.base.errors import LocalProtocolError
from outrider.wire.dkim.results import Result, SignatureResult

_TOKEN: Final = re.compile(r"[!#$%&'*+.0-9A-Z^_`a-z{|}~-]+")
_ATEXT: Final = r"[!#$%&'*+0-9=?A-Z^_`a-z{|}~/-]+"
_LABEL: Final = r"[0-9A-Za-z]+(?:-+[0-9A-Za-z]+)*"
_ADDRESS: Final = re.compile(
    rf'(?:{_ATEXT}(?:\.{_ATEXT})*|"(?:[ !#-\[\]-~]|\\[ -~])*")?@{_LABEL}(?:\.{_LABEL})*'
)
# RFC 8601 §2.2: `[[local-part] "@"] domain-name`, which an address must be; a domain by itself is a token
_FORBIDDEN: Final = re.compile(r"[^ -~]")
# also beyond ASCII, which would make an internationalised message of any (RFC 6532 §3)
_KEYWORD: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?")

VALUE_MAX: Final = 255
"""Chosen: as long as a domain may be; the rest of a longer one says nothing more."""

SIGNATURE_START: Final = 8
"""RFC 6008 §4: enough of a signature to tell it from others of its domain."""


class Checked(msgspec.Struct, frozen=True):
    """One check.

    Attributes:
        method: `dkim`, `spf`, `dmarc`, `arc`, `auth`, `iprev`.
        result: The word.
        reason: For people; may be empty.
        properties: Pairs such as (`header.d`, `example.test`); those without a value are left out.
    """

    method: str
    result: str
    reason: str = ""
    properties: tuple[tuple[str, str], ...] = ()


def of_signatures(results: Sequence[SignatureResult]) -> list[Checked]:
    """The checks of a message's signatures; one `none` where there are none."""
    if not results:
        return [Checked("dkim", Result.NONE)]
    return [
        Checked(
            "dkim",
            each.result,
            each.reason,
            (
                ("header.d", each.domain),
                ("header.i", each.identity if each.domain else ""),
                ("header.s", each.selector),
                ("header.a", each.algorithm),
                ("header.b", each.signature[:SIGNATURE_START]),
            ),
        )
        for each in results
    ]


def format_results(authserv_id: str, checks: Sequence[Checked]) -> bytes:
    """The field `Authentication-Results`, ended by CRLF.

    Args:
        authserv_id: Who checked, usually our host name.
        checks: In order; none gives `none`.

    Raises:
        LocalProtocolError: `authserv_id`, a method, result or property name is no such word.
    """
    return b"Authentication-Results: " + format_payload(authserv_id, checks) + b"\r\n"


def format_payload(authserv_id: str, checks: Sequence[Checked]) -> bytes:
    """What follows the colon, folded, without the last CRLF."""
    if not _TOKEN.fullmatch(authserv_id):
        raise LocalProtocolError("authserv-id: is not a token such as a host name")
    if not checks:
        return f"{authserv_id}; none".encode("ascii")
    lines = [authserv_id]
    for check in checks:
        words = [f"{_keyword(check.method)}={_keyword(check.result)}"]
        if check.reason:
            words.append(f"reason={_quoted(check.reason)}")
        words += [f"{_property(name)}={_value(value)}" for name, value in check.properties if value]
        lines += [";", *words]
    return _folded(lines)


def _folded(words: list[str]) -> bytes:
    text = words[0]
    length = len(text)
    for place, word in enumerate(words[1:], 1):
        if word == ";":
            text += ";"
            length = 78
        elif length + len(word) > 76 or words[place - 1] == ";":
            text += f"\r\n\t{word}"
            length = 8 + len(word)
        else:
            text += f" {word}"
            length += 1 + len(word)
    return text.encode("ascii")


def _keyword(word: str) -> str:
    if not _KEYWORD.fullmatch(word):
        raise LocalProtocolError(f"{word[:20]!r} is not a keyword of RFC 8601 §2.2")
    return word


def _property(name: str) -> str:
    kind, _, field = name.partition(".")
    return f"{_keyword(kind)}.{_keyword(field)}"


def _value(value: str) -> str:
    is_plain = len(value) <= VALUE_MAX and (_TOKEN.fullmatch(value) or _ADDRESS.fullmatch(value))
    return value if is_plain else _quoted(value)


def _quoted(text: str) -> str:
    plain = _FORBIDDEN.sub("?", text[:VALUE_MAX]).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{plain}"'
