"""The deliverer against scripted hosts on loopback: what is delivered, tried elsewhere, given back."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import pytest
from msgspec.structs import replace

from outrider.base.clock import FakeClock
from outrider.classify.verdict import classify
from outrider.model.changes import Stored
from outrider.model.dispatch import Batch, Close
from outrider.model.flow import Content, Disposition, Phase, Traits
from tests.patience import PATIENCE_SECONDS

if TYPE_CHECKING:
    from tests.deliver.conftest import Peer, Rule, World

DROP = "DROP"
HANG = "HANG"


async def test_one_connection_carries_all_that_is_granted(world: "World") -> None:
    peer = await world.peer()
    entries = [entry for _ in range(50) for entry in world.message()]
    async with world.running() as deliverer:
        world.answer_wants(deliverer, entries[3:])
        slot = world.open_slot(deliverer, [peer], *entries[:3])
        await world.report.until(lambda: world.report.ends)
    assert peer.connections == 1
    assert len(peer.contents) == 50
    assert world.report.ends == {slot: [(None, 50)]}
    assert set(world.report.codes().values()) == {(250, Phase.BODY, False)}
    world.assert_once(entries)


async def test_an_outcome_says_where_it_comes_from(world: "World") -> None:
    peer = await world.peer()
    [entry] = world.message()
    async with world.running() as deliverer:
        world.open_slot(deliverer, [peer], entry)
        await world.report.until(lambda: world.report.outcomes)
    [[outcome]] = world.report.outcomes.values()
    assert outcome.reply.enhanced == "2.0.0"
    assert outcome.host == "mx.peer.test"
    assert outcome.peer == f"127.0.0.1:{peer.host.port}"
    assert outcome.source == "127.0.0.1"
    assert outcome.tls is None
    assert outcome.seconds >= 0


@pytest.mark.parametrize(("features", "dsn"), [(("PIPELINING",), False), (("PIPELINING", "DSN"), True)])
async def test_an_outcome_says_whether_the_host_offers_reports(
    world: "World", features: tuple[str, ...], dsn: bool
) -> None:
    peer = await world.peer(features=features)
    async with world.running() as deliverer:
        world.open_slot(deliverer, [peer], *world.message())
        await world.report.until(lambda: world.report.outcomes)
    [[outcome]] = world.report.outcomes.values()
    assert outcome.dsn is dsn


async def test_recipients_of_one_message_share_a_transaction(world: "World") -> None:
    peer = await world.peer(lambda peer, verb, line: "550 5.1.1 No" if "<c@" in line else None)
    entries = [*world.message("b", "c", "d"), *world.message("e")]
    async with world.running() as deliverer:
        world.open_slot(deliverer, [peer], *entries)
        await world.report.until(lambda: len(world.report.outcomes) == 4)
    assert [recipients for _, recipients, _ in peer.contents] == [("b", "d"), ("e",)]
    assert [code for code, _, _ in world.report.codes().values()].count(250) == 3
    assert world.report.codes()[entries[1].entry] == (550, Phase.RCPT, False)
    world.assert_once(entries)


async def test_a_transaction_has_at_most_so_many_recipients(world: "World") -> None:
    peer = await world.peer()
    entries = world.message("b", "c", "d", "e", "f")
    async with world.running(max_recipients_per_transaction=2) as deliverer:
        world.open_slot(deliverer, [peer], *entries)
        await world.report.until(lambda: len(world.report.outcomes) == 5)
    assert [recipients for _, recipients, _ in peer.contents] == [("b", "c"), ("d", "e"), ("f",)]


@pytest.mark.parametrize("features", [(), ("PIPELINING",), ("PIPELINING", "CHUNKING")])
async def test_recipients_over_the_host_s_number_go_with_the_next_transaction(
    world: "World", features: tuple[str, ...]
) -> None:
    taken = 0

    def rule(peer: "Peer", verb: str, line: str) -> str | None:
        nonlocal taken
        taken = 0 if verb in {"MAIL", "RSET"} else taken + (verb == "RCPT")
        return "452 4.5.3 Too many recipients" if verb == "RCPT" and taken > 2 else None

    peer = await world.peer(rule, features=features)
    entries = world.message("b", "c", "d", "e", "f")
    async with world.running() as deliverer:
        slot = world.open_slot(deliverer, [peer], *entries)
        outcomes = world.report.outcomes
        for count in (2, 4, 5):
            await world.report.until(partial(lambda want: len(outcomes) == want, count))
            back, world.report.back = world.report.back, []
            assert back == [granted.entry for granted in entries[count:]]
            seen, world.report.seen = world.report.seen, []
            assert seen == back, "the host has seen their RCPT"
            if back:
                deliverer.batch(Batch(slot, tuple(entries[count:])))
    assert [recipients for _, recipients, _ in peer.contents] == [("b", "c"), ("d", "e"), ("f",)]
    world.assert_once(entries)


def taking_two(beyond: str, others: Callable[[str, int], str | None]) -> "Rule":
    """From the third RCPT of a transaction on the reply is `beyond`, else what `others` says."""
    asked = 0

    def rule(peer: "Peer", verb: str, line: str) -> str | None:
        nonlocal asked
        asked = 0 if verb in {"MAIL", "RSET"} else asked + (verb == "RCPT")
        return beyond if verb == "RCPT" and asked > 2 else others(verb, asked)

    return rule


@pytest.mark.parametrize("features", [(), ("PIPELINING",), ("PIPELINING", "CHUNKING")])
@pytest.mark.parametrize("reply", ["554 Too many recipients", "550 5.5.3 That many never"])
async def test_a_content_that_is_refused_for_the_number_of_recipients_goes_to_fewer(
    world: "World", features: tuple[str, ...], reply: str
) -> None:
    """Exim with recipients_max_reject refuses the content for those too whom it took."""
    content = "CONTENT" if "CHUNKING" in features else "DATA"
    rule = taking_two(
        "552 too many recipients", lambda verb, asked: reply if verb == content and asked > 2 else None
    )
    peer = await world.peer(rule, features=features)
    entries = world.message("b", "c", "d", "e", "f")
    async with world.running() as deliverer:
        slot = world.open_slot(deliverer, [peer], *entries)
        outcomes = world.report.outcomes
        await world.report.until(lambda: len(outcomes) == 2)
        deliverer.batch(Batch(slot, tuple(entries[2:])))
        await world.report.until(lambda: len(outcomes) == 5)
    numbers = [granted.entry for granted in entries]
    assert world.report.back == numbers[2:]
    codes = world.report.codes()
    assert [codes[number][0] for number in numbers] == [452, 452, 250, 250, 250]
    outcome = outcomes[numbers[0]][0]
    assert classify(outcome).disposition is Disposition.TRANSIENT
    assert outcome.reply.text.endswith(reply.partition(" ")[2].removeprefix("5.5.3 "))
    assert [recipients for _, recipients, _ in peer.contents][-2:] == [("d", "e"), ("f",)]


@pytest.mark.parametrize("features", [(), ("PIPELINING",), ("PIPELINING", "CHUNKING")])
async def test_a_content_that_is_refused_for_itself_is_refused_also_where_others_were_put_off(
    world: "World", features: tuple[str, ...]
) -> None:
    rule = taking_two(
        "452 4.5.3 Too many recipients",
        lambda verb, _asked: "550 5.7.1 Looks like spam" if verb == "CONTENT" else None,
    )
    peer = await world.peer(rule, features=features)
    entries = world.message("b", "c", "d")
    async with world.running() as deliverer:
        world.open_slot(deliverer, [peer], *entries)
        await world.report.until(lambda: len(world.report.outcomes) == 2)
    assert [code for code, _, _ in world.report.codes().values()] == [550, 550]


@pytest.mark.parametrize("features", [(), ("PIPELINING",), ("CHUNKING",), ("PIPELINING", "CHUNKING")])
@pytest.mark.parametrize("body", [b"..dot\r\n", b"x\r\n" * 200_000])
async def test_the_content_arrives_as_it_was_stored(
    world: "World", features: tuple[str, ...], body: bytes
) -> None:
    peer = await world.peer(features=features)
    traits = Traits.DOTTED if body.startswith(b"..") else Traits.NONE
    [entry] = world.message(body=body, traits=int(traits))
    async with world.running() as deliverer:
        world.open_slot(deliverer, [peer], entry)
        await world.report.until(lambda: world.report.outcomes)
    [(_, _, content)] = peer.contents
    stuffed = "CHUNKING" not in features
    assert content.partition(b"\r\n\r\n")[2] == (body if stuffed else body.replace(b"..", b"."))


async def test_a_dead_host_is_passed_over_and_tried_last_the_next_time(world: "World") -> None:
    dead = await world.refusing()
    peer = await world.peer()
    first, second = world.message(), world.message()
    async with world.running() as deliverer:
        world.open_slot(deliverer, [dead, peer], *first)
        await world.report.until(lambda: len(world.report.outcomes) == 1)
        assert deliverer._memory.order([dead, peer.host]) == [peer.host, dead]
        world.open_slot(deliverer, [dead, peer], *second)
        await world.report.until(lambda: len(world.report.outcomes) == 2)
    world.assert_once([*first, *second])


@pytest.mark.parametrize(
    ("verb", "reply"),
    [
        ("CONNECT", "421 4.3.2 Busy"),
        ("CONNECT", "554 5.3.2 No mail here"),
        ("CONNECT", "garbage"),
        ("CONNECT", DROP),
        ("CONNECT", HANG),
        ("EHLO", "451 4.3.0 Later"),
        ("EHLO", DROP),
        ("EHLO", HANG),
    ],
)
async def test_the_next_host_takes_what_the_first_did_not_come_to(
    world: "World", verb: str, reply: str
) -> None:
    first = await world.peer(lambda peer, at, line: reply if at == verb else None)
    second = await world.peer()
    entries = world.message()
    clock = FakeClock()
    soon: dict[str, Any] = {"greeting_seconds": 100, "ehlo_seconds": 100, "quit_seconds": 100}
    async with world.running(clock=clock, **soon) as deliverer:
        slot = world.open_slot(deliverer, [first, second], *entries)
        while not second.connections:  # a second passes in each turn, and none where the machine stands still
            clock.advance(1)
            await asyncio.sleep(0.001)
        await world.report.until(lambda: world.report.outcomes)
    assert first.connections == 1
    assert len(second.contents) == 1
    assert world.report.ends[slot] == [(None, 1)]
    world.assert_once(entries)


async def test_when_no_host_is_reached_each_entry_has_an_outcome_of_ours(world: "World") -> None:
    entries = [*world.message("b", "c"), *world.message(missing=True)]
    async with world.running() as deliverer:
        slot = world.open_slot(deliverer, [await world.refusing()], *entries)
        await world.report.until(lambda: world.report.ends)
    assert set(world.report.codes().values()) == {(451, Phase.CONNECT, True)}
    [(failure, deliveries)] = world.report.ends[slot]
    assert failure is not None
    assert failure.reply.enhanced == "4.4.1"
    assert "dead.peer.test" in failure.reply.text
    assert deliveries == 0
    world.assert_once(entries)


async def test_no_host_at_all_is_a_failure_to_connect(world: "World") -> None:
    entries = world.message()
    async with world.running() as deliverer:
        world.open_slot(deliverer, [], *entries)
        await world.report.until(lambda: world.report.ends)
    assert world.report.codes() == {entries[0].entry: (451, Phase.CONNECT, True)}


async def test_the_failure_that_came_furthest_is_reported(world: "World") -> None:
    refusing = await world.peer(lambda peer, verb, line: "554 5.3.2 No" if verb == "CONNECT" else None)
    busy = await world.peer(lambda peer, verb, line: "421 4.3.2 Busy" if verb == "CONNECT" else None)
    entries = world.message()
    async with world.running() as deliverer:
        slot = world.open_slot(deliverer, [busy, refusing, await world.refusing()], *entries)
        await world.report.until(lambda: world.report.ends)
    assert world.report.codes() == {entries[0].entry: (421, Phase.GREETING, False)}
    [(failure, _)] = world.report.ends[slot]
    assert failure is not None
    assert failure.peer == f"127.0.0.1:{busy.host.port}"


@pytest.mark.parametrize(
    ("verb", "phase"),
    [("MAIL", Phase.MAIL), ("RCPT", Phase.RCPT), ("DATA", Phase.DATA), ("CONTENT", Phase.BODY)],
)
@pytest.mark.parametrize("how", [DROP, HANG, "garbage"])
@pytest.mark.parametrize("features", [(), ("PIPELINING",)])
async def test_a_transaction_that_breaks_off_is_a_transient_outcome_of_ours(
    world: "World", verb: str, phase: Phase, how: str, features: tuple[str, ...]
) -> None:
    peer = await world.peer(lambda peer, at, line: how if at == verb else None, features=features)
    entries = [*world.message(), *world.message()]
    clock = FakeClock()
    soon: dict[str, Any] = {f"{name}_seconds": 100 for name in ("mail", "rcpt", "data", "body")}
    async with world.running(clock=clock, overlap=False, **soon) as deliverer:
        slot = world.open_slot(deliverer, [peer], *entries)
        while how == HANG and not world.report.ends:  # as above
            clock.advance(verb in peer.verbs)
            await asyncio.sleep(0.001)
        await world.report.until(lambda: world.report.ends)
    assert world.report.codes() == {entries[0].entry: (451, phase, True)}
    assert world.report.back == [entries[1].entry]
    [(failure, deliveries)] = world.report.ends[slot]
    assert failure is not None
    assert failure.reply.enhanced in {"4.4.2", "4.5.0"}
    assert deliveries == 1
    world.assert_once(entries)


async def test_a_host_that_closes_after_some_messages_costs_no_attempt(world: "World") -> None:
    peer = await world.peer(
        lambda peer, verb, line: "421 4.7.0 Enough" if verb == "MAIL" and len(peer.contents) >= 2 else None
    )
    entries = [entry for _ in range(5) for entry in world.message()]
    async with world.running() as deliverer:
        slot = world.open_slot(deliverer, [peer], *entries)
        await world.report.until(lambda: world.report.ends)
    assert sorted(world.report.codes()) == [entry.entry for entry in entries[:2]]
    assert sorted(world.report.back) == [entry.entry for entry in entries[2:]]
    [(failure, _)] = world.report.ends[slot]
    assert failure is None


async def test_a_first_transaction_answered_with_421_is_the_slot_s_failure(world: "World") -> None:
    peer = await world.peer(lambda peer, verb, line: "421 4.7.0 Go away" if verb == "MAIL" else None)
    entries = [*world.message(), *world.message()]
    async with world.running() as deliverer:
        slot = world.open_slot(deliverer, [peer], *entries)
        await world.report.until(lambda: world.report.ends)
    assert world.report.codes() == {entries[0].entry: (421, Phase.MAIL, False)}
    [(failure, _)] = world.report.ends[slot]
    assert failure is not None
    assert not failure.ours
    world.assert_once(entries)


async def test_a_connection_ends_after_its_number_of_deliveries(world: "World") -> None:
    peer = await world.peer()
    entries = [entry for _ in range(4) for entry in world.message()]
    async with world.running(max_deliveries_per_connection=2) as deliverer:
        slot = world.open_slot(deliverer, [peer], *entries)
        await world.report.until(lambda: world.report.ends)
    assert world.report.ends == {slot: [(None, 2)]}
    assert world.report.back == [entry.entry for entry in entries[2:]]
    assert world.report.wants == []
    assert peer.verbs[-1] == "QUIT"
    world.assert_once(entries)


async def test_an_idle_connection_says_quit(world: "World") -> None:
    peer = await world.peer()
    async with world.running(idle_seconds=0.05) as deliverer:
        world.answer_wants(deliverer, [], close=False)
        slot = world.open_slot(deliverer, [peer], *world.message())
        await world.report.until(lambda: world.report.ends)
        assert peer.verbs[-1] == "QUIT"
        assert peer.open == 0, "the peer has seen the end before it is reported"
        late = world.message()
        deliverer.batch(Batch(slot, late))
        assert world.report.back == [late[0].entry]
    assert len(world.report.wants) == 1, "an empty batch is an answer: nothing is wanted again"


async def test_a_batch_may_come_any_time(world: "World") -> None:
    peer = await world.peer()
    async with world.running() as deliverer:
        slot = world.open_slot(deliverer, [peer])
        await world.report.until(lambda: world.report.wants)
        deliverer.batch(Batch(slot, ()))
        deliverer.batch(Batch(slot, world.message()))
        await world.report.until(lambda: world.report.outcomes)
        deliverer.close(Close(slot))
        await world.report.until(lambda: world.report.ends)
    assert peer.connections == 1
    assert world.report.ends == {slot: [(None, 1)]}


async def test_close_lets_what_was_granted_go_out_first(world: "World") -> None:
    peer = await world.peer()
    entries = [entry for _ in range(5) for entry in world.message()]
    async with world.running() as deliverer:
        slot = world.open_slot(deliverer, [peer], *entries)
        deliverer.close(Close(slot))
        await world.report.until(lambda: world.report.ends)
    assert len(peer.contents) == 5
    assert world.report.wants == []


async def test_what_is_wanted_grows_while_it_goes_fast(world: "World") -> None:
    peer = await world.peer()
    entries = [entry for _ in range(300) for entry in world.message()]
    async with world.running() as deliverer:
        world.answer_wants(deliverer, entries[1:])
        world.open_slot(deliverer, [peer], entries[0])
        await world.report.until(lambda: world.report.ends)
    counts = [count for _, count in world.report.wants]
    assert max(counts) <= 64
    assert counts[-1] > counts[0]
    world.assert_once(entries)


async def test_a_host_that_never_answers_quit_is_left(world: "World") -> None:
    peer = await world.peer(lambda peer, verb, line: HANG if verb == "QUIT" else None)
    async with world.running(quit_seconds=0.05) as deliverer:
        slot = world.open_slot(deliverer, [peer], *world.message())
        deliverer.close(Close(slot))
        await world.report.until(lambda: world.report.ends)
    assert world.report.ends == {slot: [(None, 1)]}


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"354 Go\r\n", ("4.4.2", True, "took nothing")),
        (b"354 Go\r\n421 4.3.2 Bye\r\n", ("4.3.2", False, "Bye")),
    ],
    ids=["silent", "421"],
)
async def test_a_host_that_stops_reading_is_left_and_nothing_more_is_offered_to_it(
    world: "World", said: bytes, told: tuple[str, bool, str]
) -> None:
    stuck = asyncio.Event()
    end: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in (b"220 x", b"250 x", b"250 Ok", b"250 Ok"):
            writer.write(reply + b"\r\n")
            await reader.readline()
        transport = cast("asyncio.ReadTransport", writer.transport)
        transport.pause_reading()
        writer.write(said)
        await stuck.wait()
        transport.resume_reading()
        try:
            while await reader.read(1_000_000):
                pass
        except ConnectionResetError as reset:
            end.set_result(reset)
        else:
            end.set_result(None)
        writer.transport.abort()

    host = await world.listening(serve)
    [entry] = world.message(body=(b"y" * 70 + b"\r\n") * 500_000)
    async with world.running(block_seconds=0.1, quit_seconds=0.1) as deliverer:
        world.open_slot(deliverer, [host], entry)
        await world.report.until(lambda: world.report.ends)
        stuck.set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert isinstance(await end, ConnectionResetError), "the system went on offering the content"
    [[outcome]] = world.report.outcomes.values()
    assert (outcome.reply.enhanced, outcome.ours, outcome.phase) == (*told[:2], Phase.BODY)
    assert told[2] in outcome.reply.text


# TLS and AUTH


async def test_tls_is_used_where_it_is_offered(world: "World") -> None:
    peer = await world.peer(tls=world.certificate("other.test"))
    async with world.running() as deliverer:
        world.open_slot(deliverer, [peer], *world.message())
        await world.report.until(lambda: world.report.outcomes)
    [[outcome]] = world.report.outcomes.values()
    assert outcome.tls is not None
    assert outcome.tls.startswith("TLSv1.")
    assert peer.count("EHLO") == 2
    assert peer.connections == 1


@pytest.mark.parametrize("break_it", ["drop", "garbage"])
async def test_opportunistic_tls_that_fails_is_left_out_the_second_time(
    world: "World", break_it: str
) -> None:
    def rule(peer: "Peer", verb: str, line: str) -> str | None:
        if verb != "STARTTLS":
            return None
        return "220 Go ahead\r\nthis is no TLS" if break_it == "garbage" else DROP

    peer = await world.peer(rule, tls=world.certificate())
    if break_it == "garbage":
        peer.features = (*peer.features, "STARTTLS")
        peer.tls = None
    async with world.running(starttls_seconds=0.1) as deliverer:
        world.open_slot(deliverer, [peer], *world.message())
        await world.report.until(lambda: world.report.ends or world.report.outcomes)
    [[outcome]] = world.report.outcomes.values()
    assert outcome.tls is None
    if break_it == "garbage":
        assert peer.connections == 2
        assert outcome.reply.code == 250
    else:
        assert outcome.phase == Phase.STARTTLS


@pytest.mark.parametrize("verb", ["MAIL", "RCPT"])
async def test_a_host_that_insists_on_the_tls_that_failed_bounces_nothing(world: "World", verb: str) -> None:
    def rule(_peer: "Peer", said: str, _line: str) -> str | None:
        if said == "STARTTLS":
            return "220 Go ahead\r\nthis is no TLS"
        return "530 5.7.0 Must issue a STARTTLS command first" if said == verb else None

    peer = await world.peer(rule)
    peer.features = (*peer.features, "STARTTLS")
    async with world.running(starttls_seconds=0.1) as deliverer:
        world.open_slot(deliverer, [peer], *world.message())
        await world.report.until(lambda: world.report.ends or world.report.outcomes)
    [[outcome]] = world.report.outcomes.values()
    assert (outcome.reply.code, outcome.reply.enhanced, outcome.phase) == (451, "4.7.0", Phase[verb])
    assert "530, read as 451" in outcome.reply.text


async def test_a_host_that_wants_tls_where_it_is_switched_off_refuses_for_good(world: "World") -> None:
    def rule(_peer: "Peer", verb: str, _line: str) -> str | None:
        return "530 5.7.0 Must issue a STARTTLS command first" if verb == "MAIL" else None

    peer = await world.peer(rule, tls=world.certificate())
    async with world.running(tls="off") as deliverer:
        world.open_slot(deliverer, [peer], *world.message())
        await world.report.until(lambda: world.report.outcomes)
    [[outcome]] = world.report.outcomes.values()
    assert outcome.reply.code == 530


@pytest.mark.parametrize("certificate", ["other.test", None])
async def test_required_tls_is_never_left_out(world: "World", certificate: str | None) -> None:
    peer = await world.peer(tls=certificate and world.certificate(certificate))
    async with world.running(tls="required") as deliverer:
        world.open_slot(deliverer, [peer], *world.message())
        await world.report.until(lambda: world.report.ends)
    [[outcome]] = world.report.outcomes.values()
    assert (outcome.phase, outcome.ours) == (Phase.STARTTLS, True)
    assert peer.contents == []
    assert peer.count("MAIL") == 0


async def test_required_tls_checks_the_name(world: "World") -> None:
    peer = await world.peer(tls=world.certificate("mx.peer.test"))
    async with world.running(tls="required") as deliverer:
        world.open_slot(deliverer, [peer], *world.message())
        await world.report.until(lambda: world.report.outcomes)
    assert len(peer.contents) == 1


async def test_of_an_address_literal_the_certificate_is_that_of_the_address(world: "World") -> None:
    seen: list[object] = []
    context = world.certificate("127.0.0.1")
    context.sni_callback = lambda _tls, name, _context: seen.append(name)
    peer = await world.peer(tls=context)
    peer.host = replace(peer.host, name="[127.0.0.1]")
    async with world.running(tls="required") as deliverer:
        world.open_slot(deliverer, [peer], *world.message())
        await world.report.until(lambda: world.report.outcomes)
    assert len(peer.contents) == 1
    assert seen == [None], "SNI names hosts only"


async def test_tls_switched_off_is_not_asked_for(world: "World") -> None:
    peer = await world.peer(tls=world.certificate())
    async with world.running(tls="off") as deliverer:
        world.open_slot(deliverer, [peer], *world.message())
        await world.report.until(lambda: world.report.outcomes)
    assert peer.count("STARTTLS") == 0


async def test_a_smart_host_is_given_the_password(
    world: "World", tmp_path_factory: pytest.TempPathFactory
) -> None:
    password = tmp_path_factory.mktemp("smart") / "password"
    password.write_text("secret\n")
    features = ("PIPELINING", "AUTH PLAIN")
    peer = await world.peer(tls=world.certificate(), features=features)
    options: dict[str, Any] = {"tls": "required", "auth_user": "user", "password_file": str(password)}
    async with world.running(**options) as deliverer:
        world.open_slot(deliverer, [peer], *world.message())
        await world.report.until(lambda: world.report.outcomes)
    assert "AUTH PLAIN AHVzZXIAc2VjcmV0" in peer.lines
    assert len(peer.contents) == 1
    assert "secret" not in repr(world.log.lines)


async def test_a_missing_password_file_is_our_failure(world: "World") -> None:
    peer = await world.peer(tls=world.certificate())
    options: dict[str, Any] = {
        "tls": "required",
        "auth_user": "user",
        "password_file": "/nonexistent/password",
    }
    async with world.running(**options) as deliverer:
        world.open_slot(deliverer, [peer], *world.message())
        await world.report.until(lambda: world.report.ends)
    [[outcome]] = world.report.outcomes.values()
    assert (outcome.reply.enhanced, outcome.phase, outcome.ours) == ("4.3.5", Phase.AUTH, True)
    assert peer.connections == 0


# addresses


async def test_a_source_address_is_used_and_chooses_the_family(world: "World") -> None:
    peer = await world.peer()
    six = type(peer.host)("six.test", "2001:db8::1", 25)
    async with world.running(source_addresses=("127.0.0.2",), ehlo_name="out.test") as deliverer:
        world.open_slot(deliverer, [six, peer], *world.message())
        await world.report.until(lambda: world.report.outcomes)
    [[outcome]] = world.report.outcomes.values()
    assert outcome.source == "127.0.0.2"
    assert "EHLO out.test" in peer.lines


# our own failures


async def test_a_message_that_cannot_be_read_is_reported_and_the_next_goes_out(world: "World") -> None:
    peer = await world.peer()
    missing, good = world.message(missing=True), world.message()
    async with world.running() as deliverer:
        world.open_slot(deliverer, [peer], *missing, *good)
        await world.report.until(lambda: world.report.outcomes)
    assert world.report.unread[missing[0].entry].reply.enhanced == "4.3.0"
    assert len(peer.contents) == 1
    world.assert_once([*missing, *good])


class _Holding:
    """A guard that holds back one recipient and refuses to work for another."""

    def goes_through(self, stored: Stored) -> bool:
        return False

    def clear(
        self, stored: Stored, entries: Sequence[int], content: Content
    ) -> tuple[Sequence[int], Content]:
        names = [delivery.recipient.address.local_part for delivery in stored.deliveries]
        if "bug" in names:
            raise KeyError("bug")
        return [entry for entry in entries if names[entry - stored.first_entry] != "held"], content


async def test_what_the_guard_holds_is_not_sent(world: "World") -> None:
    peer = await world.peer()
    entries = [
        *world.message("b", "held", "c"),
        *world.message("held"),
        *world.message("bug"),
        *world.message("d"),
    ]
    async with world.running(guard=_Holding()) as deliverer:
        world.open_slot(deliverer, [peer], *entries)
        await world.report.until(lambda: len(world.report.outcomes) == 6)
    assert [recipients for _, recipients, _ in peer.contents] == [("b", "c"), ("d",)]
    assert world.report.codes()[entries[1].entry] == (451, Phase.QUEUE, True)
    assert world.report.codes()[entries[4].entry] == (451, Phase.QUEUE, True)
    world.assert_once(entries)


async def test_a_report_that_fails_stops_nobody(world: "World") -> None:
    peer = await world.peer()
    entries = [*world.message("b", "c"), *world.message("d")]

    def on_outcome(granted: object) -> None:
        raise RuntimeError("the report of ann@b.test is broken")

    world.report.on_outcome = on_outcome
    async with world.running() as deliverer:
        world.open_slot(deliverer, [peer], *entries)
        await world.report.until(lambda: len(world.report.outcomes) == 3)
    world.assert_once(entries)
    assert {event for _, event, _ in world.log.lines} >= {"deliver.report_failed"}
    assert "ann" not in repr(world.log.lines)


# shutdown


async def test_shutdown_returns_what_was_not_begun_and_finishes_what_was(world: "World") -> None:
    reached = asyncio.Event()
    answer = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in (b"220 x", b"250 x", b"250 Ok", b"250 Ok", b"354 Go"):
            writer.write(reply + b"\r\n")
            await reader.readline()
        reached.set()
        await answer.wait()
        writer.write(b"250 Ok\r\n221 Bye\r\n")
        await writer.drain()
        writer.close()

    host = await world.listening(serve)
    entries = [*world.message(), *world.message()]
    async with world.running() as deliverer:
        world.open_slot(deliverer, [host], *entries)
        await reached.wait()
        async with asyncio.TaskGroup() as group:
            group.create_task(deliverer.shutdown(5.0))
            await world.report.until(lambda: world.report.back)
            [held] = deliverer.held()
            assert held.entries == (entries[0].entry,)
            answer.set()
        again = world.message()
        world.open_slot(deliverer, [host], *again)
    assert world.report.codes() == {entries[0].entry: (250, Phase.BODY, False)}
    assert world.report.back == [entries[1].entry, again[0].entry]


@pytest.mark.parametrize(
    ("verb", "phase"), [("CONNECT", None), ("MAIL", Phase.MAIL), ("CONTENT", Phase.BODY)]
)
async def test_shutdown_breaks_off_at_its_deadline(world: "World", verb: str, phase: Phase | None) -> None:
    hanging = asyncio.Event()

    def rule(peer: "Peer", at: str, line: str) -> str | None:
        if at != verb:
            return None
        hanging.set()
        return HANG

    peer = await world.peer(rule)
    entries = world.message()
    async with world.running() as deliverer:
        world.open_slot(deliverer, [peer], *entries)
        await hanging.wait()
        await deliverer.shutdown(0.0)
    if phase is None:
        assert world.report.back == [entries[0].entry]
    else:
        assert world.report.codes() == {entries[0].entry: (451, phase, True)}
        [[outcome]] = world.report.outcomes.values()
        assert classify(outcome).bounce_class == "own-failure"
        assert not classify(outcome).site_trouble
    world.assert_once(entries)


async def test_a_slot_opened_before_the_run_is_served_by_it(world: "World") -> None:
    peer = await world.peer()
    async with world.running() as deliverer:
        world.open_slot(deliverer, [peer], *world.message())
        assert len(deliverer.held()) == 1
        await world.report.until(lambda: world.report.outcomes)
    assert len(peer.contents) == 1
