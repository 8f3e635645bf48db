"""A kill run: a server under load, a SIGKILL in each round, an account at the end.

In: how many rounds, a seed, a folder. Out: the account.

Theory: the simulator, the generators and the one that kills live in this process, the server is a process as
operators start it. The supervisor, which nobody starts again, is started here. A round ends when mail flows
again, in and out; some end at once, so that the next kill falls into a recovery. Whenever the whole server
was down, its spool is read as it lies there: what was acknowledged must be in it, or have arrived.

Invariant: the server is never asked what it has accepted or delivered; both ends are counted outside.
"""

import asyncio
import json
import os
import random
import re
import signal
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from outrider.base.clock import SystemClock
from outrider.base.errors import OutriderError
from outrider.privacy.credentials import make_key
from outrider.server.control_api.client import ControlClient
from outrider.sim.load import Load
from outrider.sim.provider import Connection, Provider
from outrider.sim.server import PracticeInternet
from outrider.sim.stopping import first_failure
from outrider.sim.tally import Journal, read_journal
from outrider.sim.temper import Answer
from tests.crash.kill_account import Account, Key, Kill, Queue, Sighting, draw_up, read_record
from tests.crash.kill_processes import Ends, children_of, connections_of, logs_of, owner_of, pause, send
from tests.crash.kill_queue import is_in_use, read_queue
from tests.crash.kill_world import befriend, kill_world, loads, server_toml
from tests.crash.standstill import Standstill
from tests.e2e.outrider_process import OutriderProcess, start_server
from tests.peers.processes import free_port

KINDS = ("worker", "dispatcher", "control", "supervisor", "all", "worker+dispatcher", "workers")
"""Who dies in a round; each comes once before any comes again."""
RECOVERY_SECONDS = 60.0
# a child is started again after at most 5 s; the rest is room for a busy machine
DRAIN_SECONDS = 120.0
# chosen: retries are due within 2 s once the world is friendly; a minute of backlog goes out in seconds
POLL_SECONDS = 0.02
HURRIED = 0.25
# share of rounds that do not wait for the recovery
_OWN_ID = re.compile(rb"\bid (\S+);|^Message-ID: <([^@>]+)@mail\.practice\.test>", re.MULTILINE)
_HEADER_OCTETS = 4096
Say = Callable[[str], None]


class KillError(Exception):
    """The run itself failed: the server did not come back, or did not drain."""


class Siege:
    """See the module; an async context manager.

    Args:
        folder: Holds configuration, state, log and journal.
        seed: Of all chances: moods, recipients, who dies and when.
        calm_seconds: Longest time of load before a kill.
        say: Told what happens, a line at a time.
    """

    def __init__(self, folder: Path, *, seed: int, calm_seconds: float, say: Say) -> None:
        self.folder = folder
        self.kills: list[Kill] = []
        self.sightings: list[Sighting] = []
        self.bounces: set[Key] = set()
        self.faults: list[str] = []
        self._seed = seed
        self._calm_seconds = calm_seconds
        self._say = say
        self._chance = random.Random(seed)
        self._kinds: list[str] = []
        self._clock = SystemClock()
        self._options = kill_world(seed)
        self._world = PracticeInternet(self._options, clock=self._clock)
        self._stack = AsyncExitStack()
        self._server: OutriderProcess
        self._log_start = 0
        self._workers: list[int] = []
        self._senders: dict[tuple[str, str], int] = {}
        self._held_at_death: dict[Ends, int] = {}
        self._loads: list[Load] = []
        self._standstill: Standstill

    @property
    def _spool(self) -> Path:
        return self.folder / "state" / "spool"

    async def __aenter__(self) -> Self:
        await self._stack.__aenter__()
        try:
            await self._stack.enter_async_context(self._world)
            for provider in self._world.providers.values():
                provider.take = partial(self._taken, provider, provider.take)  # type: ignore[method-assign]
                provider.opened = partial(self._opened, provider, provider.opened)  # type: ignore[method-assign]
            self._standstill = self._stack.enter_context(Standstill(self.folder))
            sockets = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="outrider-kill-")))
            smtp_port, http_port = free_port(), free_port()
            users = self.folder / "users.toml"
            api_key = make_key(users, "kill", "default", frozenset(("practice.test",)))
            text = server_toml(
                smtp_port=smtp_port,
                http_port=http_port,
                dns_port=self._world.dns_port,
                exchanger_port=self._world.smtp_port,
                users_file=users,
                run_directory=sockets,
            )
            (self.folder / "outrider.toml").write_text(text, encoding="utf-8")
            self._sockets = sockets
            journal = Journal(self.folder / "journal")
            self._stack.callback(journal.close)
            options = loads(smtp_port=smtp_port, http_port=http_port, api_key=api_key, seed=self._seed)
            self._loads = [Load(each, clock=self._clock, journal=journal) for each in options]
            await self._start()
            self._stack.callback(lambda: self._end(self._server))
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    # the server

    async def _start(self) -> None:
        log = self.folder / "server.log"
        self._log_start = log.stat().st_size if log.exists() else 0
        self._server = await asyncio.to_thread(start_server, self.folder)

    @staticmethod
    def _end(server: OutriderProcess) -> None:
        server.kill()
        if server.process.stdout is not None:
            server.process.stdout.close()

    def _children(self) -> dict[str, int]:
        with (self.folder / "server.log").open("rb") as log:
            log.seek(self._log_start)
            return children_of(self._server.process.pid, log.read().decode("utf-8", "replace"))

    # what happens outside

    def _opened(
        self, provider: Provider, opened: Callable[[Connection], Answer | None], connection: Connection
    ) -> Answer | None:
        """Who is at the other end: a process that lives, or one that died with this connection."""
        tcp = cast("Any", connection)._tcp
        ends: Ends = tcp.getpeername(), tcp.getsockname()
        sender = owner_of(ends, self._workers)
        if not sender:
            self._workers = [pid for name, pid in self._children().items() if name.startswith("worker")]
            sender = owner_of(ends, self._workers) or self._held_at_death.get(ends, 0)
        self._senders[provider.name, cast("Any", connection)._client] = sender
        return opened(connection)

    def _taken(
        self,
        provider: Provider,
        take: Callable[[str, list[str], bytes, dict[str, Any]], None],
        sender: str,
        recipients: list[str],
        content: bytes,
        facts: dict[str, Any],
    ) -> None:
        take(sender, recipients, content, facts)
        head = content[:_HEADER_OCTETS]
        found = _OWN_ID.search(head)
        message_id = next(filter(None, found.groups()), b"").decode() if found else ""
        number = re.search(rb"^X-Sim-Number: (\S+)", head.partition(b"\r\n\r\n")[0], re.MULTILINE)
        at = self._clock.wall()
        process = self._senders.get((provider.name, str(facts["client"])), 0)
        self.sightings += [
            Sighting(message_id, number[1].decode() if number else "", recipient, at, process)
            for recipient in recipients
        ]
        self.bounces.update(provider.counts.bounces)

    def _moved(self) -> tuple[int, int]:
        """(messages acknowledged, recipients taken) until now."""
        return sum(load.tally.messages["acknowledged"] for load in self._loads), len(self.sightings)

    async def _until(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        deadline = self._clock.now() + seconds
        while not condition():
            if self._clock.now() > deadline:
                raise KillError(f"not within {seconds:g} s: {what}\n{self._server.log()[-6000:]}")
            await asyncio.sleep(POLL_SECONDS)

    # rounds

    async def run(self, rounds: int) -> Account:
        """The whole run.

        Raises:
            KillError: The server did not come back, or did not drain.
        """
        try:
            async with asyncio.TaskGroup() as senders:
                for load in self._loads:
                    senders.create_task(load.run())
                await self._rounds(rounds)
                for load in self._loads:
                    load.stop()
        except ExceptionGroup as failures:
            raise first_failure(failures) from None
        return await self._finish()

    async def _rounds(self, rounds: int) -> None:
        await self._until(lambda: all(self._moved()), RECOVERY_SECONDS, "mail flows")
        for number in range(1, rounds + 1):
            await self._round(number, rounds)
        await self._flows_again(self._moved())

    async def _round(self, number: int, rounds: int) -> None:
        calm = self._chance.uniform(0, self._calm_seconds)
        await asyncio.sleep(calm)
        if not self._kinds:
            self._kinds = self._chance.sample(KINDS, len(KINDS))
        kind = self._kinds.pop()
        killed = self._kill(kind)
        before = self._moved()
        at = self._clock.now()
        if kind in ("supervisor", "all"):
            await self._start_again()
        if self._chance.random() >= HURRIED:
            await self._flows_again(before)
        self._say(
            f"round {number}/{rounds}: {killed} killed after {calm:.2f} s; mail flows again after "
            f"{self._clock.now() - at:.2f} s; acknowledged {before[0]}, taken {before[1]}"
        )

    async def _flows_again(self, before: tuple[int, int]) -> None:
        def flows() -> bool:
            now = self._moved()
            return now[0] > before[0] and now[1] > before[1] and len(self._children()) == len("wwdc")

        await self._until(flows, RECOVERY_SECONDS, "every process lives and mail flows in and out again")
        deadline = self._clock.now() + RECOVERY_SECONDS
        while await self._queued() is None:
            if self._clock.now() > deadline:
                raise KillError(f"control does not answer\n{self._server.log()[-6000:]}")
            await asyncio.sleep(POLL_SECONDS)

    def _kill(self, kind: str) -> str:
        """Kill by kind; returns the names."""
        children = self._children()
        workers = sorted(name for name in children if name.startswith("worker"))
        chosen = {
            "worker": self._chance.sample(workers, min(len(workers), 1)),
            "workers": workers,
            "worker+dispatcher": [*self._chance.sample(workers, min(len(workers), 1)), "dispatcher"],
        }.get(kind, [kind])
        dying = workers if kind in ("supervisor", "all") else [name for name in chosen if name in workers]
        pids = [children[name] for name in dying]
        logs = frozenset(log for pid in pids for log in logs_of(pid))
        if kind != "supervisor":  # whose orphans must end by themselves
            pause(pids)
        self._held_at_death = {ends: pid for pid in pids for ends in connections_of(pid)}
        at = self._clock.wall()
        if kind == "all":
            os.killpg(self._server.process.pid, signal.SIGKILL)
        elif kind == "supervisor":
            send(self._server.process.pid, signal.SIGKILL)
        else:
            for name in chosen:
                if name in children:
                    send(children[name], signal.SIGKILL)
        self.kills.append(Kill(at, tuple(chosen), frozenset(pids), logs))
        return ", ".join(chosen)

    async def _start_again(self) -> None:
        """The supervisor is dead: see what lies there, then start it."""
        self._server.process.wait()
        await self._until(lambda: not is_in_use(self._spool), RECOVERY_SECONDS, "orphaned processes end")
        await self._audit()
        self._end(self._server)
        await self._start()

    async def _audit(self) -> Queue:
        """Everything acknowledged until now has arrived, was reported, or lies in the spool."""
        owed = set(read_journal(self.folder / "journal")["acknowledged"])
        queue = await read_queue(self._spool)
        arrived = {sighting.key for sighting in self.sightings}
        missing = sorted(owed - queue.keys - arrived - self.bounces)
        self.faults += [
            f"{number} to {recipient} was not in the dead server's spool" for number, recipient in missing
        ]
        return queue

    # the end

    def _status(self) -> dict[str, Any]:
        with ControlClient(self._sockets) as server:
            found: dict[str, Any] = server.get("/v1/status")
        return found

    async def _queued(self) -> int | None:
        try:
            status: dict[str, Any] = await asyncio.to_thread(self._status)
        except OutriderError:
            return None
        alive: int = status["queue"]["alive"]
        return alive

    async def _finish(self) -> Account:
        """Drain in a friendly world, stop in good order, and count."""
        befriend(self._world, self._options)
        start = self._clock.now()
        while (queued := await self._queued()) != 0:
            if self._clock.now() - start > DRAIN_SECONDS:
                self.faults.append(f"the queue did not drain within {DRAIN_SECONDS:.0f} s: {queued} are left")
                break
            await asyncio.sleep(POLL_SECONDS)
        self._say(f"drained {self._clock.now() - start:.1f} s after the world became friendly")
        code = await asyncio.to_thread(self._server.stop)
        if code:
            self.faults.append(f"the server ended with {code} when told to stop")
        queue = await self._audit()
        record = read_record(self._server.events())
        journal = read_journal(self.folder / "journal")
        account = draw_up(
            {str(fate): keys for fate, keys in journal.items()},
            self.sightings,
            self.bounces,
            queue,
            [replace(each, late_seconds=self._standstill.around(each.at)) for each in self.kills],
            record,
        )
        account.unexplained += self.faults
        account.unexplained += bugs_in(self._server.log())
        return account


def bugs_in(log: str) -> list[str]:
    """Lines of the server's log that no kill explains: exceptions and failed callbacks."""
    words = ("process.failed", "process.stuck", "callback_failed", "Traceback", "quarantined", "damaged")
    found = []
    for line in log.splitlines():
        if any(word in line for word in words):
            try:
                fields = json.loads(line)
            except json.JSONDecodeError:
                fields = {"event": line}
            found.append(f"the server's log says {json.dumps(fields)[:2000]}")
    return found
