"""A session hears the same however its octets are split; a peer that has closed is no connection."""

import asyncio
import random
import socket
from typing import Any

import pytest

from outrider.base.clock import FakeClock
from outrider.sim.options import ProviderOptions
from outrider.sim.provider import Provider, is_established
from outrider.sim.session import Session
from outrider.sim.sink import Sink, SinkCounts

DIALOGUE = (
    b"EHLO c.test\r\nMAIL FROM:<s@a.test>\r\nRCPT TO:<r@p.test>\r\nDATA\r\n"
    b"X-Sim-Number: run-1\r\n\r\n..\r\n.x\n.\r\r\n..\r\n.\r\n"
    b'MAIL FROM:<"a>b"@a.test> SIZE=5\r\nRCPT TO:<r@p.test>\r\nDATA\r\n.\r\n'
    b"MAIL FROM:<>\r\nRCPT TO:<r@p.test>\r\n"
    b"BDAT 4\r\n\r\n.\rBDAT 25 LAST\r\n\nX-Sim-Number: r-2\r\n\r\n.\r\nNOOP\r\nQUIT\r\n"
)


class FakeTransport(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


def provider() -> Provider:
    options = ProviderOptions.model_validate(
        {"name": "p", "domains": ["p.test"], "mx": [{"name": "mx.p.test", "address": "127.0.0.1"}]}
    )
    return Provider(options, clock=FakeClock(), chance=random.Random(1))


async def heard(parts: list[bytes]) -> tuple[bytes, dict[str, Any]]:
    of = provider()
    session = Session(of, "mx.p.test", asyncio.get_running_loop())
    transport = FakeTransport()
    session.connection_made(transport)
    for part in parts:
        session.data_received(part)
    session.connection_lost(None)
    report = of.counts.report()
    report["violations"].pop("pipelining", None)  # a matter of what has arrived together, and so of the split
    return transport.written, report


async def test_any_split_gives_the_same_dialogue() -> None:
    whole, counts = await heard([DIALOGUE])
    assert [line[:3] for line in whole.splitlines() if line[3:4] == b" "] == [
        *(b"220", b"250"),
        *(b"250", b"250", b"354", b"250"),
        *(b"250", b"250", b"354", b"250"),
        *(b"250", b"250", b"250", b"250", b"250", b"221"),
    ]
    assert (counts["messages"], counts["numbered"]) == (3, 1)
    assert await heard([DIALOGUE[place : place + 1] for place in range(len(DIALOGUE))]) == (whole, counts)
    for place in range(1, len(DIALOGUE)):
        assert await heard([DIALOGUE[:place], DIALOGUE[place:]]) == (whole, counts)


def sunk(parts: list[bytes]) -> tuple[bytes, dict[str, Any]]:
    counts = SinkCounts()
    sink = Sink(counts)
    transport = FakeTransport()
    sink.connection_made(transport)
    for part in parts:
        sink.data_received(part)
    sink.connection_lost(None)
    report = counts.report()
    return transport.written, {key: report[key] for key in ("messages", "recipients", "commands", "octets")}


def test_any_split_gives_the_sink_the_same() -> None:
    whole, counts = sunk([DIALOGUE])
    assert (counts["messages"], counts["recipients"]) == (3, 3)
    assert sunk([DIALOGUE[place : place + 1] for place in range(len(DIALOGUE))]) == (whole, counts)
    for place in range(1, len(DIALOGUE)):
        assert sunk([DIALOGUE[:place], DIALOGUE[place:]]) == (whole, counts)


class FakeConnection:
    def __init__(self) -> None:
        self.there = True

    def peer_is_there(self) -> bool:
        return self.there

    def abort(self) -> None:
        self.there = False


def test_a_connection_whose_peer_has_closed_is_not_one_more() -> None:
    of = provider()
    first, second, third = FakeConnection(), FakeConnection(), FakeConnection()
    of.opened(first)
    first.there = False
    of.opened(second)
    assert (of.counts.connections_most, of.counts.connections) == (1, 2)
    of.opened(third)
    assert of.counts.connections_most == 2
    for connection in (first, second, third):
        of.closed(connection)
    assert of.counts.connections == 0


@pytest.mark.parametrize("how", ["close", "shutdown", "reset"])
def test_the_kernel_says_that_a_peer_has_closed(how: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
        with server, client:
            assert is_established(server)
            if how == "shutdown":
                client.shutdown(socket.SHUT_WR)
            elif how == "reset":
                server.send(b"unread")
            client.close() if how != "shutdown" else None
            assert not is_established(server)
