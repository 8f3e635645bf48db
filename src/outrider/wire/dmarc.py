"""DMARC records: what a domain asks of receivers whose checks failed, and whose record counts for a domain.

In: texts from anybody; answers to the questions that `discover` yields. Out: a record, and the organizational
domain, which is found by walking up the tree of names; no list of public suffixes is needed. `evaluate` says
what a message's checks are worth by them.

Standards: RFC 9989 §4 (identifiers, records and discovery), RFC 9989 §5.3 (what receivers do).
Not here: reports; who may receive them.
"""

import re
from collections.abc import Generator, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import msgspec

from outrider.base.errors import RemoteProtocolError
from outrider.wire.dkim.tags import TagError, parse_tags

POLICIES: Final = ("none", "quarantine", "reject")
LABELS_MAX: Final = 8
"""RFC 9989 §4: a walk asks for at most so many names."""

OLD_TAGS: Final = ("pct", "rf", "ri")
"""Of the document before RFC 9989, which took them out."""

_VERSION: Final = re.compile(r"[ \t]*v[ \t]*=[ \t]*DMARC1[ \t]*(?:;|\Z)")
_TAG: Final = re.compile(r"[ \t\r\n]*[A-Za-z][A-Za-z0-9_]*[ \t\r\n]*=")
_IN_URI: Final = r"A-Za-z0-9._~:/?#\[\]$&'()*+;=%-"
_URI: Final = re.compile(
    rf"(?:(?!mailto:)[a-z][a-z0-9+.-]*:|mailto:[{_IN_URI}]+@)[{_IN_URI}@]+(?:![0-9]+[kmgt]?)?", re.IGNORECASE
)
# RFC 9989 §4.8, with the size at its end that means nothing any more
_NONE_WALKED: Final[Mapping[str, str]] = MappingProxyType({})


class DmarcError(RemoteProtocolError):
    """A record that receivers do not use."""


class SeveralError(DmarcError):
    """There are several records for one name, and all of them are passed over."""


class DmarcRecord(msgspec.Struct, frozen=True):
    """A record.

    Attributes:
        text: All of it.
        policy: `p=`.
        subdomain_policy: `sp=`, or `policy`.
        nonexistent_policy: `np=`, or `subdomain_policy`.
        is_strict_dkim: `adkim=s`.
        is_strict_spf: `aspf=s`.
        is_testing: `t=y`.
        public_suffix: `psd=`: `y`, `n` or `u`.
        aggregate: Addresses of `rua=`.
        failure: Addresses of `ruf=`.
        old_tags: Tags that mean nothing any more.
        broken: Parts that are no tags, and are passed over.
        void: Tags whose policy is none, so that all three are taken for `none`.
    """

    text: str
    policy: str
    subdomain_policy: str
    nonexistent_policy: str
    is_strict_dkim: bool = False
    is_strict_spf: bool = False
    is_testing: bool = False
    public_suffix: str = "u"
    aggregate: tuple[str, ...] = ()
    failure: tuple[str, ...] = ()
    old_tags: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    void: tuple[str, ...] = ()


class Discovered(msgspec.Struct, frozen=True):
    """What counts for a domain.

    Attributes:
        domain: The domain.
        record: The record, None where there is none.
        record_domain: Whose it is.
        organizational_domain: For relaxed alignment; empty where a look-up failed.
        has_failed: A look-up failed, so that it is not known which record counts or, where the domain has one
            itself, which is the organizational domain.
        is_absent: The domain has neither addresses nor exchangers; see `needs_existence`.
        faults: Records on the way that cannot be used.
    """

    domain: str
    record: DmarcRecord | None
    record_domain: str
    organizational_domain: str
    has_failed: bool = False
    faults: tuple[str, ...] = ()
    is_absent: bool = False

    @property
    def needs_existence(self) -> bool:
        """The policy is another one for a domain that does not exist, so that it is to be found out."""
        record = self.record
        return (
            record is not None
            and self.record_domain != self.domain
            and record.nonexistent_policy != record.subdomain_policy
        )

    @property
    def applied_policy(self) -> str:
        """What receivers are asked to do with mail of the domain; empty without a record."""
        if self.record is None:
            return ""
        if self.record_domain == self.domain:
            return self.record.policy
        return self.record.nonexistent_policy if self.is_absent else self.record.subdomain_policy


def is_dmarc(text: str) -> bool:
    """True for a text that is meant to be a DMARC record."""
    return _VERSION.match(text) is not None


def parse_dmarc(text: str) -> DmarcRecord:
    """The record that a text is; what is no tag in it does not spoil the rest (RFC 9989 §4).

    Raises:
        DmarcError: Receivers do not use it.
    """
    if not is_dmarc(text):
        raise DmarcError("v=DMARC1 does not stand first")
    parts = text.split(";")
    try:
        tags = parse_tags(";".join([part for part in parts if _TAG.match(part)]))
    except TagError as error:
        raise DmarcError(error.message) from error
    policies = {name: tags[name].lower() for name in ("p", "sp", "np") if name in tags}
    void = tuple(f"{name}={word[:20]}" for name, word in policies.items() if word not in POLICIES)
    if void or "p" not in policies:
        # RFC 9989 §4.10.1: who asks for reports is taken to ask for nothing else
        if not any(map(_URI.fullmatch, _addresses(tags, "rua"))):
            raise DmarcError(f"{' and '.join(void)} is no policy" if void else "p= is missing")
        policies = {"p": "none"}
    policy = policies["p"]
    subdomain = policies.get("sp", policy)
    suffix = tags.get("psd", "u").lower()
    return DmarcRecord(
        text,
        policy,
        subdomain,
        policies.get("np", subdomain),
        tags.get("adkim", "r").lower() == "s",
        tags.get("aspf", "r").lower() == "s",
        tags.get("t", "n").lower() == "y",
        suffix if suffix in {"y", "n"} else "u",
        _addresses(tags, "rua"),
        _addresses(tags, "ruf"),
        tuple(name for name in OLD_TAGS if name in tags),
        tuple(part.strip()[:40] for part in parts if part.strip() and not _TAG.match(part)),
        void,
    )


def _addresses(tags: dict[str, str], name: str) -> tuple[str, ...]:
    return tuple(word for word in (each.strip() for each in tags.get(name, "").split(",")) if word)


def select(texts: Sequence[str]) -> DmarcRecord | None:
    """The record among the texts of a `_dmarc` name; None where there is none.

    Raises:
        SeveralError: There are several.
        DmarcError: It cannot be used.
    """
    found = [text for text in texts if is_dmarc(text)]
    if len(found) > 1:
        raise SeveralError(f"there are {len(found)} DMARC records, and only one may be")
    return parse_dmarc(found[0]) if found else None


def discover(domain: str) -> Generator[str, tuple[tuple[str, ...], bool], Discovered]:
    """Find the record that counts for a domain, and its organizational domain, by the walk up the tree.

    Yields names whose texts are wanted; is sent (texts, the look-up failed).

    Args:
        domain: In lower case, A-labels.
    """
    labels = domain.split(".")
    names = [domain]
    rest = labels[1:] if len(labels) <= LABELS_MAX else labels[-(LABELS_MAX - 1) :]
    names += [".".join(rest[start:]) for start in range(len(rest))]
    records: dict[str, DmarcRecord] = {}
    unusable: set[str] = set()
    faults: list[str] = []
    for name in names:
        texts, has_failed = yield f"_dmarc.{name}"
        if has_failed:
            own = records.get(domain)
            return Discovered(domain, own, domain if own else "", "", has_failed=True)
        try:
            record = select(texts)
        except DmarcError as error:
            faults.append(f"_dmarc.{name}: {error.message}")
            if not isinstance(error, SeveralError):
                unusable.add(name)
            continue
        if record is not None:
            records[name] = record
            if record.public_suffix != "u":
                break
    organizational = _organizational(domain, records)
    suffixes = [name for name, record in records.items() if record.public_suffix == "y"]
    for name in (domain, organizational, *suffixes):
        if name in unusable:  # RFC 9989 §4.10.1: no other record stands in for it
            break
        if name in records:
            return Discovered(domain, records[name], name, organizational, faults=tuple(faults))
    return Discovered(domain, None, "", organizational, faults=tuple(faults))


def _organizational(domain: str, records: dict[str, DmarcRecord]) -> str:
    for name, record in records.items():
        if record.public_suffix == "n":
            return name
        if record.public_suffix == "y" and name != domain:
            below = domain.removesuffix(f".{name}").rpartition(".")[2]
            return f"{below}.{name}"
    return list(records)[-1] if records else domain


def domains_to_walk(found: Discovered, domains: Sequence[str]) -> tuple[str, ...]:
    """The checked domains whose own organizational domain must be found, to know whether they are aligned.

    Those at or below the author's organizational domain, unless the author's walk has asked for them: they
    may be others' (`psd=`).

    Args:
        found: The record that counts for the author's domain.
        domains: In lower case.
    """
    record = found.record
    if record is None or found.has_failed or (record.is_strict_dkim and record.is_strict_spf):
        return ()
    organizational = f".{found.organizational_domain}"
    return tuple(
        domain
        for domain in dict.fromkeys(domains)
        if domain != found.domain
        and f".{domain}".endswith(organizational)
        and not _was_asked_for(domain, found.domain)
    )


def _was_asked_for(domain: str, author: str) -> bool:
    """The walk from the author's domain has asked for another one's record."""
    return f".{author}".endswith(f".{domain}") and domain.count(".") < LABELS_MAX - 1


def is_aligned(
    identifier: str, found: Discovered, *, strict: bool, walked: Mapping[str, str] = _NONE_WALKED
) -> bool:
    """True when a checked domain speaks for the author's, as far as look-ups tell.

    Args:
        identifier: `d=` of a signature, or the domain that SPF passed for.
        found: The record that counts for the author's domain.
        strict: Only the same domain counts.
        walked: Organizational domains of those that `domains_to_walk` names; empty where a look-up failed.
    """
    identifier = identifier.lower()
    if identifier == found.domain:
        return True
    if strict or found.has_failed:
        return False
    if _was_asked_for(identifier, found.domain):
        return f".{identifier}".endswith(f".{found.organizational_domain}")
    return walked.get(identifier) == found.organizational_domain


def _is_open(identifier: str, found: Discovered, walked: Mapping[str, str]) -> bool:
    """A look-up failed that would have told whether both have one organizational domain."""
    if found.has_failed:  # that of the author is one of the names that his own ends in
        return found.domain.rpartition(".")[2] == identifier.rpartition(".")[2]
    return walked.get(identifier) == ""


class DmarcWord(StrEnum):
    """Words for `dmarc=` in results (RFC 9989 §4)."""

    NONE = "none"
    PASS = "pass"  # noqa: S105 - a word of the standard
    FAIL = "fail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class DmarcResult(msgspec.Struct, frozen=True):
    """What the checks of a message are worth for its author's domain.

    Attributes:
        word: The result.
        reason: Why, in words.
        domain: The author's; empty where From names no one domain.
        policy: What the record asks of receivers; empty without a record.
        is_testing: The record asks to have its policy not applied (`t=y`).
        aligned: The checked domains that speak for the author's: pairs of method and domain.
    """

    word: DmarcWord
    reason: str
    domain: str = ""
    policy: str = ""
    is_testing: bool = False
    aligned: tuple[tuple[str, str], ...] = ()


def evaluate(
    found: Discovered,
    signers: Sequence[str],
    spf_domain: str = "",
    *,
    walked: Mapping[str, str] = _NONE_WALKED,
    unsettled: Sequence[tuple[str, str]] = (),
) -> DmarcResult:
    """Whether a checked domain speaks for the author's.

    Args:
        found: The record that counts for the author's domain.
        signers: Domains of signatures that hold.
        spf_domain: That SPF passed for; empty where it did not.
        walked: See `is_aligned`.
        unsettled: Pairs of method and domain of checks that got no answer, and may pass another time.
    """
    record = found.record
    if record is None:
        if found.has_failed:
            return DmarcResult(DmarcWord.TEMPERROR, "the record could not be looked up", found.domain)
        if found.faults:
            return DmarcResult(DmarcWord.PERMERROR, "; ".join(found.faults), found.domain)
        return DmarcResult(DmarcWord.NONE, "there is no record", found.domain)
    is_strict = {"dkim": record.is_strict_dkim, "spf": record.is_strict_spf}
    checked = [("dkim", domain) for domain in dict.fromkeys(signers)]
    if spf_domain:
        checked.append(("spf", spf_domain))
    aligned = tuple(
        (method, domain)
        for method, domain in checked
        if is_aligned(domain, found, strict=is_strict[method], walked=walked)
    )
    may_pass = any(  # whatever comes of others: they could not speak for the author
        is_aligned(domain, found, strict=is_strict[method], walked=walked)
        or (not is_strict[method] and _is_open(domain, found, walked))
        for method, domain in (*checked, *unsettled)
    )
    if aligned:
        word, reason = DmarcWord.PASS, ""
    elif may_pass:
        word, reason = DmarcWord.TEMPERROR, "no aligned check passed, and one got no answer"
    else:
        word, reason = DmarcWord.FAIL, "no check passed for the domain of From"
    return DmarcResult(word, reason, found.domain, found.applied_policy, record.is_testing, aligned)
