"""The load generator against sinks and against providers that refuse, hang up and lose replies."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from outrider.base.clock import FakeClock, SystemClock
from outrider.base.errors import UnavailableError
from outrider.sim.load import Load
from outrider.sim.options import LoadOptions
from outrider.sim.server import PracticeInternet
from outrider.sim.sink import Sink, SinkCounts
from outrider.sim.tally import Journal, Tally, read_journal
from outrider.sim.tickets import Tickets
from outrider.sim.world import parse_world
from tests.patience import PATIENCE_SECONDS

WORLD = """
[[provider]]
name = "plain"
domains = ["plain.test"]
mx = [{name = "mx.plain.test", address = "127.0.0.1"}]
"""


def options(port: int, **values: Any) -> LoadOptions:
    return LoadOptions.model_validate({"port": port, "connections": 3, "count": 30, "size": 500, **values})


@asynccontextmanager
async def sink() -> AsyncIterator[tuple[int, SinkCounts]]:
    counts = SinkCounts()
    server = await asyncio.get_running_loop().create_server(lambda: Sink(counts), "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1], counts
    server.close()


@asynccontextmanager
async def practice(rules: str = "") -> AsyncIterator[PracticeInternet]:
    async with PracticeInternet(parse_world(WORLD + rules, "w"), clock=SystemClock()) as world:
        yield world


async def sent(port: int, journal: Journal | None = None, **values: Any) -> Load:
    load = Load(options(port, **values), clock=SystemClock(), journal=journal, remember=True)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await load.run()
    return load


@pytest.mark.parametrize("pipelined", [False, True])
@pytest.mark.parametrize("connection_messages", [0, 1, 4])
async def test_everything_arrives_at_the_sink(*, pipelined: bool, connection_messages: int) -> None:
    async with sink() as (port, counts):
        load = await sent(
            port, pipelined=pipelined, connection_messages=connection_messages, recipients=2, users=50
        )
    assert load.tally.messages == {"acknowledged": 30}
    assert load.tally.recipients["acknowledged"] == 60
    assert (counts.messages, counts.recipients) == (30, 60)
    assert counts.connections_most <= 3
    if connection_messages == 1:
        assert counts.connections_total == 30
    report = load.tally.report(load.seconds)
    assert report["latency_ms"]["p99"] >= report["latency_ms"]["p50"] > 0


@pytest.mark.parametrize("pipelined", [False, True])
async def test_numbers_are_the_same_at_both_ends(tmp_path: Path, *, pipelined: bool) -> None:
    journal = Journal(tmp_path / "journal")
    async with practice() as world:
        load = await sent(world.smtp_port, journal, pipelined=pipelined, recipients=3)
        journal.close()
        assert all(taken == 1 for _, _, taken, _ in world.numbered())
        seen = {(number, recipient) for number, recipient, _, _ in world.numbered()}
        assert world.providers["plain"].counts.violations == {}
        assert world.providers["plain"].counts.octets == 30 * 500
    written = read_journal(tmp_path / "journal")
    assert written["acknowledged"] == dict.fromkeys(seen, 1)
    assert load.tally.remembered == dict.fromkeys(seen, "acknowledged")
    assert not written["refused"]
    assert not written["unknown"]


RULES: dict[str, str] = {
    "refused recipients": "[[provider.rule]]\non = 'rcpt'\nevery = 3\nreply = '550 5.1.1 Unknown'\n",
    "refused senders": "[[provider.rule]]\non = 'mail'\nevery = 3\nreply = '550 5.1.0 No'\n",
    "refused data": "[[provider.rule]]\non = 'data'\nevery = 3\nreply = '554 5.0.0 No'\n",
    "refused contents": "[[provider.rule]]\non = 'body'\nevery = 3\nreply = '554 5.6.0 No'\n",
    "hangs up at mail": "[[provider.rule]]\non = 'mail'\nevery = 5\naction = 'drop'\n",
    "421 at rcpt": "[[provider.rule]]\non = 'rcpt'\nevery = 5\nreply = '421 4.3.2 Bye'\n",
    "drops contents": "[[provider.rule]]\non = 'body'\nevery = 5\naction = 'drop'\n",
    "loses replies": "[[provider.rule]]\non = 'body'\nevery = 5\naction = 'lose-reply'\n",
    "few connections": "[provider.behaviour]\nlimits = {max_connections = 1, max_connection_messages = 4}\n",
}


@pytest.mark.parametrize("pipelined", [False, True])
@pytest.mark.parametrize("recipients", [1, 2])
@pytest.mark.parametrize("name", RULES)
async def test_fates_agree_with_what_arrived(name: str, recipients: int, *, pipelined: bool) -> None:
    async with practice(RULES[name]) as world:
        load = await sent(world.smtp_port, pipelined=pipelined, recipients=recipients)
        taken = {(number, recipient): times for number, recipient, times, _ in world.numbered()}
    fates = load.tally.remembered
    assert fates is not None
    assert len(fates) == 30 * recipients
    assert sum(load.tally.messages.values()) == 30
    for key, fate in fates.items():
        if fate == "acknowledged":
            assert taken[key] == 1
        if fate == "refused":
            assert key not in taken
    assert set(taken) <= set(fates)
    unknown = [key for key, fate in fates.items() if fate == "unknown"]
    assert bool(unknown) == (name in {"drops contents", "loses replies"})
    assert all((key in taken) == (name == "loses replies") for key in unknown)
    assert (load.tally.resent > 0) == (name in {"hangs up at mail", "421 at rcpt", "few connections"})


async def test_transient_refusals_do_not_end_the_run() -> None:
    rule = "[[provider.rule]]\non = 'body'\ntimes = 2\nreply = '451 4.3.0 Later'\n"
    async with practice(rule) as world:
        load = await sent(world.smtp_port, connections=1, count=5)
    assert load.tally.messages == {"acknowledged": 3, "refused": 2}
    assert load.tally.last_reply == "451 4.3.0 Later"


async def test_it_gives_up_where_nobody_listens() -> None:
    async with sink() as (port, _):
        pass
    with pytest.raises(UnavailableError, match="cannot be reached"):
        await sent(port, give_up_seconds=0.01)


async def test_it_waits_for_a_server_that_comes_late() -> None:
    async with sink() as (port, _):
        pass
    counts = SinkCounts()
    load = Load(options(port), clock=SystemClock())
    async with asyncio.TaskGroup() as group:
        group.create_task(load.run())
        while not load.tally.connect_failures:  # noqa: ASYNC110 - the loop turns, nobody sleeps
            await asyncio.sleep(0)
        server = await asyncio.get_running_loop().create_server(lambda: Sink(counts), "127.0.0.1", port)
    server.close()
    assert load.tally.messages == {"acknowledged": 30}


async def test_stop_ends_an_endless_run() -> None:
    async with sink() as (port, counts):
        load = Load(options(port, count=0, rate=200), clock=SystemClock())
        async with asyncio.TaskGroup() as group:
            group.create_task(load.run())
            while load.tally.messages["acknowledged"] < 5:  # noqa: ASYNC110 - the loop turns, nobody sleeps
                await asyncio.sleep(0)
            load.stop()
    assert counts.messages == load.tally.messages["acknowledged"] == load.tickets.issued


async def test_rate_is_not_exceeded() -> None:
    async with sink() as (port, _):
        load = await sent(port, count=20, rate=100)
    assert load.seconds >= 19 / 100


HttpAnswer = Callable[[dict[str, str], bytes], bytes]


@asynccontextmanager
async def http_server(
    answer: HttpAnswer,
) -> AsyncIterator[tuple[int, list[tuple[str, dict[str, str], bytes]]]]:
    """A server that reads requests as RFC 9112 frames them and answers what `answer` makes."""
    requests: list[tuple[str, dict[str, str], bytes]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            headers = {}
            while header := (await reader.readline()).strip():
                name, _, value = header.decode().partition(":")
                headers[name.lower()] = value.strip()
            body = await reader.readexactly(int(headers["content-length"]))
            requests.append((line.decode().strip(), headers, body))
            response = answer(headers, body)
            for octet in response:
                writer.write(bytes((octet,)))
            if not response:
                break
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1], requests
    server.close()


def answered(status: str, body: bytes = b"{}") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def test_http_json() -> None:
    async with http_server(lambda _headers, _body: answered("202 Accepted")) as (port, requests):
        load = await sent(port, via="http", api_key="secret", recipients=2)
    assert load.tally.messages == {"acknowledged": 30}
    assert {line for line, _, _ in requests} == {"POST /v1/messages HTTP/1.1"}
    assert {headers["authorization"] for _, headers, _ in requests} == {"Bearer secret"}
    bodies = [json.loads(body) for _, _, body in requests]
    assert {body["headers"]["X-Sim-Number"] for body in bodies} == {
        f"run-{number}" for number in range(1, 31)
    }
    assert all(len(body["to"]) == 2 for body in bodies)


async def test_http_rfc822() -> None:
    async with http_server(lambda _headers, _body: answered("202 Accepted")) as (port, requests):
        load = await sent(port, via="http", http_form="rfc822", count=1, recipients=2)
    (number, first), (_, second) = load.tally.remembered or {}
    line, headers, body = requests[0]
    assert headers["content-type"] == "message/rfc822"
    assert f"to={first.replace('@', '%40')}&to={second.replace('@', '%40')}" in line
    assert f"X-Sim-Number: {number}\r\n".encode() in body
    assert len(body) == 500


async def test_http_refusals_and_lost_answers() -> None:
    answers = iter([answered("422 No", b"why"), answered("503 Busy"), b"", answered("202 Accepted")])
    async with http_server(lambda _headers, _body: next(answers)) as (port, _):
        load = await sent(port, via="http", connections=1, count=4)
    assert load.tally.messages == {"refused": 2, "unknown": 1, "acknowledged": 1}
    assert load.tally.connections_lost == 1


def test_the_same_options_give_the_same_messages() -> None:
    one, two = (Tickets(options(1, recipients=2)) for _ in range(2))
    for _ in range(30):
        first, second = one.next(), two.next()
        assert first is not None
        assert first == second
        assert one.content(first) == two.content(first)
        assert len(one.content(first)) == 500
        assert b"\r\n." not in one.content(first)
    assert one.next() is None


def test_a_torn_line_of_the_journal_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = Journal(path)
    journal.write("acknowledged", "run-1", ["a@x.test", "b@x.test"])
    journal.write("refused", "run-2", ["a@x.test"])
    journal.close()
    with path.open("a") as file:
        file.write("A\trun-3\tc@x.te")
    found = read_journal(path)
    assert found["acknowledged"] == {("run-1", "a@x.test"): 1, ("run-1", "b@x.test"): 1}
    assert found["refused"] == {("run-2", "a@x.test"): 1}


def test_percentiles() -> None:
    tally = Tally()
    assert tally.percentile_ms(50) == 0
    for number in range(1, 101):
        tally.latency(number / 1000)
    assert (tally.percentile_ms(50), tally.percentile_ms(99)) == (51, 100)


async def test_connections_lost_while_idle_get_no_work() -> None:
    clock = FakeClock()  # nothing is due after the first message until it is moved on
    async with practice("[provider.behaviour]\nidle_seconds = 0.02\n") as world:
        load = Load(options(world.smtp_port, count=8, rate=25), clock=clock)
        provider = world.providers["plain"]
        async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
            group.create_task(load.run())
            while load.tally.connections_lost < 3:  # noqa: ASYNC110 - timers of the other side
                await asyncio.sleep(0.001)
            # those that carry the rest are patient
            provider.behaviour = provider.behaviour.model_copy(update={"idle_seconds": 3600})
            while any(ends_soon(each) for each in provider._connections):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.001)
            clock.advance(1)
        assert len(world.numbered()) == 8
    assert load.tally.messages == {"acknowledged": 8}


def ends_soon(connection: Any) -> bool:
    """Its idle time is still the short one."""
    when: float = connection._idle_timer.when()
    return when < asyncio.get_running_loop().time() + 1000
