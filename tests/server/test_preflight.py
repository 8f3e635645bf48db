"""Each part of the preflight finds what receivers would, and says what to publish."""

from pathlib import Path

import pytest
import trustme

from outrider.base.clock import SystemClock
from outrider.base.log import NullLog
from outrider.deliver.options import DeliveryOptions
from outrider.net.answers import Answer, Kind, Status
from outrider.net.mx import MxResolver
from outrider.net.options import NetOptions, TlsOptions
from outrider.net.resolver import DnsResolver
from outrider.privacy.sender_checks import check_sender
from outrider.server.doctor.finding import Finding, Level
from outrider.server.preflight.exchangers import Reach, check_exchangers
from outrider.server.preflight.leftovers import check_leftovers
from outrider.server.preflight.policy import check_dkim, check_dmarc
from outrider.server.preflight.report import Part, SendingAs
from outrider.server.preflight.spf import check_spf
from outrider.server.signing import RecordState, SigningUse, check_key
from outrider.sim.server import PracticeInternet
from outrider.sim.world import parse_world
from outrider.wire.dkim.record import format_record
from outrider.wire.spf.evaluate import Sender, SpfWord
from tests.wire.dkim.signing import key_of


class Table:
    """DNS as a table; a name without an entry has no records."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, Kind], Answer] = {}
        self.down: set[str] = set()

    def put(self, name: str, *texts: str) -> "Table":
        self.answers[name, Kind.TXT] = Answer(Status.FOUND, 60, texts=texts)
        return self

    async def lookup(self, name: str, kind: Kind) -> Answer:
        if name in self.down:
            return Answer(Status.FAILED, 1, trouble="SERVFAIL")
        return self.answers.get((name, kind), Answer(Status.NO_DATA, 60))


SENDER = SendingAs("news", (("192.0.2.1", "delivery source_addresses"),), "mx.shop.example")


def faults(part: Part) -> list[str]:
    return [finding.what for finding in part.findings if finding.level is Level.FAULT]


def levels(part: Part, check: str) -> list[str]:
    return [str(finding.level) for finding in part.findings if finding.check == check]


@pytest.mark.parametrize(
    ("texts", "said", "published"),
    [
        ((), "has no SPF record", "v=spf1 ip4:192.0.2.1 ~all"),
        (("v=spf1 -all",), "192.0.2.1: fail", "v=spf1 ip4:192.0.2.1 -all"),
        (("v=spf1 mx ~all",), "192.0.2.1: softfail", "v=spf1 ip4:192.0.2.1 mx ~all"),
        (("v=spf1 ip4:192.0.2.9 ?all",), "192.0.2.1: neutral", "v=spf1 ip4:192.0.2.9 ip4:192.0.2.1 ~all"),
        (("v=spf1 -ip4:192.0.2.0/24 a -all",), "fail", "v=spf1 ip4:192.0.2.1 -ip4:192.0.2.0/24 a -all"),
        (
            ("v=spf1 redirect=one.test",),
            "192.0.2.1: permerror",
            "v=spf1 ip4:192.0.2.1 redirect=one.test",
        ),
        (("v=spf1 -all", "v=spf1 +all"), "2 SPF records", "v=spf1 ip4:192.0.2.1 ~all"),
        (("v=spf1 nonsense -all",), "receivers take all of it for void", "v=spf1 ip4:192.0.2.1 ~all"),
        (("v=spf1 ip4:192.0.2.1 +all",), "lets everybody send", "v=spf1 ip4:192.0.2.1 ~all"),
        (("v=spf1 ip4:192.0.2.0/24 -all",), None, None),
    ],
)
async def test_spf_of_our_addresses(texts: tuple[str, ...], said: str | None, published: str | None) -> None:
    table = Table()
    if texts:
        table.put("shop.example", *texts)
    part = await check_spf(table, "shop.example", SENDER)
    assert any(said in what for what in faults(part)) if said else faults(part) == []
    assert [record.value for record in part.publish] == ([published] if published else [])


async def test_spf_that_costs_too_much_and_spf_that_is_about_to() -> None:
    includes = " ".join(f"include:n{number}.test" for number in range(9))
    table = Table().put("shop.example", f"v=spf1 ip4:192.0.2.1 {includes} -all")
    for number in range(9):
        table.put(f"n{number}.test", "v=spf1 ip4:198.51.100.1 -all")
    assert levels(await check_spf(table, "shop.example", SENDER), "spf.lookups") == ["warning"]
    table.put("n1.test", "v=spf1 a mx -all")
    assert levels(await check_spf(table, "shop.example", SENDER), "spf.lookups") == ["fault"]
    table.put("n1.test", "v=spf1 nonsense")
    found = await check_spf(table, "shop.example", SENDER)
    assert levels(found, "spf.lookups") == ["warning", "warning"]


@pytest.mark.parametrize(
    "includes", [" ".join(f"include:n{number}.test" for number in range(11)), "include:shop.example"]
)
async def test_a_proposed_record_passes_where_receivers_give_up_on_what_is_included(includes: str) -> None:
    table = Table().put("shop.example", f"v=spf1 {includes} -all")
    for number in range(11):
        table.put(f"n{number}.test", "v=spf1 ip4:198.51.100.1 -all")
    part = await check_spf(table, "shop.example", SENDER)
    assert any("192.0.2.1: permerror" in what for what in faults(part))
    [record] = part.publish
    assert record.value == f"v=spf1 ip4:192.0.2.1 {includes} -all"
    table.put("shop.example", record.value)
    assert levels(await check_spf(table, "shop.example", SENDER), "spf.address") == ["good"]


async def test_spf_that_cannot_be_looked_up() -> None:
    table = Table()
    table.down.add("shop.example")
    part = await check_spf(table, "shop.example", SENDER)
    assert "no answer" in faults(part)[0]
    assert part.publish == ()


async def test_no_record_is_proposed_with_an_address_that_nobody_sees() -> None:
    behind_nat = SendingAs("x", (("10.1.2.3", ""), ("fd00::2", "")), "mx.shop.example")
    [record] = (await check_spf(Table(), "shop.example", behind_nat)).publish
    assert record.value == "v=spf1 a:mx.shop.example ~all"
    nowhere = await check_spf(Table(), "shop.example", SendingAs("x", (), "localhost.localdomain"))
    assert nowhere.publish == ()
    assert [each.mend.partition(",")[0] for each in nowhere.findings] == ["set server.hostname"]
    both = SendingAs("x", (("10.1.2.3", ""), ("198.51.100.1", "net.own_addresses")), "mx.shop.example")
    [record] = (await check_spf(Table(), "shop.example", both)).publish
    assert record.value == "v=spf1 ip4:198.51.100.1 ~all"


async def test_the_address_of_a_machine_behind_nat_is_not_judged() -> None:
    table = Table().put("shop.example", "v=spf1 -all")
    part = await check_spf(table, "shop.example", SendingAs("x", (("10.1.2.3", ""),), "mx"))
    assert faults(part) == []
    assert levels(part, "spf.address") == ["note"]


def use(state: str, key: str | None = "rsa2048", domain: str = "shop.example") -> SigningUse:
    found = key_of(key) if key else None
    return SigningUse(domain, "s1", "ring", state, found, "" if found else "it is gone")


NAME = "s1._domainkey.shop.example"


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("", RecordState.ABSENT),
        (format_record(key_of("rsa2048")), RecordState.PUBLISHED),
        (format_record(key_of("ed25519")), RecordState.DIFFERENT),
        ("v=DKIM1; p=", RecordState.REVOKED),
        ("v=spf1 -all", RecordState.BROKEN),
        (format_record(key_of("rsa2048")) + "; s=tlsrpt", RecordState.BROKEN),
        (format_record(key_of("rsa2048")) + "; h=sha1", RecordState.BROKEN),
    ],
    ids=["none", "the same", "another", "revoked", "no key", "another service", "another hash"],
)
async def test_a_key_is_compared_with_its_record(text: str, state: RecordState) -> None:
    table = Table().put(NAME, text) if text else Table()
    found = await check_key(table, "shop.example", "s1", key_of("rsa2048"))
    assert (found.state, found.expected) == (state, format_record(key_of("rsa2048")))
    part = await check_dkim(table, "shop.example", [use("active")])
    assert (faults(part) == []) is (state is RecordState.PUBLISHED)
    assert [record.name for record in part.publish] == ([] if state is RecordState.PUBLISHED else [NAME])


@pytest.mark.parametrize(
    ("uses", "expected"),
    [
        ([], ["fault"]),
        ([use("pending")], ["note", "fault"]),
        ([use("active", None)], ["fault"]),
        ([use("kept")], ["warning", "fault"]),
        ([use("active", "rsa1024")], ["fault"]),
    ],
)
async def test_keys_by_their_state(uses: list[SigningUse], expected: list[str]) -> None:
    assert levels(await check_dkim(Table(), "shop.example", uses), "dkim.key") == expected


async def test_a_look_up_that_failed_proposes_nothing() -> None:
    table = Table()
    table.down.add(NAME)
    part = await check_dkim(table, "shop.example", [use("active")])
    assert (levels(part, "dkim.key"), part.publish) == (["fault"], ())


async def test_short_keys_and_testing_are_warned_of() -> None:
    table = Table().put(NAME, format_record(key_of("rsa1024"), ["y"]))
    part = await check_dkim(table, "shop.example", [use("configured", "rsa1024")])
    assert levels(part, "dkim.key") == ["good", "warning", "warning"]


@pytest.mark.parametrize(
    ("text", "uses", "mail_from", "alignment"),
    [
        ("v=DMARC1; p=none", [use("active")], "shop.example", "good"),
        ("v=DMARC1; p=none", [use("active", domain="news.shop.example")], "bounce.test", "good"),
        ("v=DMARC1; p=none; adkim=s", [use("active", domain="news.shop.example")], "bounce.test", "fault"),
        ("v=DMARC1; p=none", [], "bounces.shop.example", "warning"),
        ("v=DMARC1; p=none; aspf=s", [], "bounces.shop.example", "fault"),
        ("v=DMARC1; p=none", [use("pending")], "bounce.test", "fault"),
    ],
)
async def test_alignment(text: str, uses: list[SigningUse], mail_from: str, alignment: str) -> None:
    table = Table().put("_dmarc.shop.example", text)
    part = await check_dmarc(table, "shop.example", uses, mail_from)
    assert levels(part, "dmarc.alignment") == [alignment]


async def test_dmarc_that_is_missing_broken_or_old() -> None:
    part = await check_dmarc(Table(), "shop.example", [], "shop.example")
    assert [record.name for record in part.publish] == ["_dmarc.shop.example"]
    table = Table().put("_dmarc.shop.example", "v=DMARC1; p=odd")
    assert any("p=odd" in what for what in faults(await check_dmarc(table, "shop.example", [], "x.test")))
    table = Table().put("_dmarc.shop.example", "v=DMARC1; p=reject; sp=odd; rua=mailto:a@x.test")
    assert "sp=odd is no policy" in faults(await check_dmarc(table, "shop.example", [], "x.test"))[0]
    table = Table().put("_dmarc.shop.example", "v=DMARC1; p=reject; pct=10; t=y")
    part = await check_dmarc(table, "shop.example", [], "shop.example")
    notes = [finding.what for finding in part.findings if finding.level is Level.NOTE]
    assert any("pct=" in what for what in notes)
    assert any("t=y" in what for what in notes)
    table.down.add("_dmarc.shop.example")
    assert "could not be looked up" in faults(await check_dmarc(table, "shop.example", [], "x.test"))[0]


async def test_records_of_retired_methods_are_told_with_the_reason() -> None:
    table = Table()
    table.put("_domainkey.shop.example", "t=y; o=-; r=postmaster@shop.example")
    table.put("shop.example", "v=spf1 -all", "spf2.0/pra -all", "spf2.0/mfrom,pra +all")
    table.put("_adsp._domainkey.shop.example", "dkim=all")
    part = await check_leftovers(table, "shop.example")
    assert [finding.check for finding in part.findings] == [
        "retired.domainkeys",
        "retired.sender-id",
        "retired.sender-id",
        "retired.adsp",
    ]
    assert "RFC 6376" in part.findings[0].mend
    assert "RFC 4406" in part.findings[1].mend
    clean = Table().put("_domainkey.shop.example", "v=DKIM1; p=AAAA").put("shop.example", "v=spf1 -all")
    assert (await check_leftovers(clean, "shop.example")).findings == ()


WORLD = """
[[provider]]
name = "good"
domains = ["good.test"]
mx = [{{ name = "mx.good.test", address = "127.44.2.1" }}]
behaviour = {{ tls = {{ mode = "offer", certificate = "{certificate}", key = "{key}" }} }}

[[provider]]
name = "self"
domains = ["self.test"]
mx = [{{ name = "mx.self.test", address = "127.44.2.2" }}]
behaviour = {{ tls = {{ mode = "offer" }} }}

[[provider]]
name = "clear"
domains = ["clear.test"]
mx = [{{ name = "mx.clear.test", address = "127.44.2.3" }}]

[[zone]]
name = "shop.test"
record = [
  {{ name = "@", type = "MX", value = "1 mx.good.test." }},
  {{ name = "@", type = "MX", value = "2 mx.self.test." }},
  {{ name = "@", type = "MX", value = "3 mx.clear.test." }},
  {{ name = "@", type = "MX", value = "4 gone.shop.test." }},
  {{ name = "gone", type = "A", value = "127.44.2.9" }},
  {{ name = "bare", type = "A", value = "127.44.2.3" }},
  {{ name = "@", type = "TXT", value = '"v=spf1 mx/30 -all"' }},
]
[[zone]]
name = "null.test"
answer = "null-mx"
[[zone]]
name = "down.test"
answer = "servfail"
"""


async def test_exchangers_are_looked_at_by_real_connections(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("mx.good.test")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "good.crt")
    issued.private_key_pem.write_to_path(tmp_path / "good.key")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    text = WORLD.format(certificate=tmp_path / "good.crt", key=tmp_path / "good.key")
    clock = SystemClock()
    async with PracticeInternet(parse_world(text, "test.toml"), clock=clock) as world:
        numbers = iter(range(1, 1 << 16))
        net = NetOptions(
            nameservers=(f"127.0.0.1:{world.dns_port}",),
            allow_private_targets=True,
            query_timeout_seconds=30,
            query_rounds=1,
        )
        lookup = DnsResolver(
            net, clock=clock, log=NullLog(), random_bits=lambda bits: next(numbers) % (1 << bits)
        )
        resolver = MxResolver(lookup, net, log=NullLog())
        reach = Reach(
            DeliveryOptions(), TlsOptions(ca_file=tmp_path / "ca.pem"), "mx.here.test", clock, world.smtp_port
        )

        async def look(domain: str, at: Reach | None = reach) -> list[Finding]:
            return list((await check_exchangers(resolver, domain, at)).findings)

        found = await look("shop.test")
        assert [str(finding.level) for finding in found] == ["good", "good", "warning", "warning", "note"]
        said = [finding.what for finding in found]
        assert "with a valid certificate" in said[1]
        assert "mx.self.test: TLS" in said[2]
        assert "mx.clear.test offers no TLS" in said[3]
        assert "gone.shop.test was not reached" in said[4]
        assert reach._connections == set()
        bare = await look("bare.shop.test", None)
        assert [str(finding.level) for finding in bare] == ["good", "warning", "note"]
        assert "takes no mail" in (await look("null.test"))[0].what
        assert (await look("down.test"))[0].level is Level.FAULT
        sender = Sender("127.44.2.2", "a@shop.test", "mx.shop.test")
        assert (await check_sender(lookup, sender)).word is SpfWord.PASS
        sender = Sender("127.44.3.2", "a@shop.test", "mx.shop.test")
        assert (await check_sender(lookup, sender)).word is SpfWord.FAIL
