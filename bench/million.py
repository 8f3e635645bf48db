"""A server that starts on a long queue: memory, time to the first delivery, and the rate beside it.

Builds a spool of deferred messages through the engine (2 KiB each, spread over many domains, due in some
hours), starts a server of two workers on it, and sends mail through it to smtp-sink, once it has nothing more
to do for its start, as the first checkpoint of what it read; the same on an empty queue, interleaved.

Usage: million.py [--messages N] [--domains N] [--keep FOLDER] [--rounds N]; the last line is JSON.
"""

import argparse
import asyncio
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from processes import PssSampler, Sink, cpu_seconds, free_port, smtp_source
from run import CASES, outrider

from outrider.base.clock import SystemClock
from outrider.base.files import OsFiles
from outrider.base.ids import IdSource
from outrider.base.log import NullLog
from outrider.model.address import Address
from outrider.model.changes import Stored
from outrider.model.flow import Delivery, Origin, Recipient
from outrider.spool.engine import EmbeddedEngine, build
from outrider.spool.options import SpoolOptions

DEFERRED_SECONDS = 6 * 3600.0
MESSAGES_A_ROUND = 15_000
IDLE_SHARE = 0.2
# chosen: of one processor, over a second; ticks and metrics take less, work for a start takes all of one
SETTLE_SECONDS_MAX = 60.0


async def build_spool(folder: Path, messages: int, domains: int) -> None:
    """A spool in `folder` as a server would have left it."""
    clock = SystemClock()
    ids = IdSource(clock, 0x123456)
    (folder / "state").mkdir(parents=True)
    engine = await EmbeddedEngine.open(
        OsFiles(), str(folder / "state" / "spool"), SpoolOptions(), clock, NullLog()
    )
    header = b"From: sender@source.test\r\nTo: recipient@sink.test\r\nSubject: deferred\r\n\r\n"
    content = header + (b"x" * 70 + b"\r\n") * ((2048 - len(header)) // 72)
    origin = Origin("bench", "SMTP", "127.0.0.1", "bench.test", None, None)
    sender = Address("sender", "source.test")
    now = clock.wall()

    def make(number: int, first_entry: int) -> tuple[Stored, list[bytes]]:
        domain = f"d{number % domains}.deferred.test"
        delivery = Delivery(
            Recipient(Address(f"user{number}", domain)),
            domain,
            not_before_time=now + DEFERRED_SECONDS + number % 3600,
        )
        stored = Stored(
            ids.next(),
            first_entry,
            now,
            origin,
            sender,
            (delivery,),
            None,
            None,
            False,
            0,
            len(header),
            len(content),
        )
        return stored, [content]

    await build(engine, messages, make)
    await engine.close()


def measure(folder: Path, sink_port: int) -> dict[str, float]:
    """One round: start, first delivery, rate, memory."""
    case = CASES["2k-reused"]
    probe = Sink(sink_port, 1)
    started = time.monotonic()
    with outrider(case, 2, sink_port, folder) as (port, root):
        smtp_source(port, 1, case.size, 1, reuse=False).wait()
        if not probe.wait(120):
            raise SystemExit("the first message did not come through")
        first = time.monotonic() - started
        sink = Sink(sink_port, MESSAGES_A_ROUND)
        with PssSampler(root) as memory:
            settled = settle(root)
            cpu = cpu_seconds(root)
            started = time.monotonic()
            smtp_source(port, MESSAGES_A_ROUND, case.size, 100, reuse=True).wait()
            if not sink.wait(120):
                raise SystemExit("not all messages came through")
            seconds = time.monotonic() - started
        cpu = cpu_seconds(root) - cpu
    return {
        "first_delivery_seconds": round(first, 2),
        "settled_seconds": round(settled, 1),
        "delivered_per_second": round(MESSAGES_A_ROUND / seconds, 1),
        "cpu_us_per_message": round(cpu / MESSAGES_A_ROUND * 1e6, 1),
        "peak_pss_mib": round(memory.peak_kib / 1024, 1),
    }


def settle(root: int) -> float:
    """Seconds until there is one in which the program hardly does anything; that one is not counted."""
    began = time.monotonic()
    while True:
        before = cpu_seconds(root)
        time.sleep(1)
        if cpu_seconds(root) - before < IDLE_SHARE:
            return time.monotonic() - began - 1
        if time.monotonic() - began > SETTLE_SECONDS_MAX:
            raise SystemExit(f"the server has work for its start after {SETTLE_SECONDS_MAX:g} s")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--domains", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="build here, or use what was built here before")
    options = parser.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="outrider-million-"))
    try:
        full = folder / "full"
        if not (full / "state" / "spool").exists():
            started = time.monotonic()
            asyncio.run(build_spool(full, options.messages, options.domains))
            print(f"built {options.messages} messages in {time.monotonic() - started:.0f} s", flush=True)
        sink_port = free_port()
        rounds: dict[str, list[dict[str, float]]] = {"full": [], "empty": []}
        for number in range(options.rounds):
            for kind, measured in rounds.items():
                place = folder / kind
                if kind == "empty":
                    shutil.rmtree(place, ignore_errors=True)
                    place.mkdir()
                measured.append(measure(place, sink_port))
                print(f"round {number + 1} {kind}: {measured[-1]}", flush=True)
        medians = {
            kind: {name: statistics.median(each[name] for each in figures) for name in figures[0]}
            for kind, figures in rounds.items()
        }
        for kind, figures in rounds.items():  # what has a ceiling is judged by its worst round
            for name in ("first_delivery_seconds", "settled_seconds", "peak_pss_mib"):
                medians[kind][name] = max(each[name] for each in figures)
        ratio = medians["full"]["delivered_per_second"] / medians["empty"]["delivered_per_second"]
        print(
            json.dumps(
                {
                    "messages": options.messages,
                    "domains": options.domains,
                    **medians,
                    "rate_ratio": round(ratio, 2),
                }
            )
        )
    finally:
        if options.keep is None:
            shutil.rmtree(folder)
        os.sync()


if __name__ == "__main__":
    main()
