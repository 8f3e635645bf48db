"""Practice internets for tests, in a thread of their own so that blocking clients can talk to them."""

import asyncio
import smtplib
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from outrider.base.clock import SystemClock
from outrider.sim.provider import Provider
from outrider.sim.server import PracticeInternet
from outrider.sim.world import parse_world

TIMEOUT_SECONDS = 20.0


@dataclass
class Running:
    """A world that runs in another thread."""

    world: PracticeInternet
    loop: asyncio.AbstractEventLoop

    def provider(self, name: str) -> Provider:
        return self.world.providers[name]

    def place(self, name: str) -> tuple[str, int]:
        """Address and port of the first exchanger of a provider."""
        listener = next(one for one in self.world.listeners if one.provider == name)
        return listener.address, listener.port

    def client(self, name: str) -> smtplib.SMTP:
        """A connected smtplib client of a provider's first exchanger."""
        address, port = self.place(name)
        return smtplib.SMTP(address, port, local_hostname="client.test", timeout=TIMEOUT_SECONDS)

    def settle(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds in the world's thread."""

        async def until() -> None:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                while not condition():  # noqa: ASYNC110 - the loop turns, nobody sleeps
                    await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(until(), self.loop).result(TIMEOUT_SECONDS)


@contextmanager
def running(text: str, store: Path | None = None) -> Iterator[Running]:
    """Run the world that `text` describes."""
    ready = threading.Event()
    found: list[Running] = []
    failed: list[BaseException] = []
    stop = asyncio.Event()

    async def live() -> None:
        world = PracticeInternet(parse_world(text, "test.toml"), clock=SystemClock(), store=store)
        async with world:
            found.append(Running(world, asyncio.get_running_loop()))
            ready.set()
            await stop.wait()

    def work() -> None:
        try:
            asyncio.run(live())
        except BaseException as error:
            failed.append(error)
            ready.set()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert ready.wait(TIMEOUT_SECONDS)
        if not failed:
            yield found[0]
    finally:
        if found:
            found[0].loop.call_soon_threadsafe(stop.set)
        thread.join(TIMEOUT_SECONDS)
    if failed:
        raise failed[0]


WorldMaker = Callable[..., Running]


@pytest.fixture
def start_world() -> Iterator[WorldMaker]:
    """Starts worlds from TOML; they end with the test."""
    with ExitStack() as stack:
        yield lambda text, store=None: stack.enter_context(running(text, store))
