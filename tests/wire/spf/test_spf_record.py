"""SPF records: what is read, and what makes a record void."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.wire.spf.record import SpfError, parse_spf, select


def test_a_record_is_read_term_by_term() -> None:
    record = parse_spf(
        "v=spf1 +ip4:192.0.2.0/24  -ip6:2001:db8::/32 a mx:mail.x.test/28//64 ?include:_spf.%{d2} "
        "exists:%{ir}.list.test ptr ~ALL redirect=other.test exp=why.%{d} unknown=%{s}"
    )
    assert [(term.qualifier, term.name) for term in record.mechanisms] == [
        ("+", "ip4"),
        ("-", "ip6"),
        ("+", "a"),
        ("+", "mx"),
        ("?", "include"),
        ("+", "exists"),
        ("+", "ptr"),
        ("~", "all"),
    ]
    assert (record.mechanisms[3].domain, record.mechanisms[3].prefix4, record.mechanisms[3].prefix6) == (
        "mail.x.test",
        28,
        64,
    )
    assert record.redirect is not None
    assert record.explanation is not None
    assert (record.redirect.domain, record.explanation.domain) == ("other.test", "why.%{d}")


@pytest.mark.parametrize(
    "text",
    [
        "v=spf10 all",
        "v=spf1 foo",
        "v=spf1 all:x.test",
        "v=spf1 all/24",
        "v=spf1 ip4:300.0.0.1",
        "v=spf1 ip4:2001:db8::1",
        "v=spf1 ip6:192.0.2.1",
        "v=spf1 ip4:",
        "v=spf1 ip4/192.0.2.1",
        "v=spf1 ip4:192.0.2.1/032",
        "v=spf1 ip4:192.0.2.0/255.255.255.0",
        "v=spf1 ip4:192.0.2.0/0.0.0.255",
        "v=spf1 ip6:fe80::1%1",
        "v=spf1 ip6:2001:db8::/064",
        "v=spf1 ip4:192.0.2.1/33",
        "v=spf1 a:",
        "v=spf1 a/33",
        "v=spf1 a//129",
        "v=spf1 a/24/64",
        "v=spf1 a:mail.x.test/024",
        "v=spf1 ptr/24",
        "v=spf1 a:test",
        "v=spf1 a:test.",
        "v=spf1 a:x.-test",
        "v=spf1 a:x.test-",
        "v=spf1 mx:192.0.2.1",
        "v=spf1 a:%{d}test",
        "v=spf1 include:x",
        "v=spf1 exists:%{d0}.test",
        "v=spf1 exists:%{c}.test",
        "v=spf1 -all exp=%{r}.x.test",
        "v=spf1 redirect=-all ?all",
        "v=spf1 x=%{q}",
        "v=spf1 include",
        "v=spf1 include:",
        "v=spf1 include:x.test/24",
        "v=spf1 exists:%{x}.test",
        "v=spf1 exists:%",
        "v=spf1 redirect=",
        "v=spf1 redirect=a.test redirect=b.test",
        "v=spf1 exp=a.test exp=b.test",
        "v=spf1 --all",
        "v=spf1 a\tmx",
        "v=spf1 \xe4",
        "v=spf1 " + "a " * 3000,
    ],
)
def test_an_error_makes_a_record_void(text: str) -> None:
    with pytest.raises(SpfError):
        parse_spf(text)


@pytest.mark.parametrize(
    ("text", "domain", "prefixes"),
    [
        ("a:odd:name/with.x.test", "odd:name/with.x.test", (32, 128)),
        ("mx:%{l/}.x.test/24//64", "%{l/}.x.test", (24, 64)),
        ("a:x.1-2", "x.1-2", (32, 128)),
        ("a:x.test.", "x.test.", (32, 128)),
        ("a:x%%", "x%%", (32, 128)),
        ("a:%{d099R.-}", "%{d099R.-}", (32, 128)),
        ("a/0//0", "", (0, 0)),
    ],
)
def test_domains_and_prefixes_are_told_apart(text: str, domain: str, prefixes: tuple[int, int]) -> None:
    (term,) = parse_spf(f"v=spf1 {text}").mechanisms
    assert (term.domain, (term.prefix4, term.prefix6)) == (domain, prefixes)


def test_an_unknown_modifier_may_hold_any_macro() -> None:
    assert parse_spf("v=spf1 more=/%{c}:%{R}%_x -all").mechanisms[0].name == "all"


def test_one_record_is_chosen_among_the_texts() -> None:
    assert select(["other", "V=SPF1 -all", "v=spf10", "spf2.0/pra -all"]) == "V=SPF1 -all"
    assert select(["v=spf1"]) == "v=spf1"
    assert select(["other"]) is None
    with pytest.raises(SpfError, match="2 SPF records"):
        select(["v=spf1 -all", "v=spf1 +all"])


@given(st.text(max_size=80))
def test_any_text_is_read_or_void(text: str) -> None:
    try:
        record = parse_spf(f"v=spf1 {text}")
    except SpfError:
        return
    assert all(term.text in text for term in record.mechanisms)
