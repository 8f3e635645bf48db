"""DMARC at its borders: records that are odd, broken or several, long names, and what of the walk counts."""

import pytest

from outrider.wire.dmarc import (
    DmarcError,
    DmarcWord,
    discover,
    domains_to_walk,
    evaluate,
    parse_dmarc,
    select,
)
from tests.wire.test_dmarc import found, walk

RUA = "; rua=mailto:a@x.test"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("v=DMARC1; p=none", id="plain"),
        pytest.param("v=DMARC1;p=none", id="no space"),
        pytest.param("v=DMARC1;p=none;", id="semicolon at the end"),
        pytest.param("v=DMARC1;p=none; ", id="semicolon and space"),
        pytest.param("v = DMARC1 ; p = none", id="spaces"),
        pytest.param("v\t=\tDMARC1\t;\tp\t=\tnone", id="tabs"),
        pytest.param("v=DMARC1; p=NONE", id="case of a policy"),
        pytest.param("v=DMARC1; rua=mailto:a@x.test; p=none", id="p not second"),
        pytest.param("v=DMARC1; p=none; unknown=x; y=", id="unknown tags"),
        pytest.param("v=DMARC1; p=none; fo=odd; adkim=x; aspf=; t=maybe; psd=x", id="values that are none"),
        pytest.param("v=DMARC1; p=none; rua=; ruf=,", id="no addresses"),
        pytest.param("v=DMARC1; p=none; P=reject", id="names in another case are unknown"),
        pytest.param("v=DMARC1; p=none; rua=mailto:\xfc@x.test", id="beyond ASCII"),
        pytest.param("v=DMARC1; p=none; pct=200; rf=x; ri=-1", id="old tags with any value"),
    ],
)
def test_odd_records_are_read_as_by_everybody(text: str) -> None:
    record = select(["other", text])
    assert record is not None
    assert (record.policy, record.subdomain_policy, record.nonexistent_policy) == ("none",) * 3
    assert (record.is_strict_dkim, record.is_strict_spf, record.is_testing) == (False, False, False)
    assert (record.public_suffix, record.void) == ("u", ())


@pytest.mark.parametrize(
    "text",
    [
        "v=dmarc1; p=none",
        "v=DMARC1p=none",
        "v=DMARC1 p=none",
        "v=DMARC1, p=none",
        "v=DMARC10; p=none",
        "v=D MARC1; p=none",
        "v v=DMARC1; p=none",
        "p=none; v=DMARC1",
        "x=y; v=DMARC1; p=none",
        '"v=DMARC1; p=none"',
        "DMARC1; p=none",
        "v=DMARC1=; p=none",
        "v=spf1 -all",
    ],
)
def test_what_does_not_begin_as_a_record_is_none(text: str) -> None:
    assert select([text]) is None
    assert select([text, "v=DMARC1; p=none"]) is not None


@pytest.mark.parametrize(
    ("tags", "void"),
    [
        pytest.param("p=odd", ("p=odd",), id="p"),
        pytest.param("p=", ("p=",), id="p empty"),
        pytest.param("sp=reject", (), id="no p"),
        pytest.param("p=reject; sp=odd", ("sp=odd",), id="sp"),
        pytest.param("p=reject; sp=", ("sp=",), id="sp empty"),
        pytest.param("p=reject; np=odd", ("np=odd",), id="np"),
        pytest.param("p=reject; sp=x; np=y", ("sp=x", "np=y"), id="both"),
        pytest.param("p=reject, sp=none", ("p=reject, sp=none",), id="comma"),
    ],
)
def test_a_policy_that_is_none_makes_all_three_none_or_the_record_useless(
    tags: str, void: tuple[str, ...]
) -> None:
    # RFC 9989 §4.10.1
    with pytest.raises(DmarcError, match=r"is no policy|p= is missing"):
        parse_dmarc(f"v=DMARC1; {tags}")
    record = parse_dmarc(f"v=DMARC1; {tags}{RUA}")
    assert (record.policy, record.subdomain_policy, record.nonexistent_policy) == ("none",) * 3
    assert record.void == void


@pytest.mark.parametrize(
    ("rua", "is_used"),
    [
        ("mailto:a@x.test", True),
        ("MAILTO:a@x.test", True),
        ("mailto:a@x.test!10m", True),
        ("mailto:a%2Cb@x.test?subject=x", True),
        ("junk, mailto:a@x.test", True),
        ("https://x.test/report", True),
        ("a@x.test", False),
        ("mailto:", False),
        ("mailto:a", False),
        ("mailto:@x.test", False),
        ("mailto:a b@x.test", False),
        ("mailto:a@x.test!m", False),
        (":x", False),
        ("1:x", False),
        (",,", False),
        ("mailto:" + "@" * 60_000 + "!", False),
    ],
)
def test_only_an_address_that_is_one_saves_a_record(rua: str, is_used: bool) -> None:
    try:
        parse_dmarc(f"v=DMARC1; p=odd; rua={rua}")
    except DmarcError:
        assert not is_used
    else:
        assert is_used


@pytest.mark.parametrize(
    ("zone", "domain", "record_domain", "organizational"),
    [
        pytest.param(
            {"host.example": "v=DMARC1; p=none; psd=y", "example": "v=DMARC1; p=reject"},
            *("host.example", "host.example", "host.example"),
            id="a suffix's own walk ends at itself",
        ),
        pytest.param(
            {"a.host.example": "v=DMARC1; p=none; psd=n", "host.example": "v=DMARC1; p=none; psd=y"},
            *("a.host.example", "a.host.example", "a.host.example"),
            id="one that stands for itself below a suffix",
        ),
        pytest.param(
            {"x.shop.example": "v=DMARC1; p=none", "example": "v=DMARC1; p=none"},
            *("a.x.shop.example", "example", "example"),
            id="the shortest name of all",
        ),
        pytest.param(
            {"shop.example": "v=DMARC1; p=none; psd=N"},
            *("a.shop.example", "shop.example", "shop.example"),
            id="case of psd",
        ),
        pytest.param(
            {"a.shop.example": "v=DMARC1; p=odd", "shop.example": "v=DMARC1; p=reject"},
            *("a.shop.example", "", "shop.example"),
            id="nothing stands in for a useless record",
        ),
        pytest.param(
            {"shop.example": "v=DMARC1; p=odd", "example": "v=DMARC1; p=reject; psd=y"},
            *("a.shop.example", "", "shop.example"),
            id="nor for that of the organization",
        ),
        pytest.param(
            {"x.shop.example": "v=DMARC1; p=odd", "shop.example": "v=DMARC1; p=reject"},
            *("a.x.shop.example", "shop.example", "shop.example"),
            id="a useless one that does not count",
        ),
        pytest.param(
            {"a.shop.example": f"v=DMARC1; p=odd{RUA}", "shop.example": "v=DMARC1; p=reject"},
            *("a.shop.example", "a.shop.example", "shop.example"),
            id="a broken one that is used all the same",
        ),
        pytest.param(
            {"c.d.e.f.g.h.example": "v=DMARC1; p=none"},
            *("a.b.c.d.e.f.g.h.example", "c.d.e.f.g.h.example", "c.d.e.f.g.h.example"),
            id="seven labels of nine",
        ),
        pytest.param(
            {"b.c.d.e.f.g.h.example": "v=DMARC1; p=none"},
            *("a.b.c.d.e.f.g.h.example", "", "a.b.c.d.e.f.g.h.example"),
            id="eight labels of nine are never asked for",
        ),
        pytest.param(
            {"b.c.d.e.f.g.example": "v=DMARC1; p=none"},
            *("a.b.c.d.e.f.g.example", "b.c.d.e.f.g.example", "b.c.d.e.f.g.example"),
            id="seven labels of eight",
        ),
        pytest.param({"example": "v=DMARC1; p=none"}, "example", "example", "example", id="one label"),
    ],
)
def test_which_record_counts_at_the_borders(
    zone: dict[str, str | None], domain: str, record_domain: str, organizational: str
) -> None:
    result = walk(zone, domain)
    assert (result.record_domain, result.organizational_domain) == (record_domain, organizational)
    if not record_domain and result.faults:
        assert evaluate(result, [domain]).word is DmarcWord.PERMERROR


def test_several_records_are_passed_over_and_the_walk_goes_on() -> None:
    walking = discover("a.shop.example")
    answers = {
        "_dmarc.a.shop.example": ("v=DMARC1; p=none", "v=DMARC1; p=none"),
        "_dmarc.shop.example": ("junk", "v=DMARC1; p=none; sp=reject"),
    }
    name = next(walking)
    try:
        while True:
            name = walking.send((answers.get(name, ()), False))
    except StopIteration as end:
        result = end.value
    assert (result.record_domain, result.applied_policy) == ("shop.example", "reject")
    assert "2 DMARC records" in result.faults[0]


@pytest.mark.parametrize(
    ("silent", "record", "signers", "word"),
    [
        pytest.param("a.shop.example", "", ["a.shop.example"], DmarcWord.TEMPERROR, id="author"),
        pytest.param("shop.example", "", ["a.shop.example"], DmarcWord.PASS, id="the same domain speaks"),
        pytest.param("shop.example", "", ["shop.example"], DmarcWord.TEMPERROR, id="another may"),
        pytest.param("example", "", ["x.example"], DmarcWord.TEMPERROR, id="another of the suffix may"),
        pytest.param("example", "", ["evil.test", "x.test"], DmarcWord.FAIL, id="a stranger may not"),
        pytest.param("example", "", [], DmarcWord.FAIL, id="nobody does"),
        pytest.param("example", "; adkim=s", ["shop.example"], DmarcWord.FAIL, id="strict"),
    ],
)
def test_a_walk_that_gets_no_answer_leaves_open_only_what_it_would_have_told(
    silent: str, record: str, signers: list[str], word: DmarcWord
) -> None:
    # RFC 9989 §4.10.2, RFC 9989 §5.3.6
    zone: dict[str, str | None] = {"a.shop.example": f"v=DMARC1; p=reject{record}", silent: None}
    known = walk(zone, "a.shop.example")
    assert known.has_failed
    assert domains_to_walk(known, signers) == ()
    result = evaluate(known, signers)
    assert result.word is word
    assert result.policy == ("" if silent == "a.shop.example" else "reject")


def test_a_parent_that_gets_no_answer_hides_which_record_counts() -> None:
    known = walk({"shop.example": None, "example": "v=DMARC1; p=none"}, "a.shop.example")
    assert (known.record, evaluate(known, ["a.shop.example"]).word) == (None, DmarcWord.TEMPERROR)


def test_a_signer_between_the_names_of_the_walk_is_walked_himself() -> None:
    author = "a.b.c.d.e.f.g.shop.example"  # nine labels: the one of eight is not asked for
    signer = author.removeprefix("a.")
    suffix = signer.removeprefix("b.")
    zones: list[tuple[dict[str, str | None], DmarcWord]] = [
        ({"shop.example": "v=DMARC1; p=none"}, DmarcWord.PASS),
        ({"shop.example": "v=DMARC1; p=none", signer: "v=DMARC1; p=none; psd=n"}, DmarcWord.FAIL),
        ({suffix: "v=DMARC1; p=none; psd=y"}, DmarcWord.PASS),  # his name is the organizational domain
    ]
    for zone, word in zones:
        known = walk(zone, author)
        domains = domains_to_walk(known, [signer])
        assert domains == (signer,)
        walked = {each: walk(zone, each).organizational_domain for each in domains}
        assert evaluate(known, [signer], walked=walked).word is word


@pytest.mark.parametrize(
    ("record", "signers", "spf_domain", "word"),
    [
        pytest.param("adkim=s", ["SHOP.test"], "", DmarcWord.PASS, id="case"),
        pytest.param("adkim=s", ["a.shop.test"], "a.shop.test", DmarcWord.PASS, id="strict for one method"),
        pytest.param("adkim=s; aspf=s", ["a.shop.test"], "a.shop.test", DmarcWord.FAIL, id="strict for both"),
        pytest.param("aspf=s", ["a.shop.test"], "", DmarcWord.PASS, id="strict for the other"),
        pytest.param("p=reject", ["test"], "test", DmarcWord.FAIL, id="above the organization"),
        pytest.param("p=reject", ["xshop.test", "shop.test.evil.test"], "", DmarcWord.FAIL, id="look-alikes"),
        pytest.param("p=reject", ["evil.test", "shop.test"], "", DmarcWord.PASS, id="one of several"),
    ],
)
def test_alignment_of_each_method(record: str, signers: list[str], spf_domain: str, word: DmarcWord) -> None:
    known = found(f"v=DMARC1; p=none; {record}" if "p=" not in record else f"v=DMARC1; {record}")
    walked = dict.fromkeys(domains_to_walk(known, [*signers, spf_domain]), "shop.test")
    assert evaluate(known, signers, spf_domain, walked=walked).word is word


def test_a_walk_that_failed_matters_only_where_alignment_is_relaxed() -> None:
    known = found("v=DMARC1; p=none; adkim=s")
    walked = {"a.shop.test": ""}
    assert evaluate(known, ["a.shop.test"], walked=walked).word is DmarcWord.FAIL
    assert evaluate(known, [], "a.shop.test", walked=walked).word is DmarcWord.TEMPERROR
