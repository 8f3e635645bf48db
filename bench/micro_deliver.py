"""CPU of the deliver stage alone against smtp-sink: reused connections and one message for each connection.

In one process: a fake dispatcher that answers every want, contents in memory. User and system time of this
process for each message; min of several repeats, so that the noise of a shared machine matters less.

Usage: micro_deliver.py [--single] [--messages N] [--repeats N] [--profile FILE]
"""

import argparse
import asyncio
import contextlib
import cProfile
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from processes import free_port

from outrider.base.clock import SystemClock
from outrider.base.errors import KeyAbsentError
from outrider.base.ids import MessageId
from outrider.base.log import NullLog
from outrider.base.long_octets import LONG_OCTETS
from outrider.deliver.options import DeliveryTable
from outrider.deliver.resolve import DeliveryResolver
from outrider.deliver.smtp.deliverer import SmtpDeliverer
from outrider.guard.signing import SigningGuard
from outrider.model.address import Address
from outrider.model.changes import ContentRef, Stored
from outrider.model.dispatch import Batch, Granted, Open
from outrider.model.flow import Delivery, Host, Origin, Outcome, Recipient
from outrider.model.flow import Path as MailPath
from outrider.model.way_out import Stay
from outrider.net.loop import run as run_loop
from outrider.net.options import TlsOptions
from outrider.net.tls import TlsContexts
from outrider.wire.dkim.keys import SigningKey

CONNECTIONS = 20
WIRE = b"Subject: bench\r\n\r\n" + (b"x" * 70 + b"\r\n") * 28
STORED = Stored(
    MessageId("0" * 18),
    0,
    0.0,
    Origin("bench", "SMTP", "127.0.0.1", "bench.test", None, None),
    Address("sender", "source.test"),
    (Delivery(Recipient(Address("recipient", "sink.test")), "sink.test"),),
    None,
    None,
    False,
    0,
    16,
    len(WIRE),
)
PATH = MailPath("smtp", "default", "sink")


class NoKeys:
    """Nothing is signed here."""

    def get(self, name: str) -> SigningKey:
        raise KeyAbsentError(name)


class Source:
    """Every message is the same."""

    def read(self, ref: ContentRef, entry: int) -> tuple[Stored, bytes]:
        return STORED, WIRE

    long_from = LONG_OCTETS

    def load(self, ref: ContentRef, entry: int) -> None:
        """Everything is in memory."""


class Dispatcher:
    """Gives entries until all are granted."""

    def __init__(self, messages: int, host: Host, *, single: bool) -> None:
        self.host = host
        self.single = single
        self.left = messages
        self.open = messages
        self.number = 0
        self.slot = 0
        self.done = asyncio.Event()
        self.deliverer: SmtpDeliverer

    def take(self, count: int) -> tuple[Granted, ...]:
        count = min(count, self.left)
        self.left -= count
        granted = []
        for _ in range(count):
            self.number += 1
            granted.append(Granted(self.number, ContentRef(1, 0, self.number, 100), 0, 0, 0, False))
        return tuple(granted)

    def start(self) -> None:
        if self.left:
            self.slot += 1
            self.deliverer.open(Open(self.slot, PATH, (self.host,), self.take(1 if self.single else 16)))

    def outcome(self, path: MailPath, slot: int, granted: Granted, stored: Stored, outcome: Outcome) -> None:
        if outcome.reply.code != 250:
            raise SystemExit(f"not delivered: {outcome}")
        self.open -= 1
        if not self.open:
            self.done.set()

    def stays(
        self, path: MailPath, slot: int, granted: Granted, stored: Stored, outcome: Outcome, stay: Stay
    ) -> None:
        raise SystemExit("stays")

    def unreadable(self, path: MailPath, slot: int, granted: Granted, outcome: Outcome) -> None:
        raise SystemExit("unreadable")

    def want(self, slot: int, count: int) -> None:
        asyncio.get_running_loop().call_soon(
            self.deliverer.batch, Batch(slot, () if self.single else self.take(count))
        )

    def returned(self, slot: int, entries: Sequence[int], *, was_seen: bool = False) -> None:
        raise SystemExit("returned")

    def closed(self, slot: int, failure: Outcome | None, deliveries: int) -> None:
        self.start()


async def deliver(port: int, messages: int, *, single: bool) -> None:
    dispatcher = Dispatcher(messages, Host("sink", "127.0.0.1", port), single=single)
    table = DeliveryTable.model_validate(
        {"default": {"max_deliveries_per_connection": 1 if single else 100_000}}
    )
    dispatcher.deliverer = deliverer = SmtpDeliverer(
        DeliveryResolver(table),
        hostname="bench.test",
        source=Source(),
        guard=SigningGuard(NoKeys(), SystemClock(), NullLog()),
        report=dispatcher,
        clock=SystemClock(),
        log=NullLog(),
        tls=TlsContexts(TlsOptions()),
    )
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(deliverer.run())
        await asyncio.sleep(0)
        for _ in range(CONNECTIONS):
            dispatcher.start()
        await dispatcher.done.wait()
        await deliverer.shutdown(1.0)
        running.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--single", action="store_true")
    parser.add_argument("--messages", type=int, default=3000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--profile", default="")
    options = parser.parse_args()
    port = free_port()
    sink = subprocess.Popen(["smtp-sink", "-u", "root", f"127.0.0.1:{port}", "1000"])
    profiler = cProfile.Profile() if options.profile else None
    figures = []
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            sink.wait(0.5)
        for _ in range(options.repeats):
            before = resource.getrusage(resource.RUSAGE_SELF)
            with profiler or contextlib.nullcontext():
                run_loop(deliver(port, options.messages, single=options.single))
            after = resource.getrusage(resource.RUSAGE_SELF)
            scale = 1e6 / options.messages
            figures.append(
                ((after.ru_utime - before.ru_utime) * scale, (after.ru_stime - before.ru_stime) * scale)
            )
    finally:
        sink.kill()
        sink.wait()
    if profiler is not None:
        profiler.dump_stats(options.profile)
    user, system = min(figures, key=sum)
    print(f"{'single' if options.single else 'reused'}: user {user:.1f} system {system:.1f} µs per message")


if __name__ == "__main__":
    main()
