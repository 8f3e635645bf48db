"""SPF at its borders, section by section: odd but legal forms, limits to the last, and explanations."""

import pytest

from outrider.wire.spf.evaluate import Question, Sender, SpfWord
from outrider.wire.spf.record import SpfError, parse_spf
from tests.wire.spf.test_spf_evaluate import FAILS, Zone, evaluate, of

HELO = "mx.shop.example"
PASS, FAIL, NEUTRAL, NONE = SpfWord.PASS, SpfWord.FAIL, SpfWord.NEUTRAL, SpfWord.NONE
SOFTFAIL, TEMPERROR, PERMERROR = SpfWord.SOFTFAIL, SpfWord.TEMPERROR, SpfWord.PERMERROR


def asked_by(
    record: str, sender: Sender, zone: Zone | None = None, domain: str = "shop.example"
) -> list[str]:
    """Names and kinds that a record makes one ask for."""
    asked: list[Question] = []
    evaluate({(domain, "TXT"): (record,), **(zone or {})}, sender, asked)
    return [f"{each.kind} {each.name}" for each in asked[1:]]


@pytest.mark.parametrize(
    ("mail_from", "helo", "domain"),
    [
        pytest.param("", "mx.shop.example", "mx.shop.example", id="null reverse-path is HELO's"),
        pytest.param("", "MX.Shop.Example.", "mx.shop.example", id="HELO with a final dot"),
        pytest.param("@shop.example", HELO, "shop.example", id="no local part"),
        pytest.param("shop.example", HELO, "shop.example", id="no at sign"),
        pytest.param('"a@b.test"@shop.example', HELO, "shop.example", id="at sign in quotes"),
        pytest.param("ann@SHOP.Example.", HELO, "shop.example", id="case and final dot"),
        pytest.param("ann@bücher.example", HELO, "xn--bcher-kva.example", id="U-labels"),
        pytest.param("ann@" + "a" * 63 + ".example", HELO, "a" * 63 + ".example", id="longest label"),
        pytest.param("ann@under_score.example", HELO, "under_score.example", id="underscore"),
    ],
)
def test_the_domain_that_is_asked_for(mail_from: str, helo: str, domain: str) -> None:
    zone: Zone = {(domain, "TXT"): ("v=spf1 ip4:192.0.2.1 -all",)}
    asked: list[Question] = []
    assert evaluate(zone, Sender("192.0.2.1", mail_from, helo), asked).word is PASS
    assert asked == [Question(domain, "TXT")]


@pytest.mark.parametrize(
    "domain",
    [
        pytest.param("a" * 64 + ".example", id="label of 64"),
        pytest.param("shop..example", id="empty label"),
        pytest.param(".example", id="first label empty"),
        pytest.param("example", id="one label"),
        pytest.param("example.", id="one label and a dot"),
        pytest.param("", id="nothing"),
        pytest.param(".".join(["a" * 49] * 5) + ".test", id="254 octets"),
        pytest.param("[192.0.2.1]", id="literal"),
        pytest.param("[IPv6:2001:db8::1]", id="literal of IPv6"),
        pytest.param("a\u2488b.example", id="no U-label"),
    ],
)
def test_what_is_no_domain_is_none_and_nobody_is_asked(domain: str) -> None:
    # RFC 7208 §4.3
    asked: list[Question] = []
    assert evaluate({}, Sender("192.0.2.1", f"ann@{domain}", HELO), asked).word is NONE
    assert evaluate({}, Sender("192.0.2.1", "", domain), asked).word is NONE
    assert asked == []


@pytest.mark.parametrize(
    ("texts", "word"),
    [
        pytest.param(("v=spf1",), NEUTRAL, id="nothing but the version"),
        pytest.param(("v=spf1 ",), NEUTRAL, id="space at the end"),
        pytest.param(("v=spf1    -all   ",), FAIL, id="many spaces"),
        pytest.param(("V=sPf1 -ALL",), FAIL, id="case"),
        pytest.param((" v=spf1 -all",), NONE, id="space before"),
        pytest.param(("v=spf1-all",), NONE, id="no space"),
        pytest.param(("v=spf1\t-all",), NONE, id="tab"),
        pytest.param(("v=spf10 -all",), NONE, id="another version"),
        pytest.param(("v=spf",), NONE, id="half a version"),
        pytest.param(('"v=spf1 -all"',), NONE, id="quotes"),
        pytest.param(("\xfcber", "v=spf1 -all"), FAIL, id="beyond ASCII in another text"),
        pytest.param(("v=spf1 a:\xfc.test -all",), PERMERROR, id="beyond ASCII"),
        pytest.param(("v=spf1 ip4:192.0.2.1\r -all",), PERMERROR, id="control character"),
        pytest.param(("v=spf1 a:x\0.test -all",), PERMERROR, id="NUL"),
        pytest.param(("v=spf1 -all", "v=spf1 -all"), PERMERROR, id="the same twice"),
        pytest.param(("v=spf1 -all", "v=spf1 nonsense"), PERMERROR, id="two, one void"),
        pytest.param(("v=spf1 -all", "v=spf10 +all", "spf2.0/pra +all"), FAIL, id="others beside it"),
        pytest.param((), NONE, id="none"),
        pytest.param(("v=spf1 +all nonsense",), PERMERROR, id="an error behind what matches"),
        pytest.param(("v=spf1 +all exp=",), PERMERROR, id="an empty exp"),
        pytest.param(("v=spf1 redirect=one.test -all",), FAIL, id="redirect stands anywhere"),
        pytest.param(("v=spf1 mech=x all=y a.b_c-d= -all",), FAIL, id="unknown modifiers"),
        pytest.param(("v=spf1 moo.cow/far_out=x -all",), PERMERROR, id="slash in a modifier's name"),
        pytest.param(("v=spf1 =x -all",), PERMERROR, id="modifier without a name"),
        pytest.param(("v=spf1 1x=y -all",), PERMERROR, id="modifier that begins with a digit"),
        pytest.param(("v=spf1 x=%y -all",), PERMERROR, id="percent sign in a modifier"),
        pytest.param(("v=spf1 redirect:one.test",), PERMERROR, id="redirect with a colon"),
        pytest.param(("v=spf1 include=one.test -all",), FAIL, id="include as a modifier is unknown"),
        pytest.param(("v=spf1 -all.",), PERMERROR, id="all with a dot"),
        pytest.param(("v=spf1 - all",), PERMERROR, id="qualifier alone"),
        pytest.param(("v=spf1 *all",), PERMERROR, id="no qualifier"),
    ],
)
def test_records(texts: tuple[str, ...], word: SpfWord) -> None:
    zone: Zone = {("shop.example", "TXT"): texts}
    assert evaluate(zone, Sender("192.0.2.1", "ann@shop.example", HELO)).word is word


@pytest.mark.parametrize(
    ("term", "address", "word"),
    [
        pytest.param("ip4:0.0.0.0/0", "192.0.2.1", PASS, id="all of IPv4"),
        pytest.param("ip4:0.0.0.0/0", "2001:db8::1", FAIL, id="all of IPv4 for IPv6"),
        pytest.param("ip6:::/0", "2001:db8::1", PASS, id="all of IPv6"),
        pytest.param("ip6:::/0", "192.0.2.1", FAIL, id="all of IPv6 for IPv4"),
        pytest.param("ip6:::/0", "::ffff:192.0.2.1", FAIL, id="a mapped address is of IPv4"),
        pytest.param("ip6:::ffff:192.0.2.1", "::ffff:192.0.2.1", FAIL, id="a mapped network meets no IPv4"),
        pytest.param("ip6:2001:db8::192.0.2.1/128", "2001:db8::c000:201", PASS, id="dotted end"),
        pytest.param("ip4:192.0.2.129/25", "192.0.2.255", PASS, id="host bits are nothing"),
        pytest.param("ip4:192.0.2.1/32", "192.0.2.1", PASS, id="32"),
        pytest.param("IP4:192.0.2.1", "192.0.2.1", PASS, id="case"),
        pytest.param("ip6:2001:DB8::A", "2001:db8::a", PASS, id="case of digits"),
        pytest.param("ip4:192.0.2", "192.0.2.1", PERMERROR, id="three numbers"),
        pytest.param("ip4:192.0.2.01", "192.0.2.1", PERMERROR, id="zero before a number"),
        pytest.param("ip4:192.0.2.1:25", "192.0.2.1", PERMERROR, id="port"),
        pytest.param("ip4:192.0.2.1//32", "192.0.2.1", PERMERROR, id="dual prefix"),
        pytest.param("ip4:192.0.2.1/", "192.0.2.1", PERMERROR, id="slash and nothing"),
        pytest.param("ip4:192.0.2.1/+8", "192.0.2.1", PERMERROR, id="sign"),
        pytest.param("ip4", "192.0.2.1", PERMERROR, id="nothing"),
        pytest.param("ip4:%{i}", "192.0.2.1", PERMERROR, id="macro"),
        pytest.param("ip6:2001:db8::/129", "2001:db8::1", PERMERROR, id="129"),
        pytest.param("ip6:2001:db8:::1", "2001:db8::1", PERMERROR, id="three colons"),
        pytest.param("ip6:[2001:db8::1]", "2001:db8::1", PERMERROR, id="brackets"),
        pytest.param("a/0", "198.51.100.9", PASS, id="any address where there is one"),
        pytest.param("a/0", "2001:db8::1", FAIL, id="the prefix of the other family"),
        pytest.param("a//0", "2001:db8::1", PASS, id="any address of IPv6"),
        pytest.param("a:none.test/0", "192.0.2.1", FAIL, id="no address, whatever the prefix"),
        pytest.param("A:SHOP.Example", "192.0.2.1", PASS, id="case of a name"),
        pytest.param("a:shop.example.", "192.0.2.1", PASS, id="final dot"),
        pytest.param("a:many.test", "192.0.2.1", PASS, id="last of many"),
        pytest.param("a:shop..example", "192.0.2.1", FAIL, id="empty label"),
        pytest.param("a:shop.example:25", "192.0.2.1", PERMERROR, id="numeric end"),
        pytest.param("a:/24", "192.0.2.1", PERMERROR, id="colon and a prefix"),
        pytest.param("a//64/24", "192.0.2.1", PERMERROR, id="prefixes the wrong way round"),
        pytest.param("mx:nullmx.test", "192.0.2.1", FAIL, id="null MX"),
        pytest.param("mx:one.test", "192.0.2.1", FAIL, id="no MX, and no way back to A"),
        pytest.param("mx:ten.test", "192.0.2.1", PASS, id="tenth exchanger"),
        pytest.param("mx:down.test", "192.0.2.1", TEMPERROR, id="MX not answered"),
        pytest.param("mx:half.test", "192.0.2.1", TEMPERROR, id="exchanger not answered"),
        pytest.param("ptr:SHOP.EXAMPLE", "192.0.2.1", PASS, id="case of a pointer"),
        pytest.param("ptr:hop.example", "192.0.2.1", FAIL, id="end of a label is no parent"),
        pytest.param("ptr:eleven.test", "198.51.100.11", FAIL, id="eleventh pointer is passed over"),
        pytest.param("ptr:six.test", "2001:db8::6", PASS, id="pointer of IPv6"),
        pytest.param("exists:one.test", "2001:db8::1", PASS, id="exists asks for A"),
        pytest.param("exists:six.test", "2001:db8::1", FAIL, id="exists knows no AAAA"),
        pytest.param("exists:down.test", "192.0.2.1", TEMPERROR, id="exists not answered"),
        pytest.param("exists:one.test/24", "192.0.2.1", PERMERROR, id="exists with a prefix"),
        pytest.param("exists", "192.0.2.1", PERMERROR, id="exists alone"),
        pytest.param("ptr:", "192.0.2.1", PERMERROR, id="colon and nothing"),
        pytest.param("include:neutral.test", "192.0.2.1", FAIL, id="include of neutral"),
        pytest.param("include:%{d1}", "192.0.2.1", PERMERROR, id="include of one label"),
        pytest.param("?include:pass.test", "192.0.2.1", NEUTRAL, id="qualifier of an include"),
    ],
)
def test_terms(term: str, address: str, word: SpfWord) -> None:
    zone: Zone = {
        ("shop.example", "A"): ("192.0.2.1",),
        ("shop.example", "AAAA"): ("2001:db8::ffff",),
        ("SHOP.Example", "A"): ("192.0.2.1",),
        ("one.test", "A"): ("192.0.2.1",),
        ("many.test", "A"): ("198.51.100.1", "198.51.100.2", "192.0.2.1"),
        ("nullmx.test", "MX"): ("",),
        ("ten.test", "MX"): tuple(f"m{at}.test" for at in range(10)),
        **{(f"m{at}.test", "A"): ("198.51.100.7",) for at in range(9)},
        ("m9.test", "A"): ("192.0.2.1",),
        ("half.test", "MX"): ("down.test", "one.test"),
        **{("down.test", kind): FAILS for kind in ("A", "MX")},
        ("1.2.0.192.in-addr.arpa", "PTR"): ("Mail.Shop.Example",),
        ("mail.shop.example", "A"): ("192.0.2.1",),
        ("11.100.51.198.in-addr.arpa", "PTR"): (*(f"o{at}.test" for at in range(10)), "eleven.test"),
        ("eleven.test", "A"): ("198.51.100.11",),
        ("6.0.0.0." + "0." * 20 + "8.b.d.0.1.0.0.2.ip6.arpa", "PTR"): ("x.six.test",),
        ("x.six.test", "AAAA"): ("2001:db8::6",),
        ("six.test", "AAAA"): ("2001:db8::1",),
        ("neutral.test", "TXT"): ("v=spf1 ?all",),
        ("pass.test", "TXT"): ("v=spf1 +all",),
    }
    result = of(f"v=spf1 {term} -all", address, zone)
    assert result.word is word, result.reason


def chain(length: int, link: str) -> Zone:
    """Records that lead from `c0.test` to the end, which passes."""
    zone: dict[tuple[str, str], object] = {
        (f"c{at}.test", "TXT"): (f"v=spf1 {link}c{at + 1}.test",) for at in range(length)
    }
    return zone | {(f"c{length}.test", "TXT"): ("v=spf1 +all",)}


@pytest.mark.parametrize("link", ["include:", "redirect="])
@pytest.mark.parametrize(("length", "word"), [(9, PASS), (10, PERMERROR)])
def test_ten_records_may_lead_to_each_other(link: str, length: int, word: SpfWord) -> None:
    # RFC 7208 §4.6.4
    assert of(f"v=spf1 {link}c0.test", extra=chain(length, link)).word is word


@pytest.mark.parametrize(
    ("terms", "word"),
    [
        pytest.param("ip4:198.51.100.1 " * 100 + "-all", FAIL, id="terms without look-ups are free"),
        pytest.param("a:n.test include:in.test " + "a:n.test " * 7 + "-all", FAIL, id="ten with an include"),
        pytest.param("a:n.test include:in.test " + "a:n.test " * 8 + "-all", PERMERROR, id="eleven with it"),
        pytest.param("a:n.test " * 9 + "redirect=in.test", FAIL, id="redirect is the tenth"),
        pytest.param("a:n.test " * 10 + "redirect=in.test", PERMERROR, id="redirect is the eleventh"),
        pytest.param("+ip4:192.0.2.1 " + "a:n.test " * 20 + "-all", PASS, id="what matches first ends it"),
    ],
)
def test_the_limit_of_look_ups_counts_what_is_reached(terms: str, word: SpfWord) -> None:
    zone: Zone = {
        ("n.test", "A"): ("198.51.100.1",),
        ("in.test", "TXT"): ("v=spf1 a:n.test -all",) if "include" in terms else ("v=spf1 -all",),
    }
    result = of(f"v=spf1 {terms}", extra=zone)
    assert result.word is word, result.reason


def test_answers_with_nothing_add_up_over_includes() -> None:
    zone: Zone = {("in.test", "TXT"): ("v=spf1 exists:x2.test a:x3.test -all",)}
    assert of("v=spf1 mx:x1.test include:in.test -all", extra=zone).word is PERMERROR
    assert of("v=spf1 include:in.test -all", extra=zone).word is FAIL


MACRO_SENDER = Sender("192.0.2.3", "Strong-Bad+x@Email.Example.COM", "mx.example.org")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        pytest.param("%{L}", "Strong-Bad%2Bx", id="escaped where upper case"),
        pytest.param("%{Lr+}", "x.Strong-Bad", id="escaped after it is taken apart"),
        pytest.param("%{L1r+}", "Strong-Bad", id="escaped after it is cut"),
        pytest.param("%{S1r@}.test", "", id="at sign is no delimiter"),
        pytest.param("%{l+-}", "Strong.Bad.x", id="two delimiters"),
        pytest.param("%{l.+,/_=-}", "Strong.Bad.x", id="all delimiters"),
        pytest.param("%{lR-}", "Bad+x.Strong", id="reversed, R"),
        pytest.param("%{l9r+}", "x.Strong-Bad", id="more parts than there are"),
        pytest.param("%{l01-}", "Bad+x", id="zero before a number"),
        pytest.param("%{o2}", "Example.COM", id="right-most parts"),
        pytest.param("%{d1r}", "email", id="reversed before it is cut"),
        pytest.param("%{I}", "192.0.2.3", id="address"),
        pytest.param("%{i2}", "2.3", id="parts of the address"),
        pytest.param("%{V}", "in-addr", id="kind of address"),
        pytest.param("%{h1r}", "mx", id="parts of HELO"),
        pytest.param("%{d}.%{d}%%%_x.test", "email.example.com.email.example.com% x.test", id="literals"),
        pytest.param("%{p}", "unknown", id="no validated name"),
        pytest.param("a%{o}.test.", "aEmail.Example.COM.test", id="final dot"),
    ],
)
def test_macros_in_every_transformation(text: str, name: str) -> None:
    domain = "email.example.com"
    if not name:
        with pytest.raises(SpfError):
            parse_spf(f"v=spf1 exists:{text}")
        return
    assert asked_by(f"v=spf1 exists:{text} -all", MACRO_SENDER, domain=domain)[-1] == f"A {name}"


def test_macros_know_neither_a_final_dot_nor_a_null_sender() -> None:
    for sender in (Sender("192.0.2.1", "", "mx.shop.example."), Sender("192.0.2.1", "@mx.shop.example", "")):
        record = "v=spf1 exists:%{l}.%{o}.%{d}.x.test -all"
        name = "A postmaster.mx.shop.example.mx.shop.example.x.test"
        assert asked_by(record, sender, domain="mx.shop.example") == [name]


@pytest.mark.parametrize("address", ["::ffff:192.0.2.1", "192.0.2.1"])
def test_a_mapped_address_is_of_ipv4_for_macros_too(address: str) -> None:
    record = "v=spf1 ptr exists:%{ir}.%{v}.test -all"
    asked = asked_by(record, Sender(address, "ann@shop.example", HELO))
    assert asked == ["PTR 1.2.0.192.in-addr.arpa", "A 1.2.0.192.in-addr.test"]


@pytest.mark.parametrize("length", [253, 254, 300])
def test_a_name_that_is_too_long_loses_labels_at_its_left(length: int) -> None:
    # RFC 7208 §7.3
    end = ".d.shop.example"
    macro = "%{d}." * ((length - len(end)) // len("shop.example.")) + "d.%{d}"
    padding = length - len(macro.replace("%{d}", "shop.example"))
    whole = "x" * padding + macro.replace("%{d}", "shop.example")
    assert len(whole) == length
    [asked] = asked_by(
        f"v=spf1 exists:{'x' * padding}{macro} -all", Sender("192.0.2.1", "a@shop.example", HELO)
    )
    name = asked.removeprefix("A ")
    assert whole.endswith(name)
    assert (name == whole) is (length <= 253)
    longer = whole[whole.rfind(".", 0, len(whole) - len(name) - 1) + 1 :]
    assert len(name) <= 253 < len(longer) or name == whole


@pytest.mark.parametrize(
    ("term", "word"),
    [
        ("exists:%{l}.test", SOFTFAIL),
        ("exists:%{S}.test", SOFTFAIL),
        ("include:%{l}.test", SOFTFAIL),
        ("a:%{o}", PASS),
        ("redirect=%{l}.test", PERMERROR),
    ],
)
def test_a_local_part_beyond_ascii_matches_nothing(term: str, word: SpfWord) -> None:
    # RFC 8616 §4
    zone: Zone = {
        ("shop.example", "TXT"): (f"v=spf1 {term}" + ("" if "=" in term else " ~all"),),
        ("shop.example", "A"): ("192.0.2.1",),
        ("\xfc.test", "A"): ("127.0.0.2",),
        ("%C3%BC%40shop.example.test", "A"): ("127.0.0.2",),
    }
    assert evaluate(zone, Sender("192.0.2.1", "\xfc@shop.example", HELO)).word is word


EXPLAINED: Zone = {
    ("why.test", "TXT"): ("%{i} (%{c}) is not %{s},%_so %{d}, says %{r} at %{t}%%",),
    ("two.test", "TXT"): ("one", "two"),
    ("bad.test", "TXT"): ("100% no",),
    ("odd.test", "TXT"): ("\xfcber",),
    ("line.test", "TXT"): ("a\nb",),
    ("long.test", "TXT"): ("x" * 401,),
    ("longer.test", "TXT"): ("%{d}" * 40,),
    ("longest.test", "TXT"): ("x" * 400,),
    ("plain.test", "TXT"): ("",),
    ("down.test", "TXT"): FAILS,
    ("other.test", "TXT"): ("v=spf1 -all exp=its.test",),
    ("mute.test", "TXT"): ("v=spf1 -all",),
    ("its.test", "TXT"): ("not as %{o} under %{d}",),
    ("shop.example.why.test", "TXT"): ("of %{d}: %{p}",),
}


@pytest.mark.parametrize(
    ("record", "said"),
    [
        pytest.param(
            "-all exp=why.test",
            "192.0.2.1 (192.0.2.1) is not ann@shop.example, so shop.example, says mx.one.test at 17%",
            id="macros",
        ),
        pytest.param("-all exp=%{d}.why.test", "of shop.example: unknown", id="macros in its name"),
        pytest.param("exp=its.test -all", "not as shop.example under shop.example", id="it stands anywhere"),
        pytest.param("-all", "", id="none"),
        pytest.param("~all exp=its.test", "", id="no fail"),
        pytest.param("+all exp=its.test", "", id="pass"),
        pytest.param("-all exp=none.test", "", id="nothing there"),
        pytest.param("-all exp=two.test", "", id="two texts"),
        pytest.param("-all exp=bad.test", "", id="no macro string"),
        pytest.param("-all exp=odd.test", "", id="beyond ASCII"),
        pytest.param("-all exp=line.test", "", id="line end"),
        pytest.param("-all exp=long.test", "", id="too long for a reply"),
        pytest.param("-all exp=longer.test", "", id="too long for a reply once macros are replaced"),
        pytest.param("-all exp=longest.test", "x" * 400, id="not too long"),
        pytest.param("-all exp=plain.test", "", id="empty"),
        pytest.param("-all exp=down.test", "", id="not answered"),
        pytest.param("-all exp=%{d}..test", "", id="no name"),
        pytest.param(
            "redirect=other.test exp=why.test", "not as shop.example under other.test", id="redirect"
        ),
        pytest.param("redirect=mute.test exp=why.test", "", id="redirect to one without"),
        pytest.param("include:other.test -all", "", id="that of an include is not asked for"),
        pytest.param(
            "include:other.test -all exp=its.test", "not as shop.example under shop.example", id="own"
        ),
        pytest.param(
            "-include:pass.test exp=its.test", "not as shop.example under shop.example", id="include"
        ),
    ],
)
def test_a_failure_is_explained_in_the_words_of_the_domain(record: str, said: str) -> None:
    # RFC 7208 §6.2
    zone = {**EXPLAINED, ("shop.example", "TXT"): (f"v=spf1 {record}",)}
    zone["pass.test", "TXT"] = ("v=spf1 +all exp=why.test",)
    asked: list[Question] = []
    result = evaluate(zone, Sender("192.0.2.1", "ann@shop.example", HELO, "mx.one.test", 17.9), asked)
    assert result.word is (SOFTFAIL if "~" in record else PASS if "+" in record else FAIL)
    assert result.explanation == said
    assert ("its.test" in {each.name for each in asked}) == ("not as" in said)


def test_an_explanation_costs_no_result() -> None:
    zone: Zone = {("why.test", "TXT"): ("%{p}",)}
    result = of("v=spf1 a:x1.test a:x2.test -all exp=why.test", extra=zone)
    assert (result.word, result.explanation) == (FAIL, "")
    result = of("v=spf1 a:x1.test a:x2.test -all exp=none.test", extra=zone)
    assert (result.word, result.lookups) == (FAIL, 2)


def test_an_address_of_ipv6_is_explained_as_people_read_it() -> None:
    zone: Zone = {("why.test", "TXT"): ("%{c} %{i}",)}
    assert of("v=spf1 -all exp=why.test", "2001:db8::1", zone).explanation == (
        "2001:db8::1 2.0.0.1.0.d.b.8." + "0." * 23 + "1"
    )
