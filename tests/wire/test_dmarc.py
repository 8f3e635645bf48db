"""DMARC: records, which of them counts, and the organizational domain without a list of suffixes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from outrider.wire.dmarc import (
    Discovered,
    DmarcError,
    DmarcWord,
    discover,
    domains_to_walk,
    evaluate,
    is_aligned,
    parse_dmarc,
    select,
)

REJECT = (
    "v=DMARC1; p=reject; sp=quarantine; np=none; adkim=s; aspf=s; rua=mailto:a@x.test,mailto:b@x.test; t=y"
)


def walk(zone: dict[str, str | None], domain: str, asked: list[str] | None = None) -> Discovered:
    """`zone`: texts by domain; None is a look-up that fails."""
    walking = discover(domain)
    try:
        name = next(walking)
        while True:
            if asked is not None:
                asked.append(name)
            text = zone.get(name.removeprefix("_dmarc."), "")
            name = walking.send(((text,) if text else (), text is None))
    except StopIteration as end:
        found: Discovered = end.value
        return found


def found(text: str, domain: str = "shop.test", organizational: str = "shop.test") -> Discovered:
    """The record that counts for a domain."""
    return Discovered(domain, parse_dmarc(text), organizational, organizational)


def test_a_record_is_read() -> None:
    record = parse_dmarc(REJECT)
    assert (record.policy, record.subdomain_policy, record.nonexistent_policy) == (
        "reject",
        "quarantine",
        "none",
    )
    assert (record.is_strict_dkim, record.is_strict_spf, record.is_testing) == (True, True, True)
    assert record.aggregate == ("mailto:a@x.test", "mailto:b@x.test")
    plain = parse_dmarc("v=DMARC1;p=Quarantine;pct=50;ri=3600")
    assert (plain.policy, plain.subdomain_policy, plain.old_tags) == (
        "quarantine",
        "quarantine",
        ("pct", "ri"),
    )
    assert parse_dmarc("v=DMARC1; p=odd; rua=mailto:a@x.test").policy == "none"
    assert parse_dmarc("v=DMARC1; rua=mailto:a@x.test").policy == "none"


@pytest.mark.parametrize(
    "text",
    [
        "v=DMARC1",
        "v=DMARC1; p=odd",
        "p=none; v=DMARC1",
        "; v=DMARC1; p=none",
        "v=DMARC2; p=none",
        "v=DMARC1; p=none; p=none",
        "",
    ],
)
def test_what_receivers_do_not_use(text: str) -> None:
    with pytest.raises(DmarcError):
        parse_dmarc(text)


def test_what_is_no_tag_does_not_spoil_the_rest() -> None:
    record = parse_dmarc("v=DMARC1\t; p=reject;; rua mailto:a@x.test; 1=2; aspf=s; new=tag;")
    assert (record.policy, record.is_strict_spf, record.broken) == (
        "reject",
        True,
        ("rua mailto:a@x.test", "1=2"),
    )
    assert select(["v=DMARC1\t; p=reject"]) is not None


def test_several_records_are_none() -> None:
    assert select(["other", "v=DMARC1; p=none"]) is not None
    assert select(["other"]) is None
    with pytest.raises(DmarcError, match="2 DMARC records"):
        select(["v=DMARC1; p=none", "v=DMARC1; p=reject"])


@pytest.mark.parametrize(
    ("zone", "domain", "record_domain", "organizational", "policy"),
    [
        ({"shop.example": "v=DMARC1; p=none"}, "shop.example", "shop.example", "shop.example", "none"),
        ({"shop.example": REJECT}, "a.b.shop.example", "shop.example", "shop.example", "quarantine"),
        (
            {"b.shop.example": "v=DMARC1; p=none", "shop.example": REJECT},
            "b.shop.example",
            "b.shop.example",
            "shop.example",
            "none",
        ),
        ({}, "shop.example", "", "shop.example", ""),
        (
            {"b.shop.example": "v=DMARC1; p=none; psd=n", "shop.example": REJECT},
            "a.b.shop.example",
            "b.shop.example",
            "b.shop.example",
            "none",
        ),
        (
            {"bank.example": "v=DMARC1; p=reject; psd=y"},
            "mail.shop.bank.example",
            "bank.example",
            "shop.bank.example",
            "reject",
        ),
        (
            {"b.shop.bank.example": "v=DMARC1; p=none", "bank.example": "v=DMARC1; p=reject; psd=y"},
            "a.b.shop.bank.example",
            "bank.example",
            "shop.bank.example",
            "reject",
        ),
    ],
)
def test_which_record_counts(
    zone: dict[str, str | None], domain: str, record_domain: str, organizational: str, policy: str
) -> None:
    found = walk(zone, domain)
    assert (found.record_domain, found.organizational_domain) == (record_domain, organizational)
    assert found.applied_policy == policy


@pytest.mark.parametrize(
    ("text", "domain", "is_asked", "policies"),
    [
        ("v=DMARC1; p=none; np=reject", "gone.shop.example", True, ("none", "reject")),
        ("v=DMARC1; p=none; sp=quarantine; np=reject", "gone.shop.example", True, ("quarantine", "reject")),
        ("v=DMARC1; p=none; sp=quarantine", "gone.shop.example", False, ("quarantine", "quarantine")),
        ("v=DMARC1; p=none; np=reject", "shop.example", False, ("none", "none")),
    ],
)
def test_a_domain_that_does_not_exist_may_have_a_policy_of_its_own(
    text: str, domain: str, is_asked: bool, policies: tuple[str, str]
) -> None:
    known = walk({"shop.example": text}, domain)
    assert known.needs_existence is is_asked
    assert (known.applied_policy, replace(known, is_absent=True).applied_policy) == policies


def test_the_walk_is_bounded() -> None:
    asked: list[str] = []
    walk({}, ".".join("abcdefghijklmnopq") + ".example", asked)
    assert len(asked) == 8
    assert asked[1] == "_dmarc.l.m.n.o.p.q.example"


def test_a_look_up_that_fails_settles_nothing_and_a_broken_record_is_told() -> None:
    assert walk({"shop.example": None}, "shop.example").has_failed
    found = walk({"shop.example": "v=DMARC1; p=odd", "example": "v=DMARC1; p=none; psd=y"}, "shop.example")
    assert found.faults == ("_dmarc.shop.example: p=odd is no policy",)


@pytest.mark.parametrize(
    ("identifier", "strict", "aligned"),
    [
        ("news.shop.example", True, True),
        ("shop.example", False, True),
        ("Shop.Example", False, True),
        ("other.shop.example", False, True),
        ("shop.example", True, False),
        ("notshop.example", False, False),
        ("example", False, False),
    ],
)
def test_alignment(identifier: str, strict: bool, aligned: bool) -> None:
    author = found("v=DMARC1; p=none", "news.shop.example", "shop.example")
    walked = dict.fromkeys(domains_to_walk(author, [identifier]), "shop.example")
    assert is_aligned(identifier, author, strict=strict, walked=walked) is aligned


@pytest.mark.parametrize(
    ("zone", "author", "identifier", "aligned"),
    [
        ({"shop.example": "v=DMARC1; p=none"}, "shop.example", "a.b.shop.example", True),
        ({"shop.example": "v=DMARC1; p=none"}, "x.y.shop.example", "y.shop.example", True),
        ({"shop.example": "v=DMARC1; p=none"}, "x.shop.example", "example", False),
        # whoever rents a name of a host does not speak for the host
        ({"host.example": "v=DMARC1; p=none; psd=y"}, "host.example", "evil.host.example", False),
        ({"host.example": "v=DMARC1; p=none; psd=y"}, "a.host.example", "evil.host.example", False),
        ({"host.example": "v=DMARC1; p=none; psd=y"}, "a.host.example", "m.a.host.example", True),
        # nor a department that stands for itself
        (
            {"shop.example": "v=DMARC1; p=none", "lab.shop.example": "v=DMARC1; p=none; psd=n"},
            "shop.example",
            "x.lab.shop.example",
            False,
        ),
        ({"shop.example": "v=DMARC1; p=none; adkim=s"}, "shop.example", "a.shop.example", False),
    ],
)
def test_domains_are_aligned_that_have_one_organizational_domain(
    zone: dict[str, str | None], author: str, identifier: str, aligned: bool
) -> None:
    known = walk(zone, author)
    walked = {each: walk(zone, each).organizational_domain for each in domains_to_walk(known, [identifier])}
    assert (evaluate(known, [identifier], walked=walked).word is DmarcWord.PASS) is aligned


def test_an_organizational_domain_that_could_not_be_found_settles_nothing() -> None:
    assert evaluate(found("v=DMARC1; p=none"), ["a.shop.test"], walked={"a.shop.test": ""}).word is (
        DmarcWord.TEMPERROR
    )


def test_only_domains_are_walked_that_may_be_others() -> None:
    author = found("v=DMARC1; p=none", "news.shop.example", "shop.example")
    names = ["news.shop.example", "shop.example", "other.test", "a.shop.example", "a.shop.example"]
    assert domains_to_walk(author, names) == ("a.shop.example",)
    strict = found("v=DMARC1; p=none; adkim=s; aspf=s", "news.shop.example", "shop.example")
    assert domains_to_walk(strict, names) == ()


@given(st.text(max_size=100))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        record = parse_dmarc(f"v=DMARC1; {text}")
    except DmarcError:
        return
    assert record.policy in {"none", "quarantine", "reject"}


@pytest.mark.parametrize(
    ("record", "signers", "spf_domain", "aligned"),
    [
        ("v=DMARC1; p=none", ["shop.test"], "", (("dkim", "shop.test"),)),
        ("v=DMARC1; p=none", ["mail.shop.test"], "", (("dkim", "mail.shop.test"),)),
        ("v=DMARC1; p=none; adkim=s", ["mail.shop.test"], "", ()),
        ("v=DMARC1; p=none", [], "bounces.shop.test", (("spf", "bounces.shop.test"),)),
        ("v=DMARC1; p=none; aspf=s", [], "bounces.shop.test", ()),
        ("v=DMARC1; p=none", ["other.test"], "evilshop.test", ()),
    ],
)
def test_a_check_counts_only_for_the_domain_that_it_speaks_for(
    record: str, signers: list[str], spf_domain: str, aligned: tuple[tuple[str, str], ...]
) -> None:
    known = found(record)
    walked = dict.fromkeys(domains_to_walk(known, [*signers, spf_domain]), "shop.test")
    result = evaluate(known, signers, spf_domain, walked=walked)
    assert result.aligned == aligned
    assert result.word is (DmarcWord.PASS if aligned else DmarcWord.FAIL)


def test_what_is_asked_of_receivers_is_the_policy_of_the_domain() -> None:
    text = "v=DMARC1; p=reject; sp=quarantine; t=y"
    result = evaluate(found(text, domain="news.shop.test"), [])
    assert (result.word, result.policy, result.is_testing) == (DmarcWord.FAIL, "quarantine", True)


@pytest.mark.parametrize(
    ("found", "unsettled", "word"),
    [
        (Discovered("a.test", None, "", "a.test"), (), DmarcWord.NONE),
        (Discovered("a.test", None, "", "a.test", has_failed=True), (), DmarcWord.TEMPERROR),
        (Discovered("a.test", None, "", "a.test", faults=("two records",)), (), DmarcWord.PERMERROR),
        (found("v=DMARC1; p=none"), (("dkim", "shop.test"),), DmarcWord.TEMPERROR),
        (found("v=DMARC1; p=none"), (("spf", "b.shop.test"),), DmarcWord.TEMPERROR),
        (found("v=DMARC1; p=none; aspf=s"), (("spf", "b.shop.test"),), DmarcWord.FAIL),
        (found("v=DMARC1; p=none; aspf=s"), (("dkim", "b.shop.test"),), DmarcWord.TEMPERROR),
        (found("v=DMARC1; p=none"), (), DmarcWord.FAIL),
        # whoever forges signs under a name of his own that nobody answers for
        (found("v=DMARC1; p=none"), (("dkim", "evil.test"), ("spf", "evil.test")), DmarcWord.FAIL),
    ],
)
def test_what_is_not_known_is_not_called_a_failure(
    found: Discovered, unsettled: tuple[tuple[str, str], ...], word: DmarcWord
) -> None:
    walked = dict.fromkeys(domains_to_walk(found, [domain for _, domain in unsettled]), "shop.test")
    assert evaluate(found, [], walked=walked, unsettled=unsettled).word is word
