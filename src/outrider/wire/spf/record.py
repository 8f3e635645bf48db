"""SPF records: what a domain says about who may send its mail.

In: a text from anybody. Out: its terms, or a `SpfError` that names the one at fault.

Standards: RFC 7208 §4.5 (selecting), RFC 7208 §4.6 (terms), RFC 7208 §5 (mechanisms), RFC 7208 §6
(modifiers), RFC 7208 §12 (grammar).
"""

import re
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

import msgspec

from outrider.base.errors import RemoteProtocolError

VERSION: Final = "v=spf1"
RECORD_OCTETS_MAX: Final = 4_096
"""Chosen: RFC 7208 §3.4 advises to fit into 512; what is longer than this does not come from care."""

_MODIFIER: Final = re.compile(r"([A-Za-z][A-Za-z0-9_.-]*)=(.*)")
_MECHANISM: Final = re.compile(r"([+?~-]?)([A-Za-z0-9]+)(?:(:)([^/]*))?((?:/.*)?)")
_PREFIXES: Final = re.compile(r"(?:/([0-9]{1,3}))?(?://([0-9]{1,3}))?")
_MACRO_TEXT: Final = re.compile(
    r"(?:%\{[SsLlOoDdIiPpHhCcRrTtVv][0-9]{0,3}[Rr]?[.+,/_=-]*\}|%%|%_|%-|[!-$&-~])*"
)

_DOMAIN_END: Final = re.compile(r".*(?:\}|(?:\A|\.)[A-Za-z0-9-]*[A-Za-z][A-Za-z0-9-]*\.?)")
# RFC 7208 §7.1: the last label is no number, or a macro

_WITH_DOMAIN: Final = frozenset({"include", "a", "mx", "ptr", "exists"})
_NEED_DOMAIN: Final = frozenset({"include", "exists"})
_WITH_PREFIX: Final = frozenset({"a", "mx"})
LOOKUP_TERMS: Final = frozenset({"include", "a", "mx", "ptr", "exists", "redirect"})
"""RFC 7208 §4.6.4: terms that cause look-ups; at most ten of them count."""


class SpfError(RemoteProtocolError):
    """A record that no receiver can use (`permerror`)."""


class Term(msgspec.Struct, frozen=True):
    """One mechanism, or the modifier `redirect` or `exp`.

    Attributes:
        text: As it was written.
        name: In lower case.
        qualifier: `+`, `-`, `~`, `?`; empty for modifiers.
        domain: With macros; empty is the domain of the record.
        prefix4: Bits of an IPv4 address that count.
        prefix6: Bits of an IPv6 address that count.
        network: Of `ip4` and `ip6`.
    """

    text: str
    name: str
    qualifier: str = ""
    domain: str = ""
    prefix4: int = 32
    prefix6: int = 128
    network: str = ""

    @property
    def is_lookup(self) -> bool:
        """It counts against the limit of ten."""
        return self.name in LOOKUP_TERMS


class SpfRecord(msgspec.Struct, frozen=True):
    """A record.

    Attributes:
        text: All of it.
        mechanisms: In order.
        redirect: The modifier, where there is one.
        explanation: The modifier `exp`, where there is one.
    """

    text: str
    mechanisms: tuple[Term, ...]
    redirect: Term | None = None
    explanation: Term | None = None


def is_spf(text: str) -> bool:
    """True for a text that is an SPF record, good or bad (RFC 7208 §4.5)."""
    return text[: len(VERSION)].lower() == VERSION and text[len(VERSION) : len(VERSION) + 1] in {"", " "}


def select(texts: Sequence[str]) -> str | None:
    """The record among a domain's texts; None where there is none.

    Raises:
        SpfError: There are several (RFC 7208 §4.5).
    """
    found = [text for text in texts if is_spf(text)]
    if len(found) > 1:
        raise SpfError(f"there are {len(found)} SPF records, and only one may be")
    return found[0] if found else None


def parse_spf(text: str) -> SpfRecord:
    """The record that a text is.

    Raises:
        SpfError: It has an error, which makes all of it void (RFC 7208 §4.6).
    """
    if not is_spf(text):
        raise SpfError("the record does not begin with v=spf1")
    if len(text) > RECORD_OCTETS_MAX:
        raise SpfError(f"the record is longer than {RECORD_OCTETS_MAX} octets")
    mechanisms: list[Term] = []
    modifiers: dict[str, Term] = {}
    for word in text[len(VERSION) :].split(" "):
        if not word:
            continue
        modifier = _MODIFIER.fullmatch(word)
        if modifier is not None:
            name = modifier[1].lower()
            if name in {"redirect", "exp"}:
                if name in modifiers:
                    raise SpfError(f"{name}= occurs twice")
                modifiers[name] = Term(word, name, domain=_macro_text(word, modifier[2], needed=True))
            elif not _MACRO_TEXT.fullmatch(modifier[2]):
                raise SpfError(f"{word[:60]!r} holds what no macro string may hold")
            continue
        mechanisms.append(_mechanism(word))
    return SpfRecord(text, tuple(mechanisms), modifiers.get("redirect"), modifiers.get("exp"))


def _mechanism(word: str) -> Term:
    found = _MECHANISM.fullmatch(word)
    if found is None:
        raise SpfError(f"{word[:60]!r} is no term")
    qualifier, name, colon, argument, rest = (
        found[1] or "+",
        found[2].lower(),
        found[3],
        found[4] or "",
        found[5],
    )
    if name in {"ip4", "ip6"}:
        return Term(word, name, qualifier, network=_network(word, name, argument + rest))
    if name == "all":
        if colon or rest:
            raise SpfError(f"{word[:60]!r}: all takes nothing")
        return Term(word, name, qualifier)
    if name not in _WITH_DOMAIN:
        raise SpfError(f"{word[:60]!r} is no mechanism that is known")
    if colon and name not in _WITH_PREFIX and rest:  # a slash may be part of a macro's delimiters
        argument, rest = argument + rest, ""
    domain = _macro_text(word, argument, needed=bool(colon) or name in _NEED_DOMAIN)
    prefix4, prefix6 = _prefixes(word, rest)
    if rest and name not in _WITH_PREFIX:
        raise SpfError(f"{word[:60]!r}: {name} takes no prefix")
    return Term(word, name, qualifier, domain, prefix4, prefix6)


def _macro_text(word: str, text: str, *, needed: bool) -> str:
    if needed and not text:
        raise SpfError(f"{word[:60]!r}: a domain is missing")
    if text and not (_MACRO_TEXT.fullmatch(text) and _DOMAIN_END.fullmatch(text)):
        raise SpfError(f"{word[:60]!r} holds what no domain with macros may hold")
    return text


def _prefixes(word: str, text: str) -> tuple[int, int]:
    found = _PREFIXES.fullmatch(text)
    prefix4, prefix6 = (int(found[1] or 32), int(found[2] or 128)) if found else (33, 129)
    if prefix4 > 32 or prefix6 > 128:
        raise SpfError(f"{word[:60]!r}: the prefix is none")
    return prefix4, prefix6


def _network(word: str, name: str, text: str) -> str:
    try:
        network: IPv4Network | IPv6Network = ip_network(text, strict=False)
    except ValueError:
        raise SpfError(f"{word[:60]!r} holds no network") from None
    if network.version != int(name[-1]):
        raise SpfError(f"{word[:60]!r} holds an address of the other family")
    return str(network)
