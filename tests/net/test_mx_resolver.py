"""Routes from a table of answers: MX order, implicit and null MX, loops, forbidden targets, smart hosts."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from outrider.base.log import ListLog
from outrider.model.route import Exchanger, Route, RouteFailure
from outrider.net import replies
from outrider.net.answers import Answer, Kind, Status
from outrider.net.mx import FIXED_VALID_SECONDS, MxResolver
from outrider.net.options import NetOptions, RouteOptions

V4, V4B, V6 = "9.9.9.1", "9.9.9.2", "2620:fe::1"
FAILED = Answer(Status.FAILED, 30.0, trouble="silence")
NO_NAME = Answer(Status.NO_NAME, 300.0)
NO_DATA = Answer(Status.NO_DATA, 300.0)


class Table:
    """Answers from a table; what is not in it gets `default`."""

    def __init__(self, answers: dict[tuple[str, Kind], Answer], default: Answer = NO_DATA) -> None:
        self.answers = answers
        self.default = default
        self.asked: list[tuple[str, Kind]] = []

    async def lookup(self, name: str, kind: Kind) -> Answer:
        self.asked.append((name, kind))
        return self.answers.get((name, kind), self.default)


def mx(*exchangers: tuple[int, str], ttl: float = 300.0) -> Answer:
    return Answer(Status.FOUND, ttl, exchangers=exchangers)


def at(*addresses: str, ttl: float = 300.0) -> Answer:
    return Answer(Status.FOUND, ttl, addresses=addresses)


def resolver(
    answers: dict[tuple[str, Kind], Answer],
    options: NetOptions | None = None,
    *,
    listeners: tuple[tuple[str, int], ...] = (),
    smtp_port: int = 25,
    local: tuple[str, ...] = (),
    log: ListLog | None = None,
) -> MxResolver:
    return MxResolver(
        Table(answers),
        options or NetOptions(),
        log=log or ListLog(),
        listeners=listeners,
        smtp_port=smtp_port,
        is_local=local.__contains__,
    )


def route_to(*exchangers: Exchanger, implicit: bool = False, valid: float = 300.0) -> Route:
    return Route("d.example", exchangers, implicit=implicit, valid_seconds=valid)


async def test_exchangers_come_in_the_order_of_preference() -> None:
    answers = {
        ("d.example", Kind.MX): mx((20, "b.example"), (10, "a.example")),
        ("a.example", Kind.A): at(V4, ttl=120),
        ("a.example", Kind.AAAA): at(V6),
        ("b.example", Kind.A): at(V4B),
    }
    assert await resolver(answers).route("d.example") == route_to(
        Exchanger(10, "a.example", (V4, V6)), Exchanger(20, "b.example", (V4B,)), valid=120
    )


async def test_families_come_in_the_configured_order() -> None:
    answers = {
        ("d.example", Kind.MX): mx((10, "a.example")),
        ("a.example", Kind.A): at(V4),
        ("a.example", Kind.AAAA): at(V6),
    }
    six_first = NetOptions(ip_families=("ipv6", "ipv4"))
    six_only = NetOptions(ip_families=("ipv6",))
    assert await resolver(answers, six_first).route("d.example") == route_to(
        Exchanger(10, "a.example", (V6, V4))
    )
    assert await resolver(answers, six_only).route("d.example") == route_to(Exchanger(10, "a.example", (V6,)))


async def test_domain_without_mx_is_its_own_exchanger() -> None:
    found = await resolver({("d.example", Kind.A): at(V4)}).route("d.example")
    assert found == route_to(Exchanger(0, "d.example", (V4,)), implicit=True)


async def test_address_is_not_used_where_mx_records_exist() -> None:
    """RFC 5321 §5.1: with MX records, the address records of the domain are not looked at."""
    answers = {("d.example", Kind.MX): mx((10, "a.example")), ("d.example", Kind.A): at(V4)}
    assert await resolver(answers).route("d.example") == RouteFailure(
        "d.example", replies.EXCHANGERS_WITHOUT_ADDRESS, 300.0
    )


@pytest.mark.parametrize(
    ("answers", "reply"),
    [
        ({("d.example", Kind.MX): NO_NAME}, replies.DOMAIN_UNKNOWN),
        ({("d.example", Kind.MX): FAILED}, replies.DNS_UNAVAILABLE),
        ({("d.example", Kind.MX): mx((0, ""))}, replies.NULL_MX),
        ({}, replies.DOMAIN_WITHOUT_MAIL),
        ({("d.example", Kind.A): FAILED}, replies.DNS_UNAVAILABLE),
        ({("d.example", Kind.AAAA): FAILED}, replies.DNS_UNAVAILABLE),
        (
            {("d.example", Kind.MX): mx((1, "a.example"), (2, "b.example")), ("b.example", Kind.A): FAILED},
            replies.DNS_UNAVAILABLE,
        ),
        (
            {("d.example", Kind.MX): mx((1, "a.example")), ("a.example", Kind.A): at("127.0.0.1")},
            replies.EXCHANGERS_FORBIDDEN,
        ),
        ({("d.example", Kind.A): at("10.0.0.1", "192.168.1.1")}, replies.EXCHANGERS_FORBIDDEN),
    ],
)
async def test_reasons_of_failure(answers: dict[tuple[str, Kind], Answer], reply: object) -> None:
    failure = await resolver(answers).route("d.example")
    assert isinstance(failure, RouteFailure)
    assert failure.reply == reply


async def test_null_mx_beside_others_is_ignored() -> None:
    """RFC 7505 §3 forbids the mix; the real exchanger is the safer reading."""
    answers = {
        ("d.example", Kind.MX): mx((0, ""), (10, "a.example")),
        ("a.example", Kind.A): at(V4),
    }
    assert await resolver(answers).route("d.example") == route_to(Exchanger(10, "a.example", (V4,)))


@pytest.mark.parametrize(
    "name", ["a b.example", "a\\000.example", "<a>.example", "-a.example", "a..", "ä.example"]
)
async def test_exchanger_that_is_no_host_name_is_left_out(name: str) -> None:
    """DNS labels may hold any octet; names that go on to TLS, logs and reports may not."""
    only = {("d.example", Kind.MX): mx((1, name))}
    failure = await MxResolver(Table(only, default=at(V4)), NetOptions(), log=ListLog()).route("d.example")
    assert failure == RouteFailure("d.example", replies.EXCHANGERS_WITHOUT_ADDRESS, 300.0)
    both = {("d.example", Kind.MX): mx((1, name), (2, "a_b-c.example"))}
    found = await MxResolver(Table(both, default=at(V4)), NetOptions(), log=ListLog()).route("d.example")
    assert isinstance(found, Route)
    assert [exchanger.name for exchanger in found.exchangers] == ["a_b-c.example"]


async def test_name_that_does_not_exist_is_asked_for_once() -> None:
    table = Table({("d.example", Kind.MX): mx((1, "gone.example"))}, default=NO_NAME)
    await MxResolver(table, NetOptions(), log=ListLog()).route("d.example")
    assert table.asked == [("d.example", Kind.MX), ("gone.example", Kind.A)]


async def test_working_exchanger_is_used_although_another_failed() -> None:
    answers = {
        ("d.example", Kind.MX): mx((1, "a.example"), (2, "b.example")),
        ("a.example", Kind.A): FAILED,
        ("b.example", Kind.A): at(V4),
    }
    assert await resolver(answers).route("d.example") == route_to(
        Exchanger(2, "b.example", (V4,)), valid=30.0
    )


async def test_name_listed_twice_counts_once_with_its_best_preference() -> None:
    answers = {
        ("d.example", Kind.MX): mx((20, "a.example"), (5, "a.example")),
        ("a.example", Kind.A): at(V4),
    }
    assert await resolver(answers).route("d.example") == route_to(Exchanger(5, "a.example", (V4,)))


async def test_ten_thousand_exchangers_cost_twenty_look_ups() -> None:
    answers = {("d.example", Kind.MX): mx(*((n, f"m{n}.example") for n in reversed(range(10_000))))}
    table = Table(answers, default=at(V4))
    log = ListLog()
    found = await MxResolver(table, NetOptions(), log=log).route("d.example")
    assert isinstance(found, Route)
    assert [exchanger.preference for exchanger in found.exchangers] == list(range(20))
    assert len(table.asked) <= 1 + 2 * 20
    assert [line[1:] for line in log.lines if line[0] == "warning"] == [
        ("dns.exchangers_cut", {"domain": "d.example", "found": 10_000, "kept": 20})
    ]


@pytest.mark.parametrize(("count", "is_cut"), [(20, False), (21, False), (20, True)])
async def test_exchangers_that_were_left_out_may_work(count: int, is_cut: bool) -> None:
    """So the message waits, unless all of them were looked at."""
    answer = replace(mx(*((n, f"m{n}.example") for n in range(count))), is_cut=is_cut)
    found = await resolver({("d.example", Kind.MX): answer}).route("d.example")
    assert isinstance(found, RouteFailure)
    assert found.reply.is_transient is (count > 20 or is_cut)


async def test_addresses_of_an_exchanger_are_bounded() -> None:
    answers = {("d.example", Kind.A): at(*(f"9.9.9.{n}" for n in range(200)))}
    found = await resolver(answers).route("d.example")
    assert isinstance(found, Route)
    assert len(found.exchangers[0].addresses) == 16


@pytest.mark.parametrize(
    ("literal", "address"),
    [("[9.9.9.1]", V4), ("[IPv6:2620:fe::1]", V6), ("[ipv6:2620:FE:0:0:0:0:0:1]", V6)],
)
async def test_address_literals_need_no_dns(literal: str, address: str) -> None:
    assert await resolver({}).route(literal) == Route(
        literal, (Exchanger(0, literal, (address,)),), implicit=True, valid_seconds=FIXED_VALID_SECONDS
    )


@pytest.mark.parametrize(
    ("literal", "reply"),
    [
        ("[9.9.9]", replies.LITERAL_INVALID),
        ("[x-tag:abc]", replies.LITERAL_INVALID),
        ("[]", replies.LITERAL_INVALID),
        ("[127.0.0.1]", replies.EXCHANGERS_FORBIDDEN),
        ("[IPv6:::1]", replies.EXCHANGERS_FORBIDDEN),
        ("[IPv6:::ffff:10.1.2.3]", replies.EXCHANGERS_FORBIDDEN),
        ("[IPv6:fe80::1%eth0]", replies.EXCHANGERS_FORBIDDEN),
    ],
)
async def test_literals_that_lead_nowhere(literal: str, reply: object) -> None:
    failure = await resolver({}).route(literal)
    assert isinstance(failure, RouteFailure)
    assert failure.reply == reply


LOCAL = NetOptions(allow_private_targets=True)
THREE = {
    ("d.example", Kind.MX): mx(
        (5, "first.example"), (10, "ours.example"), (10, "peer.example"), (20, "c.example")
    ),
    ("first.example", Kind.A): at(V4),
    ("ours.example", Kind.A): at("127.0.0.2"),
    ("peer.example", Kind.A): at(V4B),
    ("c.example", Kind.A): at("9.9.9.3"),
}


async def test_exchangers_behind_our_own_preference_are_dropped() -> None:
    """RFC 5321 §5.1: those of equal and worse preference would only hand the mail back."""
    found = await resolver(THREE, LOCAL, listeners=(("127.0.0.2", 25),)).route("d.example")
    assert found == route_to(Exchanger(5, "first.example", (V4,)))


async def test_loop_when_we_are_the_best_exchanger() -> None:
    answers = {**THREE, ("d.example", Kind.MX): mx((10, "ours.example"), (20, "c.example"))}
    failure = await resolver(answers, LOCAL, listeners=(("127.0.0.2", 25),)).route("d.example")
    assert failure == RouteFailure("d.example", replies.LOOP, 300.0)


async def test_other_port_of_our_address_is_another_server() -> None:
    found = await resolver(THREE, LOCAL, listeners=(("127.0.0.2", 2525),)).route("d.example")
    assert isinstance(found, Route)
    assert len(found.exchangers) == 4
    looped = resolver(THREE, LOCAL, listeners=(("127.0.0.2", 2525),), smtp_port=2525)
    assert await looped.route("d.example") == route_to(Exchanger(5, "first.example", (V4,)))


async def test_wildcard_listener_stands_for_every_address_of_the_machine() -> None:
    answers = {("d.example", Kind.A): at(V4)}
    ours = resolver(answers, listeners=(("0.0.0.0", 25),), local=(V4,))
    assert await ours.route("d.example") == RouteFailure("d.example", replies.LOOP, 300.0)
    theirs = resolver(answers, listeners=(("0.0.0.0", 25),), local=(V4B,))
    assert isinstance(await theirs.route("d.example"), Route)


async def test_address_translated_to_us_is_ours() -> None:
    options = NetOptions(own_addresses=(V4,))
    answers = {("d.example", Kind.A): at(V4)}
    failure = await resolver(answers, options, listeners=(("10.0.0.5", 25),)).route("d.example")
    assert failure == RouteFailure("d.example", replies.LOOP, 300.0)
    other = resolver(answers, options, listeners=(("10.0.0.5", 2525),))
    assert isinstance(await other.route("d.example"), Route)


async def test_better_exchanger_that_failed_makes_a_loop_transient() -> None:
    answers = {**THREE, ("first.example", Kind.A): FAILED}
    failure = await resolver(answers, LOCAL, listeners=(("127.0.0.2", 25),)).route("d.example")
    assert isinstance(failure, RouteFailure)
    assert failure.reply == replies.DNS_UNAVAILABLE


async def test_allowed_network_opens_only_itself() -> None:
    options = NetOptions.model_validate({"allowed_target_networks": ["127.0.0.0/8"]})
    answers = {("d.example", Kind.A): at("127.0.0.9", "10.0.0.1", V4)}
    log = ListLog()
    found = await resolver(answers, options, log=log).route("d.example")
    assert found == route_to(Exchanger(0, "d.example", ("127.0.0.9", V4)), implicit=True)
    assert ("warning", "dns.targets_refused", {"domain": "d.example", "addresses": 1}) in log.lines


def routes(*rows: dict[str, object]) -> NetOptions:
    return NetOptions.model_validate({"routes": rows})


async def test_smart_host_with_addresses_and_names() -> None:
    options = routes({"domain": "*", "hosts": ["mx.example:587", "127.0.0.1:2525"], "name": "uplink"})
    found = await resolver({("mx.example", Kind.A): at(V4)}, options).route("d.example")
    assert found == Route(
        "d.example",
        (Exchanger(0, "mx.example", (V4,), 587), Exchanger(1, "127.0.0.1", ("127.0.0.1",), 2525)),
        implicit=False,
        valid_seconds=300.0,
        site="uplink",
        port=0,
    )


async def test_smart_host_with_one_port_names_it_for_all() -> None:
    options = routes({"domain": "d.example", "hosts": ["[2620:fe::1]:587", "9.9.9.1:587"]})
    found = await resolver({}, options).route("d.example")
    assert found == Route(
        "d.example",
        (Exchanger(0, "2620:fe::1", (V6,), 587), Exchanger(1, V4, (V4,), 587)),
        implicit=False,
        valid_seconds=FIXED_VALID_SECONDS,
        port=587,
    )


@pytest.mark.parametrize(
    ("domain", "site"),
    [
        ("d.example", "exact"),
        ("a.d.example", "below"),
        ("b.a.d.example", "deeper"),
        ("e.example", "zone"),
        ("example", "rest"),
        ("other.test", "rest"),
        ("[9.9.9.1]", "rest"),
    ],
)
async def test_most_specific_route_wins(domain: str, site: str) -> None:
    options = routes(
        {"domain": "*", "hosts": ["127.0.0.1"], "name": "rest"},
        {"domain": "*.example", "hosts": ["127.0.0.1"], "name": "zone"},
        {"domain": "*.a.d.example", "hosts": ["127.0.0.1"], "name": "deeper"},
        {"domain": "*.D.example", "hosts": ["127.0.0.1"], "name": "below"},
        {"domain": "d.example", "hosts": ["127.0.0.1"], "name": "exact"},
        {"domain": "d.example", "hosts": ["127.0.0.1"], "name": "second"},
    )
    found = await resolver({}, options).route(domain)
    assert isinstance(found, Route)
    assert found.site == site


async def test_smart_host_that_cannot_be_found_defers() -> None:
    options = routes({"domain": "*", "hosts": ["gone.example"]})
    failure = await resolver({("gone.example", Kind.A): NO_NAME}, options).route("d.example")
    assert failure == RouteFailure("d.example", replies.SMART_HOST_UNKNOWN, 300.0)
    assert failure.reply.is_transient


async def test_smart_host_that_is_ourselves_is_a_loop() -> None:
    options = routes({"domain": "*", "hosts": ["127.0.0.1:2525"]})
    failure = await resolver({}, options, listeners=(("127.0.0.1", 2525),)).route("d.example")
    assert failure == RouteFailure("d.example", replies.LOOP, FIXED_VALID_SECONDS)


def test_route_options_are_checked() -> None:
    with pytest.raises(ValueError, match="at least 1 item"):
        RouteOptions(domain="*", hosts=())
    with pytest.raises(ValueError, match="write a domain"):
        RouteOptions(domain="*example", hosts=("a",))
    with pytest.raises(ValueError, match="port must be a number"):
        RouteOptions(domain="*", hosts=("a:smtp",))


ANSWERS = st.sampled_from(
    [FAILED, NO_NAME, NO_DATA, at(V4), at("127.0.0.1"), at("9.9.9.7"), at("10.0.0.1", V4B)]
)


@given(
    preferences=st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abcd")), min_size=1, max_size=8),
    hosts=st.dictionaries(st.sampled_from("abcd"), ANSWERS),
)
async def test_no_route_leads_to_ourselves_or_behind_us(
    preferences: list[tuple[int, str]], hosts: dict[str, Answer]
) -> None:
    answers = {("d.example", Kind.MX): mx(*((p, f"{name}.example") for p, name in preferences))}
    answers.update({(f"{name}.example", Kind.A): answer for name, answer in hosts.items()})
    found = await resolver(answers, listeners=(("9.9.9.7", 25),)).route("d.example")
    own = [p for p, name in preferences if "9.9.9.7" in hosts.get(name, NO_DATA).addresses]
    if isinstance(found, RouteFailure):
        assert found.reply.code >= 400
        return
    assert found.exchangers
    for exchanger in found.exchangers:
        assert exchanger.addresses
        assert not {"9.9.9.7", "127.0.0.1", "10.0.0.1"} & set(exchanger.addresses)
        assert all(exchanger.preference < p for p in own)
    assert found.valid_seconds > 0


async def test_a_route_may_lead_to_a_unix_socket(tmp_path: Path) -> None:
    socket = f"unix:{tmp_path}/Lmtp"
    options = NetOptions(routes=(RouteOptions(domain="store.test", hosts=(socket,)),))
    found = await resolver({}, options, listeners=(("0.0.0.0", 0),)).route("store.test")
    assert isinstance(found, Route)
    assert [(each.name, each.addresses) for each in found.exchangers] == [(socket, (socket,))]


@pytest.mark.parametrize("text", ["unix:", "unix:relative/path", "unix:/a\nb", "unix:/" + "a" * 200])
def test_a_unix_socket_is_named_whole(text: str) -> None:
    with pytest.raises(ValueError, match="unix:/path"):
        RouteOptions(domain="store.test", hosts=(text,))
