"""Evaluates SPF without I/O: a generator that yields questions to DNS and is sent the answers.

    checking = check(Sender(address="192.0.2.1", mail_from="ann@shop.example", helo="mx.shop.example"))
    question = next(checking)
    while True: question = checking.send(answer to question)   # until StopIteration.value, a SpfResult

Whoever can wait drives it; see `privacy.sender_checks`.

Theory: the first mechanism that matches decides. What a record may cost is bounded by the standard, so that
nobody is made to ask for others: ten terms with look-ups, two answers without records, ten names of one term.

Standards: RFC 7208 §4 (the check), RFC 7208 §4.6.4 (limits), RFC 7208 §5 (mechanisms), RFC 7208 §7 (macros),
RFC 7208 §2.6 (results), RFC 8616 §4 (senders beyond ASCII).
"""

import re
from collections.abc import Generator
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from outrider.base.errors import AddressError
from outrider.model.mailbox import parse_domain
from outrider.wire.spf.macros import LETTER, letters_of, transformed
from outrider.wire.spf.record import (
    EXPLANATION_OCTETS_MAX,
    SpfError,
    SpfRecord,
    Term,
    is_explanation,
    parse_spf,
    select,
)

LOOKUPS_MAX: Final = 10
"""RFC 7208 §4.6.4: terms that cause look-ups."""

VOID_MAX: Final = 2
"""RFC 7208 §4.6.4: answers without records."""

NAMES_MAX: Final = 10
"""RFC 7208 §4.6.4: names of one `mx` or `ptr`."""

DEPTH_MAX: Final = 10
"""Follows from `LOOKUPS_MAX`, because each level costs one."""

DOMAIN_OCTETS_MAX: Final = 253
# RFC 7208 §7.3

_MACRO: Final = re.compile(rf"%(?:\{{{LETTER}\}}|(%)|(_)|(-))")
_LOCAL_PART: Final = re.compile(r"%\{[LlSs]")


class SpfWord(StrEnum):
    """Results (RFC 7208 §2.6)."""

    NONE = "none"
    NEUTRAL = "neutral"
    PASS = "pass"  # noqa: S105 - a word of the standard
    FAIL = "fail"
    SOFTFAIL = "softfail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


_OF_QUALIFIER: Final = {
    "+": SpfWord.PASS,
    "-": SpfWord.FAIL,
    "~": SpfWord.SOFTFAIL,
    "?": SpfWord.NEUTRAL,
}

Kind = Literal["A", "AAAA", "MX", "PTR", "TXT"]


class Question(msgspec.Struct, frozen=True):
    """What to look up."""

    name: str
    kind: Kind


class Found(msgspec.Struct, frozen=True):
    """The answer: addresses, names or texts; none of them where there is no such record.

    Attributes:
        values: For MX best preference first.
        has_failed: No nameserver gave an answer.
    """

    values: tuple[str, ...] = ()
    has_failed: bool = False


class Sender(msgspec.Struct, frozen=True):
    """Who sends.

    Attributes:
        address: That the receiver sees.
        mail_from: Address of MAIL FROM; empty for the null reverse-path, which stands for `postmaster@` and
            the name in EHLO (RFC 7208 §2.4).
        helo: Name in EHLO.
        receiver: Who checks, for explanations.
        now: Unix seconds, for explanations.
    """

    address: str
    mail_from: str
    helo: str
    receiver: str = "unknown"
    now: float = 0.0


class SpfResult(msgspec.Struct, frozen=True):
    """What came of it.

    Attributes:
        word: The result.
        reason: Why, in words.
        term: That decided, as written; empty where none did.
        domain: Whose record that was.
        lookups: Terms with look-ups so far.
        explanation: Of a `fail`, in the words of the domain (`exp=`), printable ASCII; may be empty.
        knows_local_part: A term that was looked at asks for the local part, so that the result is that of the
            whole address.
    """

    word: SpfWord
    reason: str
    term: str = ""
    domain: str = ""
    lookups: int = 0
    explanation: str = ""
    knows_local_part: bool = False


_PTR: Final = Term("ptr", "ptr")

Checking = Generator[Question, Found, SpfResult]


class _EndError(Exception):
    """The check ends here."""

    def __init__(self, word: SpfWord, reason: str) -> None:
        super().__init__(reason)
        self.word = word


class _NoMatchError(Exception):
    """A term holds a local part that no name can hold, so it matches nothing."""


def check(sender: Sender, domain: str = "") -> Checking:
    """Check a sender; see the module.

    Args:
        sender: Who.
        domain: Whose record; empty is the domain of MAIL FROM.
    """
    state = _Check(sender)
    domain = (domain or state.sender_domain).rstrip(".").lower()
    try:
        result = yield from state.domain(domain, 0)
    except _EndError as end:
        result = SpfResult(end.word, str(end), domain=domain, lookups=state.lookups)
    return replace(result, knows_local_part=state.knows_local_part)


def count_lookups(domain: str, text: str) -> Generator[Question, Found, tuple[int, list[str]]]:
    """Terms with look-ups in a record and all that it includes, whoever sends, and what is wrong with any.

    A receiver that finds no match early goes through all of them, up to `all`, and through a record that is
    included twice twice.

    Args:
        domain: Whose record.
        text: The record.
    """
    faults: list[str] = []
    known: dict[str, int] = {}
    above = {domain.lower()}
    asked = 0

    def walk(name: str, record_text: str) -> Generator[Question, Found, int]:
        nonlocal asked
        try:
            terms = _all_terms(parse_spf(record_text))
        except SpfError as error:
            faults.append(f"{name}: {error.message}")
            return 0
        count = sum(term.is_lookup for term in terms)
        for term in terms:
            target = term.domain.rstrip(".").lower()
            if term.name not in {"include", "redirect"} or "%" in target:
                continue
            if target in above:
                faults.append(f"{name}: {term.text} leads back to a record that it is in")
                continue
            if target not in known:
                if asked > 4 * LOOKUPS_MAX:
                    faults.append("the tree of includes is too large to be counted")
                    return count
                asked += 1
                inner = _included(target, (yield Question(target, "TXT")), faults)
                above.add(target)
                known[target] = 0 if inner is None else (yield from walk(target, inner))
                above.discard(target)
            count += known[target]
        return count

    total = yield from walk(domain, text)
    return total, faults


def _all_terms(record: SpfRecord) -> list[Term]:
    """Those that are looked at where none matches before `all`, which ends it (RFC 7208 §5.1)."""
    terms: list[Term] = []
    for term in record.mechanisms:
        if term.name == "all":
            return terms
        terms.append(term)
    return [*terms, record.redirect] if record.redirect is not None else terms


def _included(target: str, found: Found, faults: list[str]) -> str | None:
    try:
        inner = select(found.values)
    except SpfError as error:
        faults.append(f"{target}: {error.message}")
        return None
    if inner is None:
        trouble = "the nameservers gave no answer" if found.has_failed else "there is no SPF record"
        faults.append(f"{target}: {trouble}")
    return inner


class _Check:
    __slots__ = (
        *("_address", "_inside", "_letters", "_local_part", "_names", "_validated"),
        *("knows_local_part", "lookups", "sender_domain", "voids"),
    )

    def __init__(self, sender: Sender) -> None:
        local_part, _, domain = (sender.mail_from or f"postmaster@{sender.helo}").rpartition("@")
        self._local_part = local_part or "postmaster"  # RFC 7208 §4.3
        self.sender_domain = _a_labels(domain.removesuffix("."))
        address = ip_address(sender.address)
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        self._address: IPv4Address | IPv6Address = mapped or address
        self._letters = letters_of(
            self._local_part, self.sender_domain, self._address, sender.helo, sender.receiver, sender.now
        )
        self._inside = 0  # of how many includes
        self._names: tuple[str, ...] | None = None
        self._validated: tuple[str, ...] | None = None
        self.knows_local_part = False
        self.lookups = 0
        self.voids = 0

    def domain(self, domain: str, depth: int) -> Checking:
        """`check_host` of RFC 7208 §4.1."""
        if not _is_name(domain):
            return SpfResult(SpfWord.NONE, f"{domain[:80]!r} is no domain name", domain=domain)
        answer = yield Question(domain, "TXT")
        if answer.has_failed:
            raise _EndError(SpfWord.TEMPERROR, f"the record of {domain} could not be looked up")
        try:
            text = select(answer.values)
            if text is None:
                return SpfResult(SpfWord.NONE, f"{domain} has no SPF record", domain=domain)
            record = parse_spf(text)
        except SpfError as error:
            raise _EndError(SpfWord.PERMERROR, f"{domain}: {error.message}") from error
        return (yield from self._record(domain, record, depth))

    def _record(self, domain: str, record: SpfRecord, depth: int) -> Checking:
        for term in record.mechanisms:
            try:
                is_match = yield from self._matches(domain, term, depth)
            except _NoMatchError:
                continue
            if is_match:
                word = _OF_QUALIFIER[term.qualifier]
                said = (yield from self._explanation(domain, record)) if word is SpfWord.FAIL else ""
                reason = f"{term.text} of {domain} says so"
                return SpfResult(word, reason, term.text, domain, self.lookups, said)
        if record.redirect is not None:
            self._count(record.redirect)
            trouble = _EndError(SpfWord.PERMERROR, f"{record.redirect.text} of {domain} leads to no record")
            try:
                target = yield from self._expanded(record.redirect.domain, domain)
            except _NoMatchError:
                raise trouble from None
            result = yield from self.domain(target, depth + 1)
            if result.word is SpfWord.NONE:
                raise trouble
            return result
        return SpfResult(SpfWord.NEUTRAL, f"no term of {domain} matches", domain=domain, lookups=self.lookups)

    def _matches(self, domain: str, term: Term, depth: int) -> Generator[Question, Found, bool]:
        if term.is_lookup:
            self._count(term)
        match term.name:
            case "all":
                return True
            case "ip4" | "ip6":
                return self._address in ip_network(term.network)
            case "include":
                return (yield from self._includes(domain, term, depth))
            case "a":
                target = yield from self._target(term, domain)
                return (yield from self._leads_here(target, term))
            case "mx":
                return (yield from self._mx(domain, term))
            case "ptr":
                return (yield from self._ptr(domain, term))
            case _:
                target = yield from self._expanded(term.domain, domain)
                found = yield from self._ask(target, "A")
                return bool(found)

    def _includes(self, domain: str, term: Term, depth: int) -> Generator[Question, Found, bool]:
        target = yield from self._expanded(term.domain, domain)
        if depth >= DEPTH_MAX:
            raise _EndError(SpfWord.PERMERROR, f"includes of {domain} are nested too deep")
        self._inside += 1
        result = yield from self.domain(target, depth + 1)
        self._inside -= 1
        if result.word is SpfWord.NONE:
            raise _EndError(SpfWord.PERMERROR, f"{term.text} of {domain} leads to no record")
        return result.word is SpfWord.PASS

    def _explanation(self, domain: str, record: SpfRecord) -> Generator[Question, Found, str]:
        """Why, in the words of the domain; whatever is wrong with them, there are none (RFC 7208 §6.2)."""
        if record.explanation is None or self._inside:
            return ""
        known = self.knows_local_part
        try:
            name = yield from self._expanded(record.explanation.domain, domain)
            found = (yield Question(name, "TXT")) if _is_name(name) else Found()
            if found.has_failed or len(found.values) != 1 or not is_explanation(found.values[0]):
                return ""
            text = yield from self._replaced(found.values[0], domain)
        except (_EndError, _NoMatchError):
            return ""
        finally:
            self.knows_local_part = known  # words about it check nothing
        is_fit = len(text) <= EXPLANATION_OCTETS_MAX and text.isascii() and text.isprintable()
        return text if is_fit else ""

    def _mx(self, domain: str, term: Term) -> Generator[Question, Found, bool]:
        target = yield from self._target(term, domain)
        names = yield from self._ask(target, "MX")
        if len(names) > NAMES_MAX:
            raise _EndError(SpfWord.PERMERROR, f"{target} has more than {NAMES_MAX} exchangers")
        for name in names:
            if name and (yield from self._leads_here(name, term)):
                return True
        return False

    def _ptr(self, domain: str, term: Term) -> Generator[Question, Found, bool]:
        target = (yield from self._target(term, domain)).lower()
        for name in (yield from self._host_names()):
            if _is_below(name, target) and (yield from self._leads_here(name, term)):
                return True
        return False

    def _host_names(self) -> Generator[Question, Found, tuple[str, ...]]:
        """Names of the address, in lower case, that nobody has validated; asked for once."""
        if self._names is None:
            found = yield from self._ask(self._address.reverse_pointer, "PTR", may_fail=True)
            self._names = tuple(name.lower() for name in found[:NAMES_MAX])
        return self._names

    def _leads_here(self, name: str, term: Term) -> Generator[Question, Found, bool]:
        is_4 = self._address.version == 4
        prefix = (
            (term.prefix4 if is_4 else term.prefix6)
            if term.name in {"a", "mx"}
            else self._address.max_prefixlen
        )
        wanted = ip_network(f"{self._address}/{prefix}", strict=False)
        # RFC 7208 §5.5: of the names of an address, those whose own addresses are not told are skipped
        found = yield from self._ask(name, "A" if is_4 else "AAAA", may_fail=term.name == "ptr")
        return any(ip_address(address) in wanted for address in found)

    def _ask(
        self, name: str, kind: Kind, *, may_fail: bool = False
    ) -> Generator[Question, Found, tuple[str, ...]]:
        found = yield Question(name, kind)
        if found.has_failed and may_fail:
            return ()
        if found.has_failed:
            raise _EndError(SpfWord.TEMPERROR, f"the {kind} records of {name} could not be looked up")
        if not found.values:
            self.voids += 1
            if self.voids > VOID_MAX:
                raise _EndError(
                    SpfWord.PERMERROR, f"more than {VOID_MAX} look-ups found nothing, the last of {name}"
                )
        return found.values

    def _count(self, term: Term) -> None:
        self.lookups += 1
        if self.lookups > LOOKUPS_MAX:
            raise _EndError(
                SpfWord.PERMERROR, f"more than {LOOKUPS_MAX} terms with look-ups, {term.text} is the next"
            )

    def _target(self, term: Term, domain: str) -> Generator[Question, Found, str]:
        if not term.domain:
            return domain
        return (yield from self._expanded(term.domain, domain))

    def _expanded(self, text: str, domain: str) -> Generator[Question, Found, str]:
        """`text` with its macros replaced, as a domain name (RFC 7208 §7.3)."""
        self.knows_local_part |= _LOCAL_PART.search(text) is not None
        name = (yield from self._replaced(text, domain)).rstrip(".")
        while "%" in text and len(name) > DOMAIN_OCTETS_MAX and "." in name:
            name = name.partition(".")[2]
        return name

    def _replaced(self, text: str, domain: str) -> Generator[Question, Found, str]:
        """`text` with its macros replaced (RFC 7208 §7.1)."""
        if "%" not in text:
            return text
        parts: list[str] = []
        at = 0
        for found in _MACRO.finditer(text):
            parts.append(text[at : found.start()])
            at = found.end()
            if found[1]:
                value = yield from self._letter(found[1].lower(), domain)
                parts.append(transformed(value, found[1], found[2], found[3], found[4]))
            else:
                parts.append("%" if found[5] else " " if found[6] else "%20")
        return "".join(parts) + text[at:]

    def _letter(self, letter: str, domain: str) -> Generator[Question, Found, str]:
        if letter == "d":
            return domain
        if letter == "p":
            return (yield from self._validated_name(domain))
        if letter in {"l", "s"} and not self._local_part.isascii():
            raise _NoMatchError  # RFC 8616 §4
        return self._letters[letter]

    def _validated_name(self, domain: str) -> Generator[Question, Found, str]:
        """The macro `p`: the domain itself if it can be, else a name below it, else any."""
        if self._validated is None:
            good = []
            for name in (yield from self._host_names()):
                if (yield from self._leads_here(name, _PTR)):
                    good.append(name)  # noqa: PERF401 - a question is asked within
            self._validated = tuple(good)
        own = domain.lower()
        of_own = [name for name in self._validated if name == own] or [
            name for name in self._validated if _is_below(name, own)
        ]
        return (of_own or self._validated or ("unknown",))[0]


def _is_below(name: str, domain: str) -> bool:
    return name == domain or name.endswith(f".{domain}")


def _a_labels(domain: str) -> str:
    """A sender's domain as DNS knows it (RFC 8616 §4); what has no such form stays as it is."""
    if domain.isascii():
        return domain
    try:
        return parse_domain(domain)
    except AddressError:
        return domain


def _is_name(domain: str) -> bool:
    if domain[:1] == "[" or not domain.isascii():
        return False  # an address literal, of which nobody publishes anything (RFC 7208 §4.3), or no name
    labels = domain.split(".")
    return (
        len(labels) > 1 and len(domain) <= DOMAIN_OCTETS_MAX and all(0 < len(label) < 64 for label in labels)
    )
