"""A process's end of a reload: what it cannot prepare it says, whatever the reason, and keeps nothing."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from outrider.base.errors import ConfigError
from outrider.base.log import ListLog
from outrider.server.channel import Message, channel_pair
from outrider.server.follow import Follower, Snapshot, Swap
from outrider.server.settings import Settings
from tests.patience import PATIENCE_SECONDS


class Process:
    """A process that follows, and the supervisor's end of its channel."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self.supervisor, own = channel_pair()
        self.own = own
        self.log = ListLog()
        self.follower = Follower(own, self.log, lambda: None)
        self.tasks = tasks
        self.swapped: list[int] = []

    def prepares(self, prepare: Callable[[Snapshot], Swap]) -> None:
        self.follower.follow(prepare, self.tasks)

    def swap_of(self, snapshot: Snapshot) -> Swap:
        async def swap() -> None:
            self.swapped.append(snapshot.epoch)

        return swap

    async def told(self, kind: str, files: tuple[int, ...] = (), **body: object) -> Message:
        """What it answers to the supervisor."""
        assert self.supervisor.send(kind, list(files), **body)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (message := self.supervisor.receive()) is None:  # noqa: ASYNC110 - there in a turn or two
                await asyncio.sleep(0)
            return message

    async def prepare(self, epoch: int, listening: socket.socket | None = None) -> Message:
        files = () if listening is None else (listening.fileno(),)
        return await self.told(
            "prepare",
            files,
            epoch=epoch,
            settings=Settings().model_dump_json(exclude_unset=True),
            sockets=["two"] * len(files),
            counts=[],
            places=[],
            changed=[],
            waiting=[],
            is_signalled=False,
        )


@pytest.fixture
async def process() -> AsyncIterator[Process]:
    async with asyncio.TaskGroup() as tasks:
        made = Process(tasks)
        yield made
        asyncio.get_running_loop().remove_reader(made.own.fileno())
    for end in (made.own, made.supervisor):
        end.close()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_what_was_prepared_is_swapped_in(process: Process) -> None:
    process.prepares(process.swap_of)
    assert (await process.prepare(2)).kind == "prepared"
    answer = await process.told("commit", epoch=2)
    assert (answer.kind, process.swapped) == ("committed", [2])


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ConfigError("no such key"), "no such key"),
        (PermissionError(13, "Permission denied"), "[Errno 13] Permission denied"),
        (
            AttributeError("'NoneType' object has no attribute 'x'"),
            "a bug of ours, AttributeError; the server's log says where",
        ),
    ],
)
async def test_what_cannot_be_prepared_is_refused_with_its_reason(
    process: Process, error: Exception, why: str
) -> None:
    def prepare(_snapshot: Snapshot) -> Swap:
        raise error

    process.prepares(prepare)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        before = descriptors()
        answer = await process.prepare(2, listening)
        assert (answer.kind, answer.body["why"]) == ("refused", why)
        assert descriptors() == before
    is_ours = isinstance(error, AttributeError)
    assert [name for _, name, _ in process.log.lines] == ["config.prepare_failed"] * is_ours
