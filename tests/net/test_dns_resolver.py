"""The resolver against a scripted server on loopback: what it asks, believes, follows and gives up on."""

import itertools
from collections.abc import Awaitable, Callable

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.resolver
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.base.clock import FakeClock
from outrider.base.errors import ConfigError
from outrider.base.log import ListLog
from outrider.net import exchange as exchange_module
from outrider.net import resolver as resolver_module
from outrider.net.answers import Kind, Status
from outrider.net.exchange import ANSWER_RECORDS_MAX, FORGERIES_MAX, HEADER_OCTETS, ExchangeError
from outrider.net.options import NetOptions
from outrider.net.resolver import CNAME_HOPS_MAX, DnsResolver, nameservers
from tests.net.conftest import SOA, ScriptedDns
from tests.patience import PATIENCE_SECONDS

MakeDns = Callable[[], Awaitable[ScriptedDns]]

QUICK = NetOptions(query_timeout_seconds=0.05, query_rounds=1)


def make_resolver(
    *servers: ScriptedDns,
    options: NetOptions | None = None,
    log: ListLog | None = None,
    tells_names: bool = True,
) -> DnsResolver:
    ids = itertools.count(7)
    return DnsResolver(
        options or NetOptions(),
        clock=FakeClock(),
        log=log or ListLog(),
        random_bits=lambda bits: next(ids) % (1 << bits),
        servers=[server.server for server in servers],
        tells_names=tells_names,
    )


async def test_mail_exchangers_come_with_preference_and_lower_case(dns_server: ScriptedDns) -> None:
    dns_server.records("a.example", "MX", "10 MX1.A.example.", "20 mx2.a.example.", ttl=600)
    answer = await make_resolver(dns_server).lookup("a.example", Kind.MX)
    assert (answer.status, answer.ttl_seconds) == (Status.FOUND, 600)
    assert sorted(answer.exchangers) == [(10, "mx1.a.example"), (20, "mx2.a.example")]


async def test_null_mx_is_an_empty_name(dns_server: ScriptedDns) -> None:
    dns_server.records("a.example", "MX", "0 .")
    assert (await make_resolver(dns_server).lookup("a.example", Kind.MX)).exchangers == ((0, ""),)


async def test_addresses_of_both_families(dns_server: ScriptedDns) -> None:
    dns_server.records("h.example", "A", "192.0.2.1", "192.0.2.2")
    dns_server.records("h.example", "AAAA", "2001:db8::1")
    resolver = make_resolver(dns_server)
    assert set((await resolver.lookup("h.example", Kind.A)).addresses) == {"192.0.2.1", "192.0.2.2"}
    assert (await resolver.lookup("h.example", Kind.AAAA)).addresses == ("2001:db8::1",)


async def test_second_look_comes_from_the_cache(dns_server: ScriptedDns) -> None:
    dns_server.records("h.example", "A", "192.0.2.1")
    resolver = make_resolver(dns_server)
    await resolver.lookup("h.example", Kind.A)
    await resolver.lookup("h.example", Kind.A)
    assert dns_server.count("h.example", "A") == 1


@pytest.mark.parametrize(("rcode", "status"), [("NXDOMAIN", Status.NO_NAME), ("NOERROR", Status.NO_DATA)])
async def test_negative_answers_live_as_the_soa_says(
    dns_server: ScriptedDns, rcode: str, status: Status
) -> None:
    dns_server.negative("no.example", "MX", rcode, minimum=900)
    answer = await make_resolver(dns_server).lookup("no.example", Kind.MX)
    assert (answer.status, answer.ttl_seconds) == (status, 900)


async def test_negative_answer_without_soa_is_short(dns_server: ScriptedDns) -> None:
    dns_server.negative("no.example", "MX", "NXDOMAIN", soa=False)
    assert (await make_resolver(dns_server).lookup("no.example", Kind.MX)).ttl_seconds == 60


@pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED"])
async def test_next_server_answers_what_the_first_cannot(make_dns: MakeDns, rcode: str) -> None:
    first, second = await make_dns(), await make_dns()
    first.fails(rcode)
    second.records("h.example", "A", "192.0.2.1")
    second.records("i.example", "A", "192.0.2.2")
    resolver = make_resolver(first, second)
    assert (await resolver.lookup("h.example", Kind.A)).addresses == ("192.0.2.1",)
    assert (await resolver.lookup("i.example", Kind.A)).addresses == ("192.0.2.2",)
    assert len(first.asked) == 1, "the server that answered is asked first from then on"


async def test_a_referral_is_no_answer(make_dns: MakeDns) -> None:
    """From a server that does not look further: it says nothing about the records of the name."""
    first, second = await make_dns(), await make_dns()

    def refer(query: dns.message.Message, _tcp: bool) -> list[bytes]:
        response = dns.message.make_response(query)
        response.authority.append(dns.rrset.from_text("example.", 86_400, "IN", "NS", "ns.example."))
        return [response.to_wire()]

    first.raw("a.example", "MX", refer)
    first.raw("b.example", "MX", refer)
    second.records("a.example", "MX", "10 mx.a.example.")
    second.fails("SERVFAIL")
    resolver = make_resolver(first, second)
    assert (await resolver.lookup("a.example", Kind.MX)).exchangers == ((10, "mx.a.example"),)
    assert (await make_resolver(first, second).lookup("b.example", Kind.MX)).status is Status.FAILED


async def test_silent_server_is_passed_over(make_dns: MakeDns) -> None:
    silent, second = await make_dns(), await make_dns()
    second.records("h.example", "A", "192.0.2.1")
    # a machine that stands still has the second one be late too; then both are asked again
    options = NetOptions(query_timeout_seconds=0.2, query_rounds=5, lookup_deadline_seconds=PATIENCE_SECONDS)
    resolver = make_resolver(silent, second, options=options)
    assert (await resolver.lookup("h.example", Kind.A)).addresses == ("192.0.2.1",)
    assert silent.count("h.example", "A") == second.count("h.example", "A") >= 1


async def test_no_server_answers(dns_server: ScriptedDns) -> None:
    dns_server.fails("SERVFAIL")
    log = ListLog()
    answer = await make_resolver(dns_server, log=log, options=NetOptions(query_rounds=3)).lookup(
        "h.example", Kind.MX
    )
    assert (answer.status, answer.ttl_seconds) == (Status.FAILED, 30)
    assert answer.trouble == "no nameserver has an answer (SERVFAIL)"
    assert dns_server.count("h.example", "MX") == 3
    assert [line[1] for line in log.lines if line[0] == "warning"] == ["dns.lookup_failed"]


@pytest.mark.parametrize("tells_names", [True, False])
async def test_names_that_messages_make_are_not_in_the_log(
    dns_server: ScriptedDns, tells_names: bool
) -> None:
    dns_server.fails("SERVFAIL")
    log = ListLog()
    resolver = make_resolver(dns_server, log=log, tells_names=tells_names)
    await resolver.lookup("ann.smith._spf.shop.example", Kind.A)
    assert ("ann" in repr(log.lines)) is tells_names
    assert "dns.lookup_failed" in repr(log.lines)


async def test_closed_port_is_a_failure_not_an_exception() -> None:
    unused = ScriptedDns()
    unused.port = 1  # tcpmux: nobody listens there on a test machine, and binding it is not ours
    answer = await make_resolver(unused, options=QUICK).lookup("h.example", Kind.A)
    assert (answer.status, answer.trouble) == (Status.FAILED, "no nameserver answered")


async def test_deadline_ends_it_all(dns_server: ScriptedDns) -> None:
    resolver = make_resolver(
        dns_server,
        options=NetOptions(query_timeout_seconds=30, query_rounds=5, lookup_deadline_seconds=0.1),
    )
    answer = await resolver.lookup("h.example", Kind.A)
    assert (answer.status, answer.trouble) == (Status.FAILED, "deadline passed")


def forged(query: dns.message.Message, address: str, *, wrong: str) -> bytes:
    """An answer with a wrong id or a wrong question."""
    owner = query.question[0].name
    other = query if wrong == "id" else dns.message.make_query("other.example.", "A", id=query.id)
    response = dns.message.make_response(other)
    if wrong == "id":
        response.id = query.id ^ 1
    response.answer.append(dns.rrset.from_text(owner, 300, "IN", "A", address))
    return response.to_wire()


def honest(query: dns.message.Message, address: str) -> bytes:
    response = dns.message.make_response(query)
    response.answer.append(dns.rrset.from_text(query.question[0].name, 300, "IN", "A", address))
    return response.to_wire()


@pytest.mark.parametrize("wrong", ["id", "question"])
async def test_answer_that_does_not_belong_is_ignored(dns_server: ScriptedDns, wrong: str) -> None:
    dns_server.raw(
        "h.example",
        "A",
        lambda query, tcp: [forged(query, "203.0.113.66", wrong=wrong), honest(query, "192.0.2.1")],
    )
    answer = await make_resolver(dns_server).lookup("h.example", Kind.A)
    assert answer.addresses == ("192.0.2.1",)


async def test_rubbish_is_ignored(dns_server: ScriptedDns) -> None:
    dns_server.raw(
        "h.example",
        "A",
        lambda query, tcp: [b"", b"\0", query.to_wire()[:2], b"\xff" * 40, honest(query, "192.0.2.1")],
    )
    assert (await make_resolver(dns_server).lookup("h.example", Kind.A)).addresses == ("192.0.2.1",)


@given(
    flips=st.lists(st.tuples(st.integers(0, 150), st.integers(0, 255)), max_size=12), cut=st.integers(0, 150)
)
def test_damaged_answer_is_read_or_refused(flips: list[tuple[int, int]], cut: int) -> None:
    """Whatever comes with our id and question: a message, or the one exception that callers know."""
    query = dns.message.make_query("a.example.", "MX", id=4711)
    response = dns.message.make_response(query)
    response.answer.append(dns.rrset.from_text("a.example.", 300, "IN", "CNAME", "b.example."))
    response.answer.append(
        dns.rrset.from_text("b.example.", 300, "IN", "MX", "10 c.example.", "20 d.example.")
    )
    response.authority.append(dns.rrset.from_text("example.", 300, "IN", "SOA", SOA.format(minimum=1)))
    wire = bytearray(response.to_wire())
    for at, value in flips:
        wire[at % len(wire)] = value
    data = bytes(wire[: max(HEADER_OCTETS, len(wire) - cut)])
    try:
        read = exchange_module._parsed(query, data)
    except ExchangeError:
        return
    assert read.id == query.id
    chain = resolver_module._Chain(dns.name.from_text("a.example."), 300.0)
    try:
        found = chain.follow(read, Kind.MX)
    except resolver_module._ChainError:
        return
    if found is None:
        assert resolver_module._negative_ttl(read) >= 0
    else:
        assert resolver_module._positive(found, Kind.MX, chain.ttl).status is Status.FOUND


async def test_many_forgeries_move_the_question_to_tcp(dns_server: ScriptedDns) -> None:
    def script(query: dns.message.Message, tcp: bool) -> list[bytes]:
        if tcp:
            return [honest(query, "192.0.2.1")]
        return [forged(query, "203.0.113.66", wrong="id")] * (FORGERIES_MAX + 1)

    dns_server.raw("h.example", "A", script)
    assert (await make_resolver(dns_server).lookup("h.example", Kind.A)).addresses == ("192.0.2.1",)
    assert [transport for _, _, transport in dns_server.asked] == ["udp", "tcp"]


async def test_truncated_answer_is_fetched_over_tcp(dns_server: ScriptedDns) -> None:
    dns_server.records("big.example", "A", *(f"192.0.2.{number}" for number in range(1, 255)))
    answer = await make_resolver(dns_server).lookup("big.example", Kind.A)
    assert len(answer.addresses) == 254
    assert [transport for _, _, transport in dns_server.asked] == ["udp", "tcp"]


async def test_huge_answer_is_cut_and_the_cut_is_logged(dns_server: ScriptedDns) -> None:
    dns_server.records(
        "huge.example", "MX", *(f"{number} m{number}.huge.example." for number in range(2_500))
    )
    log = ListLog()
    answer = await make_resolver(dns_server, log=log).lookup("huge.example", Kind.MX)
    assert len(answer.exchangers) == ANSWER_RECORDS_MAX
    assert answer.is_cut
    fields = {"domain": "huge.example", "kind": "MX", "kept": ANSWER_RECORDS_MAX}
    assert ("warning", "dns.answer_cut", fields) in log.lines


@pytest.mark.parametrize("cut", [0, 1])
async def test_broken_tcp_is_a_failure(dns_server: ScriptedDns, cut: int) -> None:
    def script(query: dns.message.Message, tcp: bool) -> list[bytes]:
        if tcp:
            return [b"\0" * 12][:cut]  # nothing, or an answer that is none
        response = dns.message.make_response(query)
        response.flags |= dns.flags.TC
        return [response.to_wire()]

    dns_server.raw("h.example", "A", script)
    answer = await make_resolver(dns_server, options=QUICK).lookup("h.example", Kind.A)
    assert answer.status is Status.FAILED
    # a firewall that lets UDP alone pass is told from a nameserver that is away
    assert ("let TCP to port 53 pass" in answer.trouble) is (cut == 0)


async def test_server_without_edns_is_asked_without(dns_server: ScriptedDns) -> None:
    def script(query: dns.message.Message, tcp: bool) -> list[bytes]:
        if query.edns < 0:
            return [honest(query, "192.0.2.1")]
        response = dns.message.make_response(query)
        response.use_edns(False)
        response.set_rcode(dns.rcode.FORMERR)
        return [response.to_wire()]

    dns_server.raw("h.example", "A", script)
    assert (await make_resolver(dns_server).lookup("h.example", Kind.A)).addresses == ("192.0.2.1",)


async def test_alias_inside_the_answer(dns_server: ScriptedDns) -> None:
    dns_server.sections(
        "www.example",
        "A",
        [
            ("www.example", "CNAME", 100, ["cdn.example."]),
            ("cdn.example", "CNAME", 50, ["edge.example."]),
            ("edge.example", "A", 300, ["192.0.2.1"]),
        ],
    )
    answer = await make_resolver(dns_server, options=NetOptions(ttl_min_seconds=0)).lookup(
        "www.example", Kind.A
    )
    assert (answer.addresses, answer.ttl_seconds) == (("192.0.2.1",), 50)
    assert len(dns_server.asked) == 1


async def test_alias_that_leaves_the_answer_is_asked_for(dns_server: ScriptedDns) -> None:
    dns_server.sections("www.example", "A", [("www.example", "CNAME", 100, ["edge.example."])])
    dns_server.records("edge.example", "A", "192.0.2.1")
    answer = await make_resolver(dns_server).lookup("www.example", Kind.A)
    assert answer.addresses == ("192.0.2.1",)


async def test_alias_to_nowhere_has_no_name(dns_server: ScriptedDns) -> None:
    dns_server.sections(
        "www.example", "A", [("www.example", "CNAME", 100, ["gone.example."])], rcode="NXDOMAIN"
    )
    answer = await make_resolver(dns_server).lookup("www.example", Kind.A)
    assert answer.status is Status.NO_NAME


@pytest.mark.parametrize("inside", [True, False], ids=["in one answer", "over answers"])
async def test_alias_loop_ends(dns_server: ScriptedDns, inside: bool) -> None:
    one = ("one.example", "CNAME", 100, ["two.example."])
    two = ("two.example", "CNAME", 100, ["one.example."])
    dns_server.sections("one.example", "A", [one, two] if inside else [one])
    dns_server.sections("two.example", "A", [two])
    answer = await make_resolver(dns_server).lookup("one.example", Kind.A)
    assert (answer.status, answer.trouble) == (Status.FAILED, "CNAME loop")
    assert len(dns_server.asked) <= 2


@pytest.mark.parametrize(("hops", "ends"), [(CNAME_HOPS_MAX, True), (CNAME_HOPS_MAX + 1, False)])
async def test_long_alias_chain_costs_bounded_questions(
    dns_server: ScriptedDns, hops: int, ends: bool
) -> None:
    for number in range(hops):
        dns_server.sections(
            f"n{number}.example", "A", [(f"n{number}.example", "CNAME", 100, [f"n{number + 1}.example."])]
        )
    dns_server.records(f"n{hops}.example", "A", "192.0.2.1")
    answer = await make_resolver(dns_server).lookup("n0.example", Kind.A)
    assert (answer.status is Status.FOUND) is ends
    assert len(dns_server.asked) <= CNAME_HOPS_MAX + 1


@pytest.mark.parametrize("name", ["a..example", "x" * 64 + ".example", ".".join(["abcdefgh"] * 40), ""])
async def test_name_that_dns_cannot_hold_does_not_exist(dns_server: ScriptedDns, name: str) -> None:
    dns_server.fails()
    answer = await make_resolver(dns_server).lookup(name, Kind.MX)
    assert answer.status in (Status.NO_NAME, Status.FAILED)
    assert answer.status is Status.NO_NAME or not name


def test_nameservers_of_the_options() -> None:
    options = NetOptions(nameservers=("192.0.2.53", "127.0.0.1:5353", "[::1]:54"))
    assert nameservers(options) == [("192.0.2.53", 53), ("127.0.0.1", 5353), ("::1", 54)]


def test_missing_nameservers_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(**_: object) -> None:
        raise OSError

    monkeypatch.setattr(dns.resolver, "Resolver", none)
    with pytest.raises(ConfigError, match=r"net\.nameservers"):
        nameservers(NetOptions())
