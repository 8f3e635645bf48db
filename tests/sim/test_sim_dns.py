"""The practice DNS, asked by dnspython over UDP and TCP."""

import dns.message
import dns.query
import dns.rcode
import dns.resolver
import pytest

from outrider.sim.world import parse_world
from outrider.sim.zones import Zones
from tests.patience import PATIENCE_SECONDS
from tests.sim.conftest import Running, WorldMaker

WORLD = (
    """
[[provider]]
name = "big"
domains = ["big.test"]
domain_count = 2
domain_pattern = "d{n}.many.test"
mx = [
  {name = "mx1.big.test", preference = 5, address = "127.0.0.1"},
  {name = "mx6.big.test", preference = 20, address = "::1"},
]
[[zone]]
name = "extra.test"
record = [
  {name = "@", type = "MX", value = "0 mx.extra.test."},
  {name = "mx", type = "A", value = "127.0.0.9"},
  {name = "alias", type = "CNAME", value = "far.extra.test."},
  {name = "far", type = "CNAME", value = "mx.extra.test."},
  {name = "loop", type = "CNAME", value = "loop.extra.test."},
  {name = "@", type = "TXT", value = '"v=spf1 -all"', ttl = 7},
]
[[zone]]
name = "null.test"
answer = "null-mx"
[[zone]]
name = "broken.test"
answer = "servfail"
[[zone]]
name = "gone.big.test"
answer = "nxdomain"
[[zone]]
name = "quiet.test"
answer = "silent"
[[zone]]
name = "slow.test"
delay_seconds = 0.05
record = [{name = "@", type = "A", value = "127.0.0.8"}]
[[zone]]
name = "tc.test"
truncate = true
record = [{name = "@", type = "A", value = "127.0.0.7"}]
[[zone]]
name = "huge.test"
record = [
"""
    + "".join(f'  {{name = "@", type = "A", value = "127.1.{n}.1"}},\n' for n in range(120))
    + "]\n"
)


def ask(running: Running, name: str, kind: str, *, tcp: bool = False) -> dns.message.Message:
    query = dns.message.make_query(name, kind, use_edns=False)
    how = dns.query.tcp if tcp else dns.query.udp
    return how(query, "127.0.0.1", port=running.world.dns_port, timeout=PATIENCE_SECONDS)


def answers(message: dns.message.Message) -> list[str]:
    return sorted(f"{rrset.ttl} {item}" for rrset in message.answer for item in rrset)


@pytest.mark.parametrize("tcp", [False, True])
@pytest.mark.parametrize(
    ("name", "kind", "rcode", "expected"),
    [
        ("big.test", "MX", "NOERROR", ["300 20 mx6.big.test.", "300 5 mx1.big.test."]),
        ("EXTRA.test", "TXT", "NOERROR", ['7 "v=spf1 -all"']),
        ("d1.many.test", "MX", "NOERROR", ["300 20 mx6.big.test.", "300 5 mx1.big.test."]),
        ("d2.many.test", "MX", "NXDOMAIN", []),
        ("many.test", "MX", "NOERROR", []),
        ("mx1.big.test", "A", "NOERROR", ["300 127.0.0.1"]),
        ("mx1.big.test", "AAAA", "NOERROR", []),
        ("mx6.big.test", "AAAA", "NOERROR", ["300 ::1"]),
        ("extra.test", "TXT", "NOERROR", ['7 "v=spf1 -all"']),
        ("alias.extra.test", "A", "NOERROR", ["300 127.0.0.9", "300 far.extra.test.", "300 mx.extra.test."]),
        ("null.test", "MX", "NOERROR", ["300 0 ."]),
        ("null.test", "A", "NOERROR", []),
        ("broken.test", "MX", "SERVFAIL", []),
        ("sub.broken.test", "A", "SERVFAIL", []),
        ("gone.big.test", "MX", "NXDOMAIN", []),
        ("nowhere.test", "MX", "NXDOMAIN", []),
        ("slow.test", "A", "NOERROR", ["300 127.0.0.8"]),
    ],
)
def test_answers(
    start_world: WorldMaker, name: str, kind: str, rcode: str, expected: list[str], *, tcp: bool
) -> None:
    running = start_world(WORLD)
    answer = ask(running, name, kind, tcp=tcp)
    assert dns.rcode.to_text(answer.rcode()) == rcode
    assert answers(answer) == expected


@pytest.mark.parametrize(("name", "count"), [("tc.test", 1), ("huge.test", 120)])
def test_truncation_leads_to_tcp(start_world: WorldMaker, name: str, count: int) -> None:
    running = start_world(WORLD)
    over_udp = ask(running, name, "A")
    assert over_udp.flags & dns.flags.TC
    assert over_udp.answer == []
    assert len(answers(ask(running, name, "A", tcp=True))) == count


def test_a_larger_payload_is_used(start_world: WorldMaker) -> None:
    running = start_world(WORLD)
    query = dns.message.make_query("huge.test", "A", use_edns=0, payload=4096)
    answer = dns.query.udp(query, "127.0.0.1", port=running.world.dns_port, timeout=PATIENCE_SECONDS)
    assert len(answers(answer)) == 120


def test_silence(start_world: WorldMaker) -> None:
    running = start_world(WORLD)
    query = dns.message.make_query("quiet.test", "A")
    with pytest.raises(dns.exception.Timeout):
        dns.query.udp(query, "127.0.0.1", port=running.world.dns_port, timeout=0.1)
    assert running.world.dns.queries == 1


def test_a_resolver_works_with_it(start_world: WorldMaker) -> None:
    running = start_world(WORLD)
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = ["127.0.0.1"]
    resolver.port = running.world.dns_port
    assert [str(record.exchange) for record in resolver.resolve("extra.test", "MX")] == ["mx.extra.test."]
    with pytest.raises(dns.resolver.NXDOMAIN):
        resolver.resolve("nowhere.test", "MX")


def test_a_loop_of_aliases_ends() -> None:
    found = Zones(parse_world(WORLD, "w")).find("loop.extra.test", "A")
    assert {record.type for record in found.records} == {"CNAME"}


def test_a_domain_in_utf8_is_known_by_its_a_labels() -> None:
    provider = """
    [[provider]]
    name = "a"
    domains = ["Bücher.test"]
    mx = [{name = "mx.bücher.test", address = "127.0.0.1"}]
    """
    found = Zones(parse_world(provider, "w")).find("xn--bcher-kva.test", "MX")
    assert ["mx.xn--bcher-kva.test" in str(record) for record in found.records] == [True]
