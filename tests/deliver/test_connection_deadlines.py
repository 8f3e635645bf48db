"""Deadlines of a connection, with time held in the hand."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any, cast

import pytest
import uvloop

from outrider.base.clock import FakeClock
from outrider.base.log import ListLog
from outrider.deliver.options import DeliveryOptions
from outrider.deliver.smtp import failures
from outrider.deliver.smtp.connection import Connection
from outrider.model.address import Address
from outrider.model.flow import Content, Host, Phase, Recipient, Traits
from outrider.wire.smtp.client import SmtpClient
from outrider.wire.smtp.client_events import Answer, Ready, SetupFailed, Transaction, TransactionDone
from tests.patience import PATIENCE_SECONDS

CONTENT = Content(b"Subject: x\r\n\r\nHello\r\n", Traits.NONE, 12)


class _Transport:
    """Keeps what was written, and says how the connection ended."""

    def __init__(self) -> None:
        self.written = b""
        self.aborted = False

    def get_extra_info(self, name: str) -> Any:
        return ("192.0.2.1", 4711) if name == "sockname" else None

    def write(self, data: bytes) -> None:
        self.written += data

    def writelines(self, data: list[bytes]) -> None:
        self.written += b"".join(data)

    def abort(self) -> None:
        self.aborted = True


class _Owner:
    """Sends one transaction, says QUIT when idle for long, and keeps what it hears."""

    def __init__(self, client: SmtpClient, options: DeliveryOptions) -> None:
        self.client = client
        self.options = options
        self.done: list[TransactionDone] = []
        self.ended: list[Answer | None] = []
        self.to_send = 1

    def transaction_done(self, done: TransactionDone) -> None:
        self.done.append(done)

    def pump(self) -> None:
        if self.to_send and self.client.can_send:
            self.to_send -= 1
            recipient = Recipient(Address("b", "peer.test"))
            self.client.send(Transaction(Address("a", "me.test"), [recipient], CONTENT))

    def idle(self, seconds: float) -> None:
        if seconds >= self.options.idle_seconds:
            self.client.quit()

    def connection_ended(self, answer: Answer | None) -> None:
        self.ended.append(answer)


class _Stage:
    def __init__(self, port: int = 25, options: DeliveryOptions | None = None) -> None:
        self.clock = FakeClock()
        self.options = options or DeliveryOptions()
        self.transport = _Transport()
        self.client = SmtpClient(ehlo_name="me.test", tls="off")
        self.connection = Connection(
            Host("mx.peer.test", "192.0.2.25", port),
            self.client,
            options=self.options,
            clock=self.clock,
            log=ListLog(),
            register=set(),
        )
        self.connection.connection_made(cast("asyncio.BaseTransport", self.transport))
        self.owner = _Owner(self.client, self.options)

    def hear(self, *lines: str) -> None:
        for line in lines:
            self.connection.data_received(line.encode() + b"\r\n")

    def wait(self, seconds: float) -> bool:
        """Let time pass in small steps; whether the connection was ended by it."""
        for _ in range(int(seconds)):
            self.clock.advance(1.0)
            self.connection.check(self.clock.now())
        return self.transport.aborted

    def set_up(self) -> None:
        self.hear("220 hi", "250 hi")
        self.connection.attach(self.owner)


@pytest.fixture
async def stage() -> _Stage:
    return _Stage()


@pytest.mark.parametrize(
    ("heard", "phase"),
    [((), Phase.GREETING), (("220 hi",), Phase.EHLO)],
)
async def test_the_set_up_has_its_time(stage: _Stage, heard: tuple[str, ...], phase: Phase) -> None:
    stage.hear(*heard)
    assert not stage.wait(300)
    assert stage.wait(1)
    step = stage.connection.steps.popleft()
    assert isinstance(step, SetupFailed)
    assert (step.phase, step.reply.enhanced, step.ours) == (phase, "4.4.2", True)


@pytest.mark.parametrize(
    ("port", "tls", "told"), [(465, "required", True), (465, "implicit", False), (25, "required", False)]
)
async def test_a_host_that_waits_for_tls_is_told_from_a_slow_one(port: int, tls: str, told: bool) -> None:
    stage = _Stage(port, DeliveryOptions.model_validate({"tls": tls}))
    stage.wait(301)
    step = stage.connection.steps.popleft()
    assert isinstance(step, SetupFailed)
    assert ('tls = "implicit"' in step.reply.text) is told


@pytest.mark.parametrize(
    ("heard", "phase", "seconds"),
    [
        ((), Phase.MAIL, 300),
        (("250 Ok",), Phase.RCPT, 300),
        (("250 Ok", "250 Ok"), Phase.DATA, 120),
        (("250 Ok", "250 Ok", "354 Go"), Phase.BODY, 600),
    ],
)
async def test_each_phase_has_the_time_of_the_standard(
    stage: _Stage, heard: tuple[str, ...], phase: Phase, seconds: int
) -> None:
    """RFC 5321 §4.5.3.2."""
    stage.set_up()
    stage.hear(*heard)
    assert not stage.wait(seconds)
    assert stage.wait(1)
    [done] = stage.owner.done
    [answer] = done.answers
    assert answer is not None
    assert (answer.phase, answer.ours) == (phase, True)
    assert f"{seconds} s" in answer.reply.text


async def test_a_reply_that_drips_gains_no_time(stage: _Stage) -> None:
    stage.set_up()
    for _ in range(300):
        stage.connection.data_received(b"2")
        assert not stage.wait(1)
    assert stage.wait(1)


async def test_a_multi_line_reply_gains_no_time(stage: _Stage) -> None:
    stage.set_up()
    for _ in range(100):
        stage.hear("250-still")
        assert not stage.wait(3)
    assert stage.wait(1)


async def test_quit_has_its_own_time_after_an_idle_time(stage: _Stage) -> None:
    stage.set_up()
    stage.hear("250 Ok", "250 Ok", "354 Go", "250 Ok")
    assert not stage.wait(10)
    assert stage.transport.written.endswith(b"QUIT\r\n")
    assert not stage.wait(5)
    assert stage.wait(2)
    stage.connection.connection_lost(None)
    assert stage.owner.ended == [None]


async def test_after_quit_is_answered_the_host_has_the_time_to_close(stage: _Stage) -> None:
    stage.set_up()
    stage.hear("250 Ok", "250 Ok", "354 Go", "250 Ok")
    stage.wait(10)
    stage.hear("221 Bye")
    assert not stage.transport.aborted
    assert not stage.wait(4)
    assert stage.wait(1)


async def test_the_set_up_ends_with_ready(stage: _Stage) -> None:
    stage.hear("220 hi", "250 hi")
    assert isinstance(stage.connection.steps.popleft(), Ready)


async def test_an_error_in_the_owner_ends_its_connection(stage: _Stage) -> None:
    def broken(done: TransactionDone) -> None:
        raise RuntimeError("a bug")

    stage.set_up()
    stage.owner.transaction_done = broken  # type: ignore[method-assign]
    stage.hear("250 Ok", "250 Ok", "354 Go", "250 Ok")
    assert stage.transport.aborted
    stage.connection.connection_lost(None)
    assert len(stage.owner.ended) == 1


async def test_a_connection_lost_before_its_owner_came_is_told_to_it(stage: _Stage) -> None:
    stage.hear("220 hi", "250 hi")
    stage.connection.connection_lost(ConnectionResetError("reset"))
    stage.connection.attach(stage.owner)
    [answer] = stage.owner.ended
    assert answer is not None
    assert answer.reply.enhanced == "4.4.2"


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_connection_that_failed_is_reset_so_that_the_system_forgets_what_it_holds(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def fail_towards_the_deaf() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            connection = _Stage().connection
            await asyncio.get_running_loop().create_connection(lambda: connection, *listening.getsockname())
            peer, _ = listening.accept()
        with peer:
            connection.fail(failures.INTERNAL)
            await connection.closed()
            peer.settimeout(PATIENCE_SECONDS)
            with pytest.raises(ConnectionResetError):
                await asyncio.to_thread(peer.recv, 1)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(fail_towards_the_deaf())
