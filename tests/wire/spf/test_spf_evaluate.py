"""SPF as receivers evaluate it, over tables of records that stand for DNS."""

from collections.abc import Mapping

import pytest

from outrider.wire.spf.evaluate import Found, Question, Sender, SpfResult, SpfWord, check, count_lookups

FAILS = object()
Zone = Mapping[tuple[str, str], object]

MACRO_SENDER = Sender("192.0.2.3", "strong-bad@email.example.com", "mx.example.org")


def answer(zone: Zone, question: Question) -> Found:
    found = zone.get((question.name, question.kind), ())
    if found is FAILS:
        return Found(has_failed=True)
    assert isinstance(found, tuple)
    return Found(found)


def evaluate(zone: Zone, sender: Sender, asked: list[Question] | None = None) -> SpfResult:
    checking = check(sender)
    try:
        question = next(checking)
        while True:
            if asked is not None:
                asked.append(question)
            question = checking.send(answer(zone, question))
    except StopIteration as end:
        found: SpfResult = end.value
        return found


def of(record: str, address: str = "192.0.2.1", extra: Zone | None = None) -> SpfResult:
    zone = {("shop.example", "TXT"): (record,), **(extra or {})}
    return evaluate(zone, Sender(address, "ann@shop.example", "mx.shop.example"))


ADDRESSES: Zone = {
    ("shop.example", "A"): ("192.0.2.1",),
    ("shop.example", "AAAA"): ("2001:db8::1",),
    ("shop.example", "MX"): ("mx1.shop.example", "mx2.shop.example"),
    ("mx1.shop.example", "A"): ("192.0.2.10",),
    ("mx2.shop.example", "A"): ("192.0.2.20",),
    ("mx2.shop.example", "AAAA"): ("2001:db8::20",),
    ("one.test", "TXT"): ("v=spf1 ip4:198.51.100.0/24 -all",),
    ("soft.test", "TXT"): ("v=spf1 ~all",),
    ("bad.test", "TXT"): ("v=spf1 nonsense",),
    ("two.test", "TXT"): ("v=spf1 -all", "v=spf1 +all"),
    ("down.test", "TXT"): FAILS,
    ("down.test", "A"): FAILS,
    ("loop.test", "TXT"): ("v=spf1 include:loop.test -all",),
    ("1.2.0.192.in-addr.arpa", "PTR"): ("other.test", "mail.shop.example"),
    ("mail.shop.example", "A"): ("192.0.2.1",),
}


@pytest.mark.parametrize(
    ("record", "address", "word"),
    [
        ("v=spf1 -all", "192.0.2.1", SpfWord.FAIL),
        ("v=spf1 ~all", "192.0.2.1", SpfWord.SOFTFAIL),
        ("v=spf1 ?all", "192.0.2.1", SpfWord.NEUTRAL),
        ("v=spf1", "192.0.2.1", SpfWord.NEUTRAL),
        ("v=spf1 ip4:192.0.2.0/24 -all", "192.0.2.1", SpfWord.PASS),
        ("v=spf1 -ip4:192.0.2.0/24 +all", "192.0.2.1", SpfWord.FAIL),
        ("v=spf1 ip4:192.0.2.0/24 -all", "192.0.3.1", SpfWord.FAIL),
        ("v=spf1 ip6:2001:db8::/32 -all", "2001:db8::9", SpfWord.PASS),
        ("v=spf1 ip6:2001:db8::/32 -all", "192.0.2.1", SpfWord.FAIL),
        ("v=spf1 ip4:192.0.2.1 -all", "::ffff:192.0.2.1", SpfWord.PASS),
        ("v=spf1 a -all", "192.0.2.1", SpfWord.PASS),
        ("v=spf1 a -all", "2001:db8::1", SpfWord.PASS),
        ("v=spf1 a -all", "192.0.2.2", SpfWord.FAIL),
        ("v=spf1 a/30 -all", "192.0.2.2", SpfWord.PASS),
        ("v=spf1 a//64 -all", "2001:db8::ffff", SpfWord.PASS),
        ("v=spf1 a//64 -all", "192.0.2.2", SpfWord.FAIL),
        ("v=spf1 mx -all", "192.0.2.20", SpfWord.PASS),
        ("v=spf1 mx -all", "2001:db8::20", SpfWord.PASS),
        ("v=spf1 mx/24 -all", "192.0.2.99", SpfWord.PASS),
        ("v=spf1 ptr -all", "192.0.2.1", SpfWord.PASS),
        ("v=spf1 ptr:elsewhere.test -all", "192.0.2.1", SpfWord.FAIL),
        ("v=spf1 include:one.test ~all", "198.51.100.7", SpfWord.PASS),
        ("v=spf1 include:one.test ~all", "192.0.2.1", SpfWord.SOFTFAIL),
        ("v=spf1 -include:one.test +all", "198.51.100.7", SpfWord.FAIL),
        ("v=spf1 include:soft.test -all", "192.0.2.1", SpfWord.FAIL),
        ("v=spf1 include:none.test -all", "192.0.2.1", SpfWord.PERMERROR),
        ("v=spf1 include:bad.test -all", "192.0.2.1", SpfWord.PERMERROR),
        ("v=spf1 include:two.test -all", "192.0.2.1", SpfWord.PERMERROR),
        ("v=spf1 include:down.test -all", "192.0.2.1", SpfWord.TEMPERROR),
        ("v=spf1 include:loop.test -all", "192.0.2.1", SpfWord.PERMERROR),
        ("v=spf1 a:down.test -all", "192.0.2.1", SpfWord.TEMPERROR),
        ("v=spf1 redirect=one.test", "198.51.100.7", SpfWord.PASS),
        ("v=spf1 redirect=one.test", "192.0.2.1", SpfWord.FAIL),
        ("v=spf1 redirect=none.test", "192.0.2.1", SpfWord.PERMERROR),
        ("v=spf1 ~all redirect=one.test", "192.0.2.1", SpfWord.SOFTFAIL),
        ("v=spf1 exists:%{ir}.%{v}._spf.shop.example -all", "192.0.2.1", SpfWord.FAIL),
        ("v=spf1 exists:shop.example -all", "2001:db8::5", SpfWord.PASS),
        ("v=spf1 a:" + "x" * 64 + ".test -all", "192.0.2.1", SpfWord.FAIL),
    ],
)
def test_results(record: str, address: str, word: SpfWord) -> None:
    result = of(record, address, ADDRESSES)
    assert result.word is word, result.reason
    assert result.reason


def test_a_domain_without_a_record_and_one_that_is_none() -> None:
    assert of("other").word is SpfWord.NONE
    assert evaluate({}, Sender("192.0.2.1", "postmaster@mx", "mx")).word is SpfWord.NONE
    assert (
        evaluate({("x.test", "TXT"): FAILS}, Sender("192.0.2.1", "a@x.test", "mx")).word is SpfWord.TEMPERROR
    )


def test_more_than_ten_terms_with_look_ups_end_it() -> None:
    names = [f"n{number}.test" for number in range(11)]
    zone = {(name, "A"): ("198.51.100.1",) for name in names}
    ten = "v=spf1 " + " ".join(f"a:{name}" for name in names[:10])
    assert of(f"{ten} -all", extra=zone).word is SpfWord.FAIL
    result = of(f"{ten} a:n10.test -all", extra=zone)
    assert (result.word, result.lookups) == (SpfWord.PERMERROR, 11)


def test_more_than_two_answers_with_nothing_end_it() -> None:
    assert of("v=spf1 a:x1.test a:x2.test -all").word is SpfWord.FAIL
    assert of("v=spf1 a:x1.test a:x2.test a:x3.test -all").word is SpfWord.PERMERROR


def test_more_than_ten_exchangers_end_it() -> None:
    zone: Zone = {("shop.example", "MX"): tuple(f"mx{number}.test" for number in range(11))}
    assert of("v=spf1 mx -all", extra=zone).word is SpfWord.PERMERROR


@pytest.mark.parametrize(
    ("text", "name"),
    [
        # RFC 7208 §7.4
        ("%{s}", "strong-bad@email.example.com"),
        ("%{o}", "email.example.com"),
        ("%{d}", "email.example.com"),
        ("%{d4}", "email.example.com"),
        ("%{d3}", "email.example.com"),
        ("%{d2}", "example.com"),
        ("%{d1}", "com"),
        ("%{dr}", "com.example.email"),
        ("%{d2r}", "example.email"),
        ("%{l}", "strong-bad"),
        ("%{l-}", "strong.bad"),
        ("%{lr}", "strong-bad"),
        ("%{lr-}", "bad.strong"),
        ("%{l1r-}", "strong"),
        ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
        ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
        ("%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com"),
        ("%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com"),
        ("%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"),
        ("%{h}", "mx.example.org"),
        ("a%%b%-c.test", "a%b%20c.test"),
        ("%{S}.test", "strong-bad%40email.example.com.test"),
    ],
)
def test_macros(text: str, name: str) -> None:
    zone: Zone = {("email.example.com", "TXT"): (f"v=spf1 exists:{text} -all",), (name, "A"): ("127.0.0.2",)}
    asked: list[Question] = []
    assert evaluate(zone, MACRO_SENDER, asked).word is SpfWord.PASS
    assert asked[-1] == Question(name, "A")


def test_the_macro_of_an_ipv6_address() -> None:
    zone: Zone = {("email.example.com", "TXT"): ("v=spf1 exists:%{ir}.%{v}._spf.%{d2} -all",)}
    asked: list[Question] = []
    evaluate(zone, Sender("2001:db8::cb01", "strong-bad@email.example.com", "mx"), asked)
    assert asked[-1].name == (
        "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com"
    )


def test_the_macro_of_a_validated_name() -> None:
    zone: Zone = {
        ("shop.example", "TXT"): ("v=spf1 exists:%{p}.ok.test -all",),
        ("1.2.0.192.in-addr.arpa", "PTR"): ("liar.test", "mail.shop.example"),
        ("mail.shop.example", "A"): ("192.0.2.1",),
        ("mail.shop.example.ok.test", "A"): ("127.0.0.2",),
    }
    assert evaluate(zone, Sender("192.0.2.1", "a@shop.example", "mx")).word is SpfWord.PASS


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (("other.test", "mail.shop.example", "Shop.Example"), "shop.example"),
        (("other.test", "mail.shop.example"), "mail.shop.example"),
        (("down.test", "other.test"), "other.test"),
        (("down.test", "liar.test"), "unknown"),
        (FAILS, "unknown"),
    ],
)
def test_the_macro_of_a_validated_name_takes_the_nearest(names: object, chosen: str) -> None:
    zone: Zone = {
        ("shop.example", "TXT"): ("v=spf1 exists:%{p}.ok.test exists:%{p}.no.test -all",),
        ("1.2.0.192.in-addr.arpa", "PTR"): names,
        **{(name, "A"): ("192.0.2.1",) for name in ("other.test", "mail.shop.example", "shop.example")},
        ("liar.test", "A"): ("192.0.2.2",),
        ("down.test", "A"): FAILS,
    }
    asked: list[Question] = []
    evaluate(zone, Sender("192.0.2.1", "a@shop.example", "mx"), asked)
    assert [each.name for each in asked[-2:]] == [f"{chosen}.ok.test", f"{chosen}.no.test"]
    assert [each.kind for each in asked].count("PTR") == 1


@pytest.mark.parametrize(
    ("names", "word"),
    [
        (FAILS, SpfWord.SOFTFAIL),
        (("down.shop.example",), SpfWord.SOFTFAIL),
        (("down.shop.example", "mail.shop.example"), SpfWord.PASS),
    ],
)
def test_a_term_of_names_is_skipped_where_they_are_not_told(names: object, word: SpfWord) -> None:
    # RFC 7208 §5.5
    zone: Zone = {
        ("1.2.0.192.in-addr.arpa", "PTR"): names,
        ("down.shop.example", "A"): FAILS,
        ("mail.shop.example", "A"): ("192.0.2.1",),
    }
    assert of("v=spf1 ptr ~all", extra=zone).word is word


def test_nobody_is_asked_about_an_address_literal() -> None:
    asked: list[Question] = []
    sender = Sender("192.0.2.1", "postmaster@[192.0.2.1]", "[192.0.2.1]")
    assert evaluate({}, sender, asked).word is SpfWord.NONE
    assert not asked


def cost(zone: Zone, text: str) -> tuple[int, list[str]]:
    """Terms with look-ups, and what is wrong."""
    counting = count_lookups("shop.example", text)
    try:
        question = next(counting)
        while True:
            question = counting.send(answer(zone, question))
    except StopIteration as end:
        found: tuple[int, list[str]] = end.value
        return found


def test_the_cost_of_a_record_is_counted_through_all_it_includes() -> None:
    zone: Zone = {
        ("a.test", "TXT"): ("v=spf1 include:b.test mx -all",),
        ("b.test", "TXT"): ("v=spf1 a a:x.test ip4:192.0.2.1 -all",),
        ("bad.test", "TXT"): ("v=spf1 nonsense",),
    }
    total, faults = cost(zone, "v=spf1 include:a.test include:bad.test include:none.test ~all")
    assert total == 7
    assert len(faults) == 2
    assert faults[0].startswith("bad.test:")
    assert faults[1] == "none.test: there is no SPF record"


@pytest.mark.parametrize(
    ("text", "total"),
    [
        ("v=spf1 include:two.test include:also.test ~all", 7),  # what is included twice costs twice
        ("v=spf1 mx ~all a a redirect=two.test", 1),  # nothing behind `all` is looked at
        ("v=spf1 mx redirect=two.test", 4),
    ],
)
def test_the_cost_of_a_record_is_what_receivers_count(text: str, total: int) -> None:
    zone: Zone = {
        ("two.test", "TXT"): ("v=spf1 a mx -all",),
        ("also.test", "TXT"): ("v=spf1 include:two.test -all",),
    }
    assert cost(zone, text) == (total, [])


def test_records_that_include_each_other_are_told_and_counted_once() -> None:
    zone: Zone = {
        ("a.test", "TXT"): ("v=spf1 include:b.test -all",),
        ("b.test", "TXT"): ("v=spf1 include:a.test include:shop.example a -all",),
    }
    total, faults = cost(zone, "v=spf1 include:a.test -all")
    assert total == 5
    assert [fault.partition(":")[0] for fault in faults] == ["b.test", "b.test"]


def test_a_tree_of_includes_without_end_is_given_up() -> None:
    texts = (f"v=spf1 include:i{number + 1}.test -all" for number in range(200))
    zone: Zone = {(f"i{number}.test", "TXT"): (text,) for number, text in enumerate(texts)}
    assert cost(zone, "v=spf1 include:i0.test -all")[1] == ["the tree of includes is too large to be counted"]
