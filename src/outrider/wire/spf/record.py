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
_MECHANISM: Final = re.compile(r"([+?~-]?)([A-Za-z][A-Za-z0-9_.-]*)((?:[:/].*)?)")
_WITH_PREFIXES: Final = re.compile(r"(.*?)(?:/(0|[1-9][0-9]?))?(?://(0|[1-9][0-9]{0,2}))?")
# RFC 7208 §5.3: the domain may hold slashes too
_NETWORK: Final = {
    "ip4": re.compile(r"[0-9.]+(?:/(?:0|[1-9][0-9]?))?"),
    "ip6": re.compile(r"[0-9A-Fa-f:.]+(?:/(?:0|[1-9][0-9]{0,2}))?"),
}
# RFC 7208 §5.6; `ip_network` would take masks, zones and zeros before a number as well

_OPTIONS: Final = r"(?:0*[1-9][0-9]*)?[Rr]?[.+,/_=-]*"
_MACRO_STRING: Final = re.compile(rf"(?:%\{{[SsLlOoDdIiPpHhCcRrTtVv]{_OPTIONS}\}}|%[%_-]|[!-$&-~])*")
_EXPLANATION: Final = re.compile(rf"(?:%\{{[SsLlOoDdIiPpHhCcRrTtVv]{_OPTIONS}\}}|%[%_-]|[ -$&-~])*")
_DOMAIN_PIECE: Final = re.compile(rf"%\{{[SsLlOoDdIiPpHhVv]{_OPTIONS}\}}|%[%_-]|[!-$&-~]+")
# RFC 7208 §7.1, without the letters that RFC 7208 §7.2 leaves to explanations
_TOP_LABEL: Final = re.compile(r"(?![0-9]*\Z)[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?")
# RFC 7208 §7.1: no number

_WITH_PREFIX: Final = frozenset({"a", "mx"})
_NEED_DOMAIN: Final = frozenset({"include", "exists"})
_WITH_DOMAIN: Final = _WITH_PREFIX | _NEED_DOMAIN | {"ptr"}
LOOKUP_TERMS: Final = frozenset({"include", "a", "mx", "ptr", "exists", "redirect"})
"""RFC 7208 §4.6.4: terms that cause look-ups; at most ten of them count."""


EXPLANATION_OCTETS_MAX: Final = 400
"""Chosen: it fits into one line of a reply (RFC 5321 §4.5.3.1.5), with whose words they are beside it."""


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
                modifiers[name] = Term(word, name, domain=_domain(word, modifier[2]))
            elif not _MACRO_STRING.fullmatch(modifier[2]):
                raise SpfError(f"{word[:60]!r} holds what no macro string may hold")
            continue
        mechanisms.append(_mechanism(word))
    return SpfRecord(text, tuple(mechanisms), modifiers.get("redirect"), modifiers.get("exp"))


def is_explanation(text: str) -> bool:
    """True for a text that `exp=` may lead to (RFC 7208 §6.2): macros, and plain ASCII."""
    return len(text) <= EXPLANATION_OCTETS_MAX and _EXPLANATION.fullmatch(text) is not None


def _mechanism(word: str) -> Term:
    found = _MECHANISM.fullmatch(word)
    if found is None:
        raise SpfError(f"{word[:60]!r} is no term")
    qualifier, name, rest = found[1] or "+", found[2].lower(), found[3]
    if name in _NETWORK:
        return Term(word, name, qualifier, network=_network(word, name, rest))
    if name == "all":
        if rest:
            raise SpfError(f"{word[:60]!r}: all takes nothing")
        return Term(word, name, qualifier)
    if name not in _WITH_DOMAIN:
        raise SpfError(f"{word[:60]!r} is no mechanism that is known")
    prefix4, prefix6 = 32, 128
    if name in _WITH_PREFIX:
        rest, prefix4, prefix6 = _prefixes(word, rest)
    if rest[:1] == "/":
        raise SpfError(f"{word[:60]!r}: what follows the slash is no prefix of {name}")
    if not rest and name not in _NEED_DOMAIN:
        return Term(word, name, qualifier, "", prefix4, prefix6)
    return Term(word, name, qualifier, _domain(word, rest[1:]), prefix4, prefix6)


def _domain(word: str, text: str) -> str:
    """`text`, a domain with macros (RFC 7208 §7.1)."""
    if not text:
        raise SpfError(f"{word[:60]!r}: a domain is missing")
    pieces: list[str] = _DOMAIN_PIECE.findall(text)
    _, dot, label = pieces[-1].removesuffix(".").rpartition(".") if pieces else ("", "", "")
    has_end = bool(pieces) and (pieces[-1][0] == "%" or bool(dot and _TOP_LABEL.fullmatch(label)))
    if not has_end or "".join(pieces) != text:
        raise SpfError(f"{word[:60]!r} holds what no domain with macros may hold")
    return text


def _prefixes(word: str, text: str) -> tuple[str, int, int]:
    """What stands before the prefixes of `text`, and these."""
    found = _WITH_PREFIXES.fullmatch(text)
    rest, prefix4, prefix6 = (found[1], int(found[2] or 32), int(found[3] or 128)) if found else (text, 33, 0)
    if prefix4 > 32 or prefix6 > 128:
        raise SpfError(f"{word[:60]!r}: the prefix is none")
    return rest, prefix4, prefix6


def _network(word: str, name: str, rest: str) -> str:
    try:
        network: IPv4Network | IPv6Network | None = (
            ip_network(rest[1:], strict=False)
            if rest[:1] == ":" and _NETWORK[name].fullmatch(rest[1:])
            else None
        )
    except ValueError:
        network = None
    if network is None or network.version != int(name[-1]):
        raise SpfError(f"{word[:60]!r} holds no network of its family")
    return str(network)
