"""A reload, as the supervisor leads it: validate, have every process prepare, then have all of them swap.

In: who asks (a signal, or `control` for an operator), and what the processes answer. Out: an answer that says
what changed, what waits for a restart, or why nothing was changed.

Theory: two steps. Everything that can fail is done first: files are read and validated, sockets opened, and
each process builds what the new settings need (`prepare`). When all have said that they can, all are told to
swap (`commit`), which cannot fail but by a bug; a process that has one dies and its successor starts with the
new settings. When one cannot, is silent or dies, all are told to forget it. Meanwhile no process is started,
so none can miss it.

Invariant: all processes run with the settings of one epoch, before and after.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from outrider.base.clock import Clock
from outrider.base.errors import ConfigError
from outrider.base.exits import Exit
from outrider.base.log import Log
from outrider.server.channel import FILES_MAX, Channel, Message
from outrider.server.configuration import Configuration
from outrider.server.doors import Doors, Opened
from outrider.server.reconfigure import Change, changes, merged, names
from outrider.server.settings import Settings

PATIENCE_SECONDS = 15.0
# chosen: a process builds its part within milliseconds; one that replays a long log listens only then


class Process(Protocol):
    """What a reload needs of a child of the supervisor."""

    name: str
    number: int
    pid: int
    channel: Channel | None


@dataclass(frozen=True, slots=True)
class _Asked:
    """Who wants it; None is the signal."""

    by: Process | None
    number: int
    dry_run: bool


@dataclass(slots=True)
class _Pending:
    """One that is under way."""

    asked: _Asked
    epoch: int
    settings: Settings
    changes: list[Change]
    gone_bindings: list[str]
    opened: Opened
    give_up_at: float
    waiting: list[Process] = field(default_factory=list)
    is_committed: bool = False


class Reloads:
    """See the module.

    Args:
        settings: What runs.
        read: Reads files, environment and flags again.
        doors: Opens what is new.
        processes: The supervisor's children, those that do not run too.
        clock: Time.
        log: Server log.
        adopted: Called with the settings that run from now on, before the processes swap.
        finished: Called when a reload that a signal asked for is over, taken or not.
    """

    def __init__(
        self,
        settings: Settings,
        read: Callable[[], Configuration],
        doors: Doors,
        processes: Sequence[Process],
        clock: Clock,
        log: Log,
        adopted: Callable[[Settings], None],
        finished: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._read = read
        self._doors = doors
        self._processes = processes
        self._clock = clock
        self._log = log
        self._adopted = adopted
        self._finished = finished
        self._epoch = 1
        self._queue: deque[_Asked] = deque()
        self._pending: _Pending | None = None

    @property
    def is_pending(self) -> bool:
        """True while processes prepare: none may be started."""
        return self._pending is not None and not self._pending.is_committed

    def ask(self, by: Process | None = None, number: int = 0, *, dry_run: bool = False) -> None:
        """Somebody wants a reload, or to know what one would change; in turn.

        Signals that come while others wait are one: it reads when its turn comes, after all of them.
        """
        asked = _Asked(by, number, dry_run)
        if by is not None or asked not in self._queue:
            self._queue.append(asked)
        self._next()

    def hear(self, process: Process, message: Message) -> None:
        """A process says something."""
        pending = self._pending
        if message.kind == "ask":
            self.ask(process, message.body["number"], dry_run=message.body["dry_run"])
        elif pending is not None and message.body["epoch"] == pending.epoch:
            if message.kind == "refused":
                self._abort(f"{process.name} cannot: {message.body['why']}", Exit.CONFIG)
            else:
                self._done(pending, process)

    def died(self, process: Process) -> None:
        """A process is gone."""
        pending = self._pending
        if pending is None or process not in pending.waiting:
            return
        if pending.is_committed:
            self._done(pending, process)
        else:
            self._abort(f"{process.name} died meanwhile; ask again", Exit.TEMPORARY)

    def tick(self) -> None:
        """Look at the time."""
        pending = self._pending
        if pending is None or self._clock.now() < pending.give_up_at:
            return
        silent = ", ".join(process.name for process in pending.waiting)
        if pending.is_committed:
            self._log.error("config.swap_unconfirmed", epoch=pending.epoch, processes=silent)
            self._finish(pending)
        else:
            self._abort(f"{silent} did not answer in {PATIENCE_SECONDS:g} s; ask again", Exit.TEMPORARY)

    def _next(self) -> None:
        while self._queue and self._pending is None:
            asked = self._queue.popleft()
            try:
                self._begin(asked)
            except ConfigError as error:
                faults = list(error.faults) or [error.message]
                self._refuse(asked, error.message, faults, Exit.CONFIG)
            except OSError as error:
                self._refuse(asked, f"the system refuses: {error}", [], Exit.TEMPORARY)

    def _begin(self, asked: _Asked) -> None:
        read = self._read()
        found = changes(self._settings, read.settings, read.sources)
        settings = merged(self._settings, read.settings)
        gone = sorted(self._settings.binding_names - settings.binding_names)
        if asked.dry_run:
            files = [str(path.absolute()) for path in read.sources.files]
            self._answer(asked, self._epoch, found, gone_bindings=gone, files=files, origins=read.origins())
            return
        opened = self._doors.open_for(self._settings, settings)
        if len(opened.sockets) + len(opened.files) > FILES_MAX:
            opened.close()
            raise ConfigError("more listeners are new than a running server can be given; restart it")
        self._epoch += 1
        give_up_at = self._clock.now() + PATIENCE_SECONDS
        pending = _Pending(asked, self._epoch, settings, found, gone, opened, give_up_at)
        pending.waiting = [process for process in self._processes if process.pid]
        self._pending = pending
        for process in list(pending.waiting):
            if not self._prepare(pending, process):
                self._abort(f"{process.name} does not listen; ask again", Exit.TEMPORARY)
                return
        if not pending.waiting:
            self._commit(pending)

    def _prepare(self, pending: _Pending, process: Process) -> bool:
        opened = pending.opened
        is_worker = process.name.startswith("worker")
        sockets = {name: group[process.number] for name, group in opened.sockets.items()} if is_worker else {}
        counts = opened.files if is_worker else {}
        return process.channel is not None and process.channel.send(
            "prepare",
            [*(each.fileno() for each in sockets.values()), *counts.values()],
            epoch=pending.epoch,
            settings=pending.settings.model_dump_json(exclude_unset=True),
            sockets=list(sockets),
            counts=list(counts),
            places=self._doors.places(pending.settings, opened),
            changed=names(pending.changes, needs_restart=False),
            waiting=names(pending.changes, needs_restart=True),
            is_signalled=pending.asked.by is None,
        )

    def _done(self, pending: _Pending, process: Process) -> None:
        """One more has prepared, or swapped."""
        if process in pending.waiting:
            pending.waiting.remove(process)
        if not pending.waiting:
            if pending.is_committed:
                self._finish(pending)
            else:
                self._commit(pending)

    def _commit(self, pending: _Pending) -> None:
        pending.is_committed = True
        pending.give_up_at = self._clock.now() + PATIENCE_SECONDS
        self._settings = pending.settings
        self._adopted(pending.settings)
        self._doors.adopt(pending.opened, pending.settings)
        pending.waiting = [
            process
            for process in self._processes
            if process.pid and process.channel is not None
            if process.channel.send("commit", epoch=pending.epoch)
        ]
        if not pending.waiting:
            self._finish(pending)

    def _finish(self, pending: _Pending) -> None:
        self._log.info(
            "config.reloaded",
            epoch=pending.epoch,
            changed=names(pending.changes, needs_restart=False),
            needs_restart=names(pending.changes, needs_restart=True),
        )
        if pending.gone_bindings:
            self._log.warning("config.bindings_gone", bindings=pending.gone_bindings)
        self._pending = None
        self._answer(pending.asked, pending.epoch, pending.changes, gone_bindings=pending.gone_bindings)
        self._next()

    def _abort(self, why: str, code: int) -> None:
        pending, self._pending = self._pending, None
        if pending is None:
            return
        pending.opened.close()
        for process in self._processes:
            if process.pid and process.channel is not None:
                process.channel.send("abort", epoch=pending.epoch)
        self._refuse(pending.asked, why, [], code)
        self._next()

    def _refuse(self, asked: _Asked, reason: str, faults: list[str], code: int) -> None:
        if not asked.dry_run:
            self._log.error("config.reload_refused", reason=reason, faults=faults)
        self._tell(asked, ok=False, reason=reason, faults=faults, code=code)

    def _answer(self, asked: _Asked, epoch: int, found: list[Change], **more: Any) -> None:
        self._tell(asked, ok=True, epoch=epoch, changes=[change.told() for change in found], **more)

    def _tell(self, asked: _Asked, **answer: Any) -> None:
        if asked.by is not None and asked.by.channel is not None:
            asked.by.channel.send("answer", number=asked.number, answer={"dry_run": asked.dry_run, **answer})
        elif asked.by is None:
            self._finished()
