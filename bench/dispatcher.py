"""What one message costs the dispatcher: announce, place, grant, settle, and the link's coding of it all.

A real `DispatchProcess` runs in this process; in place of workers and their sockets stand two fakes that
speak the link's octets: they announce group commits of `--batch` messages, deliver at once whatever they are
granted and settle it with their next commit. Only what the dispatcher does is timed, by the CPU time of its
thread, without the socket calls. Each commit is for one path, so the batch on a path is the same however many
there are. The first pass over all paths, which opens connections, is not measured; the least of several
passes counts, because others use the machine.

Usage: dispatcher.py [--paths N,…] [--batch N,…] [--messages N] [--repeats N] [--json]
"""

import argparse
import asyncio
import json
import os
import struct
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import msgspec

from outrider.base.clock import SystemClock
from outrider.base.log import NullLog
from outrider.model.changes import ContentRef, entry_id
from outrider.model.dispatch import (
    Arrived,
    Batch,
    Close,
    Closed,
    Committed,
    Granted,
    Hello,
    Open,
    Position,
    Settled,
    ToDispatcher,
    ToWorker,
    Want,
)
from outrider.model.route import Exchanger, Route
from outrider.net.loop import run
from outrider.record.options import RecordOptions
from outrider.schedule.options import ScheduleOptions, ShapingOptions
from outrider.server.dispatch_process import DispatchProcess
from outrider.server.lifecycle import Birth, Lifecycle
from outrider.server.link import Link
from outrider.server.options import ServerOptions
from outrider.server.settings import Settings

WORKERS = 2
CONNECTIONS = 20
# as many as bench/run.py allows
WANT_MAX = 64
# what a slot asks for when its peer is fast (deliver.smtp.slot)
BATCHES = (17, 40, 1)
PATHS = (1, 100, 10_000)
SIZE = 2048
DAY = 86_400.0

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[ToWorker]).decode


class Transport:
    """Keeps what the dispatcher writes."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, octets: bytes) -> None:
        self.written.append(octets)

    def abort(self) -> None:
        pass


class FakeWorker:
    """One worker with its deliverer: every peer answers at once."""

    def __init__(self, number: int, link: Link[ToDispatcher]) -> None:
        self.number = number
        self.log = number + 1
        self.link = link
        self.transport = Transport()
        link.connection_made(cast("asyncio.BaseTransport", self.transport))
        self.settled: list[Settled] = []
        self.said: list[ToDispatcher] = []
        self.wants: dict[int, int] = {}
        self.sequence = 0
        self.offset = 4096

    def position(self) -> Position:
        return Position(self.offset >> 26, self.offset & (1 << 26) - 1)

    def hello(self) -> bytes:
        return _frame([Hello(self.number, self.log, Position(0, 0), (), os.getpid())])

    def commit(self, domain: str, count: int) -> bytes:
        """The frame of one group commit: `count` new messages, and what was delivered since the last one."""
        arrived = []
        received = time.time()
        for _ in range(count):
            place = self.position()
            ref = ContentRef(self.log, place.segment, place.offset, SIZE + 300)
            self.offset += SIZE + 300
            arrived.append(
                Arrived(
                    entry_id(self.log, self.sequence),
                    ref,
                    "default",
                    "default",
                    SIZE,
                    received,
                    (("smtp", "default", domain, 0, 0.0),),
                    f"{self.sequence:018d}",
                )
            )
            self.sequence += 1
        settled, self.settled = self.settled, []
        return _frame([Committed(self.position(), tuple(arrived), tuple(settled), self.position())])

    def answers(self) -> bytes | None:
        """The frame of what connections have said since the last one."""
        said, self.said = self.said, []
        return _frame(said) if said else None

    def hear(self) -> None:
        """Do what the dispatcher has written."""
        written, self.transport.written = self.transport.written, []
        for octets in written:
            for order in _decode(octets[4:]):
                match order:
                    case Open(slot=slot, entries=entries):
                        self.wants[slot] = 1
                        self._deliver(slot, entries)
                    case Batch(slot=slot, entries=entries):
                        self._deliver(slot, entries)
                    case Close(slot=slot):
                        del self.wants[slot]
                        self.said.append(Closed(slot, None, 1))
                    case _:
                        pass

    def _deliver(self, slot: int, entries: tuple[Granted, ...]) -> None:
        if entries:
            self.settled += [Settled(slot, granted.entry, finished=True) for granted in entries]
            self.wants[slot] = count = min(self.wants[slot] * 2, WANT_MAX)
            self.said.append(Want(slot, count))


def _frame(messages: list[Any]) -> bytes:
    payload = _encode(messages)
    return struct.pack(">I", len(payload)) + payload


class Bench:
    """One dispatcher and what it costs."""

    def __init__(self, process: DispatchProcess) -> None:
        self.process = process
        self.workers: list[FakeWorker] = []
        self.seconds = 0.0

    async def join(self) -> None:
        self.workers = [FakeWorker(number, self.process._linked()) for number in range(WORKERS)]
        for worker in self.workers:
            worker.link.data_received(worker.hello())
        dispatcher = self.process.dispatcher
        while len(dispatcher.workers) < WORKERS or not dispatcher.is_granting:  # noqa: ASYNC110 - as it is
            await asyncio.sleep(0.01)

    def route(self, paths: int) -> list[str]:
        """Domains with a site of their own each."""
        domains = [f"d{number}.example" for number in range(paths)]
        for domain in domains:
            exchanger = Exchanger(10, f"mx.{domain}", ("127.0.0.1",))
            self.process.dispatcher.routed(Route(domain, (exchanger,), False, DAY))
        return domains

    async def say(self, worker: FakeWorker, octets: bytes | None) -> None:
        """Have the dispatcher read a frame, plan and answer; the time that takes counts."""
        if octets is None:
            return
        begun = time.thread_time()
        worker.link.data_received(octets)
        await asyncio.sleep(0)  # plans
        await asyncio.sleep(0)  # the answers leave
        self.seconds += time.thread_time() - begun
        for each in self.workers:
            each.hear()

    async def one_pass(self, domains: Iterator[str], batch: int, commits: int) -> float:
        """CPU seconds for each message of a pass."""
        self.seconds = 0.0
        for number in range(commits):
            worker = self.workers[number % WORKERS]
            await self.say(worker, worker.answers())
            await self.say(worker, worker.commit(next(domains), batch))
        for _ in range(3):
            for worker in self.workers:
                await self.say(worker, worker.answers())
                await self.say(worker, worker.commit("", 0))
        left = self.process._index.counts().alive
        if left:
            raise SystemExit(f"{left} messages were not delivered")
        return self.seconds / (commits * batch)


def around(values: list[str]) -> Iterator[str]:
    while True:
        yield from values


async def measure(paths: int, batch: int, messages: int, repeats: int, folder: Path) -> dict[str, Any]:
    """One row."""
    receiver, sender = os.pipe()
    settings = Settings(
        server=ServerOptions(state_directory=folder, run_directory=folder / "run"),
        listener=(),
        shaping=ScheduleOptions(
            default=ShapingOptions(max_connections=CONNECTIONS), outbound_connections=100_000
        ),
        record=RecordOptions(redaction="domain"),  # the dispatcher writes no event of a message here
    )
    for place in (settings.server.sockets_directory, settings.server.events_directory):
        place.mkdir(parents=True)
    birth = Birth("dispatcher", 0, settings, {}, receiver, sender, SystemClock(), NullLog())
    life = Lifecycle(birth)
    process = DispatchProcess(birth, life)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(process.run())
        while not life.is_ready:  # noqa: ASYNC110 - it has no event for us
            await asyncio.sleep(0.01)
        bench = Bench(process)
        await bench.join()
        domains = bench.route(paths)
        commits = max(paths, messages // batch)
        await bench.one_pass(around(domains), batch, paths)
        costs = [await bench.one_pass(around(domains), batch, commits) for _ in range(repeats)]
        life.drain()
        await running
    os.close(receiver)
    os.close(sender)
    return {
        "case": "dispatcher",
        "paths": paths,
        "batch": batch,
        "messages": commits * batch,
        "repeats": repeats,
        "cpu_us_per_message": round(min(costs) * 1e6, 2),
        "median_us": round(sorted(costs)[len(costs) // 2] * 1e6, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--paths", default=",".join(map(str, PATHS)))
    parser.add_argument("--batch", default=",".join(map(str, BATCHES)))
    parser.add_argument("--messages", type=int, default=20_000, help="in a pass, or one batch for each path")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print rows as JSON, one a line")
    options = parser.parse_args()
    for batch in map(int, options.batch.split(",")):
        rows = []
        for paths in map(int, options.paths.split(",")):
            with tempfile.TemporaryDirectory(prefix="outrider-dispatcher-") as name:
                row = run(measure(paths, batch, options.messages, options.repeats, Path(name)))
            rows.append(row)
            if options.json:
                print(json.dumps(row), flush=True)
        if not options.json:
            costs = " / ".join(f"{row['cpu_us_per_message']:.1f}" for row in rows)
            names = " / ".join(f"{row['paths']:,}" for row in rows)
            print(f"dispatcher µs per message: {costs}  ({names} paths, batch {batch})", flush=True)


if __name__ == "__main__":
    main()
