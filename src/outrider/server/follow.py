"""A reload, as each process follows it: prepare what the new settings need, then swap, or forget it.

In: the supervisor's messages (see `reload`). Out: what the process was able to prepare, and answers.
"""

import asyncio
import mmap
import os
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from outrider.base.errors import OutriderError, UnavailableError, where
from outrider.base.log import Log
from outrider.server.channel import Channel, Message
from outrider.server.settings import Settings

ASK_SECONDS = 60.0
# chosen: one reload may wait for another, and each of them for a process that starts


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the supervisor gives for an epoch.

    Attributes:
        epoch: Number of the settings; grows with each reload.
        settings: Validated; what needs a restart is as it runs.
        sockets: Listening sockets of listeners that are new or moved, for this process.
        counts: Shared memory of listeners that are new.
        places: Where all SMTP listeners listen.
        changed: Names of the options that change.
        waiting: Names of those that wait for a restart.
        is_signalled: A signal asked for it, so that nobody else has put it into the audit log.
    """

    epoch: int
    settings: Settings
    sockets: dict[str, socket.socket] = field(default_factory=dict)
    counts: dict[str, mmap.mmap] = field(default_factory=dict)
    places: tuple[tuple[str, int], ...] = ()
    changed: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    is_signalled: bool = False

    def facts(self) -> dict[str, str]:
        """What it is, for the event and the audit log."""
        return {"changed": " ".join(self.changed), "needs_restart": " ".join(self.waiting)}


Swap = Callable[[], Awaitable[None]]
Prepare = Callable[[Snapshot], Swap]


class Follower:
    """One process's end of the supervisor's channel.

    Args:
        channel: To the supervisor.
        log: Server log.
        gone: Called when the supervisor is gone.
    """

    def __init__(self, channel: Channel, log: Log, gone: Callable[[], None]) -> None:
        self._channel = channel
        self._log = log
        self._gone = gone
        self._loop = asyncio.get_running_loop()
        self._prepare: Prepare | None = None
        self._prepared: tuple[Snapshot, Swap] | None = None
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._numbers = count(1)
        self._tasks: asyncio.TaskGroup | None = None

    def follow(self, prepare: Prepare, tasks: asyncio.TaskGroup) -> None:
        """From now on take part in reloads.

        Args:
            prepare: Builds what a snapshot needs, changes nothing, and gives what swaps it in; raises
                OutriderError or OSError when this process cannot.
            tasks: Own the swaps.
        """
        self._prepare = prepare
        self._tasks = tasks
        self._loop.add_reader(self._channel.fileno(), self._readable)

    async def ask(self, *, dry_run: bool) -> dict[str, Any]:
        """Have the supervisor reload, or say what it would change; its answer.

        Raises:
            UnavailableError: It does not answer in time.
        """
        number = next(self._numbers)
        future = self._answers[number] = self._loop.create_future()
        try:
            if not self._channel.send("ask", number=number, dry_run=dry_run):
                raise UnavailableError("the supervisor does not listen; try again")
            async with asyncio.timeout(ASK_SECONDS):
                answer: dict[str, Any] = await future
                return answer
        except TimeoutError as error:
            raise UnavailableError("the supervisor did not answer; see its log") from error
        finally:
            del self._answers[number]

    def _readable(self) -> None:
        try:
            while (message := self._channel.receive()) is not None:
                self._take(message)
        except EOFError:
            self._loop.remove_reader(self._channel.fileno())
            self._gone()

    def _take(self, message: Message) -> None:
        match message.kind:
            case "prepare":
                self._begin(message)
            case "commit":
                self._commit(message.body["epoch"])
            case "abort":
                self._forget()
            case "answer":
                future = self._answers.get(message.body["number"])
                if future is not None and not future.done():
                    future.set_result(message.body["answer"])
            case _:
                self._log.error("config.unknown_message", kind=message.kind)

    def _begin(self, message: Message) -> None:
        self._forget()
        epoch = message.body["epoch"]
        snapshot = snapshot_of(message)
        if self._prepare is None:
            return
        try:
            self._prepared = snapshot, self._prepare(snapshot)
        except (OutriderError, OSError, ValueError) as error:
            _close(snapshot)
            why = error.message if isinstance(error, OutriderError) else str(error)
            self._channel.send("refused", epoch=epoch, why=why)
        except Exception as error:  # else the supervisor would wait, and say that nobody answered
            _close(snapshot)
            self._log.error("config.prepare_failed", epoch=epoch, **where(error))
            why = f"a bug of ours, {type(error).__name__}; the server's log says where"
            self._channel.send("refused", epoch=epoch, why=why)
        else:
            self._channel.send("prepared", epoch=epoch)

    def _commit(self, epoch: int) -> None:
        prepared, self._prepared = self._prepared, None
        if prepared is None or prepared[0].epoch != epoch or self._tasks is None:
            # this process was started with these settings already
            self._channel.send("committed", epoch=epoch)
            return
        self._tasks.create_task(self._swap(*prepared))

    async def _swap(self, snapshot: Snapshot, swap: Swap) -> None:
        await swap()
        self._log.info("config.swapped", epoch=snapshot.epoch, changed=list(snapshot.changed))
        self._channel.send("committed", epoch=snapshot.epoch)

    def _forget(self) -> None:
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            _close(prepared[0])


def snapshot_of(message: Message) -> Snapshot:
    """The snapshot of a `prepare` message."""
    body = message.body
    files = iter(message.files)
    sockets = {name: socket.socket(fileno=next(files)) for name in body["sockets"]}
    for each in sockets.values():
        each.setblocking(False)
    counts = {}
    for name in body["counts"]:
        descriptor = next(files)
        counts[name] = mmap.mmap(descriptor, os.fstat(descriptor).st_size)
        os.close(descriptor)
    return Snapshot(
        body["epoch"],
        Settings.model_validate_json(body["settings"]),
        sockets,
        counts,
        tuple((address, port) for address, port in body["places"]),
        tuple(body["changed"]),
        tuple(body["waiting"]),
        body["is_signalled"],
    )


def _close(snapshot: Snapshot) -> None:
    for each in snapshot.sockets.values():
        each.close()
