"""Metrics between processes: each process sends its snapshot once a second, control keeps the latest of all.

The snapshots go over a Unix datagram socket: a process never waits for control, and what is lost is said
again a second later.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from outrider.base.clock import Clock
from outrider.record.events import Event
from outrider.record.exposition import Collection
from outrider.record.metrics import DEFINITIONS, Metrics, Snapshot
from outrider.record.options import RecordOptions
from outrider.server.memory import resident_bytes

SEND_SECONDS = 1.0
# chosen: live views show seconds
DATAGRAM_OCTETS_MAX = 1 << 20
# chosen: 10,000 series of some 60 octets fit
SOCKET_NAME = "metrics.sock"

_encode = msgspec.msgpack.Encoder().encode


class Measures:
    """The metrics of this process and their way to control.

    Args:
        options: How many sites have series of their own.
        process: Name of the process.
        clock: Time.
        gauges: Called before each snapshot, to set gauges.
        is_restart: This process succeeds one that died.
    """

    def __init__(
        self,
        options: RecordOptions,
        process: str,
        clock: Clock,
        gauges: Callable[[Metrics], None] = lambda _metrics: None,
        *,
        is_restart: bool = False,
    ) -> None:
        self.metrics = Metrics(process, f"{os.getpid()}-{int(clock.wall() * 1000)}", options.metrics_sites)
        self._gauges = gauges
        self._clock = clock
        self._resident = self.metrics.cell("outrider_resident_bytes", process)
        self._lag = self.metrics.cell("outrider_event_loop_lag_seconds", process)
        self._syncs = self.metrics.histogram("outrider_spool_sync_seconds")
        self._sync_seconds = 0.0
        self.metrics.cell("outrider_restarts_total", process).value = int(is_restart)

    def count(self, events: Sequence[Event]) -> None:
        """Count events as they are written."""
        self.metrics.count(events)

    def set_clock_steps(self, seconds: float) -> None:
        """By how much the machine's calendar was set ahead."""
        self.metrics.cell("outrider_clock_steps_seconds").value = seconds

    def synced(self, seconds: float) -> None:
        """A group commit is durable; `seconds` is what all commits of this process took so far."""
        self._syncs.observe(seconds - self._sync_seconds)
        self._sync_seconds = seconds

    async def send_to(self, directory: Path) -> None:
        """Send a snapshot each second, and a last one when cancelled."""
        target = str(directory / SOCKET_NAME)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, DATAGRAM_OCTETS_MAX)
            try:
                while True:
                    planned_at = self._clock.now() + SEND_SECONDS
                    await asyncio.sleep(SEND_SECONDS)
                    self._lag.value = max(self._clock.now() - planned_at, 0.0)
                    self._send(sender, target)
            finally:
                self._send(sender, target)

    def _send(self, sender: socket.socket, target: str) -> None:
        self._resident.value = resident_bytes()
        self._gauges(self.metrics)
        with suppress(OSError):  # control is starting again; the next one counts
            sender.sendto(_encode(self.metrics.snapshot()), target)


class Receiver:
    """Takes snapshots from a socket in the running loop, until it is closed."""

    def __init__(self, summed: "Summed", sock: socket.socket) -> None:
        self._sock = sock
        asyncio.get_running_loop().add_reader(sock, summed.receive, sock)

    def close(self) -> None:
        """Take no more."""
        asyncio.get_running_loop().remove_reader(self._sock)
        self._sock.close()


class Summed:
    """What control knows of all processes."""

    def __init__(self) -> None:
        self.collection = Collection()
        self._latest: dict[str, Snapshot] = {}
        self._decoder = msgspec.msgpack.Decoder(Snapshot)

    def open(self, directory: Path) -> socket.socket:
        """The socket that snapshots come to."""
        path = directory / SOCKET_NAME
        path.unlink(missing_ok=True)
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        receiver.setblocking(False)
        receiver.bind(str(path))
        path.chmod(0o600)
        return receiver

    def receive(self, receiver: socket.socket) -> None:
        """Take what has come; for a loop's reader callback."""
        while True:
            try:
                octets = receiver.recv(DATAGRAM_OCTETS_MAX)
            except BlockingIOError:
                return
            snapshot = self._decoder.decode(octets)
            self._latest[snapshot.process] = snapshot
            self.collection.update(snapshot)

    def processes(self) -> list[dict[str, Any]]:
        """Name, process id, memory and lag of each living process, as it said within the last second."""
        found = []
        for snapshot in sorted(self._latest.values(), key=lambda each: each.process):
            gauges = {sample.name: sample.values[0] for sample in snapshot.samples if len(sample.values) == 1}
            found.append(
                {
                    "name": snapshot.process,
                    "pid": int(snapshot.start.partition("-")[0]),
                    "resident_bytes": int(gauges.get("outrider_resident_bytes", 0)),
                    "lag_seconds": gauges.get("outrider_event_loop_lag_seconds", 0.0),
                    "restarts": int(gauges.get("outrider_restarts_total", 0)),
                }
            )
        return found

    def totals(self) -> dict[str, float]:
        """Each counter and gauge of the living processes as one sum, a gauge that is a maximum as that."""
        sums: dict[str, float] = {}
        for snapshot in self._latest.values():
            for sample in snapshot.samples:
                definition = DEFINITIONS.get(sample.name)
                if definition is None or definition.kind == "histogram":
                    continue
                before = sums.get(sample.name, 0.0)
                value = sample.values[0]
                sums[sample.name] = max(before, value) if definition.merge == "max" else before + value
        return sums

    def attempts(self) -> dict[str, dict[str, float]]:
        """Attempts so far by site and result, of the living processes."""
        sites: dict[str, dict[str, float]] = {}
        for snapshot in self._latest.values():
            for sample in snapshot.samples:
                if sample.name == "outrider_delivery_attempts_total":
                    _, result, site = sample.labels
                    results = sites.setdefault(site, {})
                    results[result] = results.get(result, 0) + sample.values[0]
        return sites

    def stressed(self) -> list[str]:
        """Listeners whose limits are tight in at least one living process."""
        return sorted(
            {
                sample.labels[0]
                for snapshot in self._latest.values()
                for sample in snapshot.samples
                if sample.name == "outrider_listener_stressed" and sample.values[0]
            }
        )

    def accepted(self) -> float:
        """Recipients of accepted messages so far, of the living processes."""
        return sum(
            sample.values[0]
            for snapshot in self._latest.values()
            for sample in snapshot.samples
            if sample.name == "outrider_messages_accepted_total"
        )
