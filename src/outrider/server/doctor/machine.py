"""The machine: clock, memory, cores and limits of a process.

Readings come in, findings go out; `read_machine` takes the readings where Linux has them.
"""

import ctypes
import os
import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from outrider.base.clock import Clock
from outrider.server.doctor.finding import Finding, fault, good, note, warning
from outrider.server.settings import Settings

EARLIEST_TIME = 1_767_225_600.0
# 2026-01-01: a clock that shows less has lost its battery, as this program did not exist
STEP_SECONDS = 0.1
# chosen: far above what reading two clocks takes
NOFILE_SPARE = 128
# chosen: logs, sockets between processes, libraries, event files
UNSYNCHRONISED = 5
# adjtimex(2): TIME_ERROR, the clock is not synchronised
_TIMEX_OCTETS = 256
# adjtimex(2): struct timex has 208 octets on 64-bit Linux; more room does no harm


@dataclass(frozen=True, slots=True)
class Machine:
    """Readings.

    Attributes:
        wall_time: Unix seconds by the clock.
        drift_seconds: By how much wall and monotonic clock differed over the measurement.
        synchronised: What the kernel says of the clock; None when it does not.
        memory_bytes: Memory that can be had without swapping; None when unknown.
        cores: Cores that this process may use.
        nofile_hard: Descriptors that a process may have after raising its own limit.
    """

    wall_time: float
    drift_seconds: float
    synchronised: bool | None
    memory_bytes: int | None
    cores: int
    nofile_hard: int


def read_machine(make_clock: Callable[[], Clock], meminfo: Path = Path("/proc/meminfo")) -> Machine:
    """The readings of this machine; `make_clock` gives a clock that takes the wall's time when made."""
    first = make_clock()
    wall, now = first.wall(), first.now()
    second = make_clock()
    drift = (second.wall() - wall) - (second.now() - now)
    return Machine(
        second.wall(),
        drift,
        _synchronised(),
        _available(meminfo),
        len(os.sched_getaffinity(0)),
        resource.getrlimit(resource.RLIMIT_NOFILE)[1],
    )


def _synchronised() -> bool | None:
    try:
        library = ctypes.CDLL(None, use_errno=True)
        state = library.adjtimex(ctypes.create_string_buffer(_TIMEX_OCTETS))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != UNSYNCHRONISED


def _available(meminfo: Path) -> int | None:
    try:
        lines = meminfo.read_text("ascii").splitlines()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    text = fields.get("MemAvailable", "").split()
    return int(text[0]) * 1024 if text else None


def check_machine(machine: Machine, settings: Settings) -> list[Finding]:
    """What the readings mean for this configuration."""
    return [
        *_check_clock(machine),
        _check_memory(machine, settings),
        _check_cores(machine, settings),
        _check_descriptors(machine, settings),
    ]


def _check_clock(machine: Machine) -> list[Finding]:
    found = []
    if machine.wall_time < EARLIEST_TIME:
        found.append(
            fault(
                "clock.time",
                f"the clock shows a time before {int(EARLIEST_TIME)} (Unix), which is long gone",
                "set the clock; dates, signatures, certificates and retention all rest on it",
            )
        )
    elif abs(machine.drift_seconds) > STEP_SECONDS:
        found.append(
            warning(
                "clock.time",
                f"the clock was set by {machine.drift_seconds:+.3f} s while it was being looked at",
                "let the time service slew the clock instead of stepping it",
            )
        )
    else:
        found.append(good("clock.time", "wall clock and monotonic clock agree"))
    match machine.synchronised:
        case True:
            found.append(good("clock.sync", "the kernel says that the clock is synchronised"))
        case False:
            found.append(
                warning(
                    "clock.sync",
                    "the kernel says that the clock is not synchronised",
                    "run a time service (systemd-timesyncd, chrony)",
                )
            )
        case None:
            found.append(note("clock.sync", "the kernel does not say whether the clock is synchronised"))
    return found


def _check_memory(machine: Machine, settings: Settings) -> Finding:
    check, mebibyte = "memory", 1 << 20
    if machine.memory_bytes is None:
        return note(check, "the system does not say how much memory is free")
    wanted = settings.server.workers * settings.server.memory_limit_bytes
    has = f"{machine.memory_bytes // mebibyte} MiB can be had"
    if machine.memory_bytes < wanted:
        return warning(
            check,
            f"{has}, but {settings.server.workers} workers may use {wanted // mebibyte} MiB",
            "lower server.memory_limit_bytes or server.workers, so that they refuse mail before the kernel "
            "kills them",
        )
    return good(check, f"{has}, the workers may use {wanted // mebibyte} MiB")


def _check_cores(machine: Machine, settings: Settings) -> Finding:
    check = "cores"
    if settings.server.workers > machine.cores:
        return warning(
            check,
            f"{settings.server.workers} workers share {machine.cores} cores",
            f"set server.workers to {machine.cores}; more only wait for each other",
        )
    return good(check, f"{settings.server.workers} workers on {machine.cores} cores")


def _check_descriptors(machine: Machine, settings: Settings) -> Finding:
    check = "limits.nofile"
    incoming = sum(one.limits.connections for one in settings.listener)
    incoming += sum(one.connections for one in settings.http)
    needed = incoming + settings.spool.open_segments + NOFILE_SPARE
    if machine.nofile_hard < needed:
        return fault(
            check,
            f"a process may open {machine.nofile_hard} files, but the listeners alone may take {needed}",
            f"raise the hard limit (LimitNOFILE= of the unit, or ulimit -Hn) to {2 * needed} or more",
        )
    return good(check, f"a process may open {machine.nofile_hard} files, the listeners take {needed} at most")
