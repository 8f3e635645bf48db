"""When a connection of the load generator asks for more work: at once, after a pause, or never again."""

import asyncio
from collections.abc import Callable

import pytest

from outrider.sim.load_hand import LoadHand
from outrider.sim.load_http import HttpHand
from outrider.sim.load_port import Hand
from outrider.sim.load_smtp import SmtpHand
from outrider.sim.options import LoadOptions
from outrider.sim.tally import Tally
from outrider.sim.tickets import Ticket, Tickets


class Generator:
    """A `LoadPort` that writes down what it hears."""

    def __init__(self, options: LoadOptions) -> None:
        self.options = options
        self.tally = Tally()
        self.tickets = Tickets(options)
        self.now: Callable[[], float] = lambda: 0.0
        self.heard: list[str] = []

    def opened(self, hand: Hand) -> None:
        self.heard.append("opened")

    def ready(self, hand: Hand) -> None:
        self.heard.append("ready")

    def paused(self, hand: Hand) -> None:
        self.heard.append("paused")

    def gone(self, hand: Hand) -> None:
        self.heard.append("gone")

    def not_sent(self, ticket: Ticket) -> None:
        self.heard.append("not sent")

    def finished(self) -> None:
        self.heard.append("finished")


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed


SMTP_SETUP = b"220 mx.test\r\n250-mx.test\r\n250 PIPELINING\r\n"
SMTP_TAKEN = b"250 Ok\r\n250 Ok\r\n354 Go on\r\n"


def connected(kind: type[LoadHand], **options: int) -> tuple[LoadHand, Generator, Wire]:
    """A connection that is ready for its first message."""
    generator, wire = Generator(LoadOptions.model_validate(options)), Wire()
    hand = kind(generator)
    hand.connection_made(wire)
    if kind is SmtpHand:
        hand.data_received(SMTP_SETUP)
    assert generator.heard == ["opened", "ready"]
    generator.heard.clear()
    return hand, generator, wire


def start(hand: LoadHand, generator: Generator) -> None:
    """Hand a message in, up to its answer."""
    ticket = generator.tickets.next()
    assert ticket is not None
    hand.start(ticket)
    if isinstance(hand, SmtpHand):
        hand.data_received(SMTP_TAKEN)


def answered(hand: LoadHand, generator: Generator, answer: bytes) -> list[str]:
    """What the generator hears of a message that is answered so."""
    start(hand, generator)
    hand.data_received(answer)
    heard, generator.heard = generator.heard, []
    return heard


TAKES = {SmtpHand: b"250 Ok\r\n", HttpHand: b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"}
IS_BUSY = {
    SmtpHand: b"451 Not now\r\n",
    HttpHand: b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("kind", TAKES)
async def test_after_a_transient_refusal_there_is_a_pause(kind: type[LoadHand]) -> None:
    hand, generator, _ = connected(kind)
    assert answered(hand, generator, TAKES[kind]) == ["finished", "ready"]
    assert answered(hand, generator, IS_BUSY[kind]) == ["finished", "paused"]
    assert answered(hand, generator, TAKES[kind]) == ["finished", "ready"]


@pytest.mark.parametrize("kind", TAKES)
async def test_who_carried_his_share_ends_in_order(kind: type[LoadHand]) -> None:
    hand, generator, wire = connected(kind, connection_messages=2)
    assert answered(hand, generator, TAKES[kind]) == ["finished", "ready"]
    assert answered(hand, generator, IS_BUSY[kind]) == ["finished"]
    assert wire.written.endswith(b"QUIT\r\n") if kind is SmtpHand else wire.is_closed
    hand.connection_lost(None)
    assert generator.heard == ["gone"]
    assert await hand.closed


@pytest.mark.parametrize("kind", TAKES)
async def test_a_message_that_is_cut_off_has_an_unknown_fate(kind: type[LoadHand]) -> None:
    hand, generator, _ = connected(kind)
    start(hand, generator)
    hand.connection_lost(None)
    assert generator.heard == ["gone", "finished"]
    assert generator.tally.messages["unknown"] == 1
    assert not await hand.closed
