"""Suspensions that outlive the dispatcher: kept in a file as they are given and lifted.

In: orders to suspend or resume paths. Out: the scheduler's suspensions, and a small file that says the same.

Theory: the scheduler counts in monotonic seconds, which mean nothing to a successor, so the file holds Unix
times. It is written anew whole with each order, before the scheduler hears of it: what was promised to the
operator is on disk.

Invariant: a suspension that was answered holds until its end or its lifting, whatever dies.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from outrider.base.clock import Clock
from outrider.base.errors import SpoolError
from outrider.base.files import Files, read_file, write_atomic
from outrider.base.log import Log
from outrider.model.dispatch import Suspended
from outrider.schedule.scheduler import Scheduler
from outrider.server.requests import RefusedError

FILE: Final = "suspensions.json"
COUNT_MAX: Final = 1_000
# chosen: each is looked at for each new path


class Kept(msgspec.Struct, frozen=True):
    """One suspension.

    Attributes:
        number: What it is lifted by; never given twice.
        channel: Channel pattern.
        binding: Binding pattern.
        site: Site pattern.
        until_time: Unix seconds; None until it is lifted.
        reason: Why.
        actor: Who.
        since_time: Unix seconds.
    """

    number: int
    channel: str
    binding: str
    site: str
    until_time: float | None
    reason: str
    actor: str
    since_time: float


class _File(msgspec.Struct):
    """The whole file."""

    next_number: int = 1
    suspensions: list[Kept] = []


class Suspensions:
    """See the module.

    Args:
        files: The file primitive.
        directory: The state directory.
        scheduler: Told what holds.
        clock: Time.
        log: Told when the file cannot be read.
        tell: Hears of those that hold, whenever somebody changes them.
    """

    def __init__(
        self,
        files: Files,
        directory: Path,
        scheduler: Scheduler,
        clock: Clock,
        log: Log,
        tell: Callable[[Suspended], None] = lambda _: None,
    ) -> None:
        self._files = files
        self._path = str(directory / FILE)
        self._scheduler = scheduler
        self._clock = clock
        self._tell = tell
        self._in_scheduler: dict[int, int] = {}
        self._kept: dict[int, Kept] = {}
        self._next = 1
        try:
            found = msgspec.json.decode(read_file(files, self._path), type=_File)
        except FileNotFoundError:
            return
        except (OSError, msgspec.DecodeError, RecursionError) as error:
            # sending what somebody stopped would be worse than saying so; nothing else is lost with the file
            log.error("suspensions.unreadable", path=self._path, error=str(error))
            raise SpoolError(
                f"{self._path} cannot be read ({error}): repair it, or remove it and suspend anew"
            ) from error
        numbers = {kept.number for kept in found.suspensions}
        if len(numbers) < len(found.suspensions):
            raise SpoolError(f"{self._path} gives a number twice: repair it, or remove it and suspend anew")
        self._next = max(found.next_number, *(number + 1 for number in numbers), 1)
        for kept in found.suspensions:
            if kept.until_time is None or kept.until_time > clock.wall():
                self._begin(kept)

    def active(self) -> list[Kept]:
        """Those that hold now, by number."""
        wall = self._clock.wall()
        over = [
            key for key, kept in self._kept.items() if kept.until_time is not None and kept.until_time <= wall
        ]
        for number in over:  # the scheduler drops them by itself
            del self._kept[number]
            self._in_scheduler.pop(number, None)
        return [self._kept[number] for number in sorted(self._kept)]

    def suspend(
        self, channel: str, binding: str, site: str, seconds: float | None, reason: str, actor: str
    ) -> Kept:
        """Suspend the paths that match.

        Raises:
            RefusedError: There are too many already.
            SpoolError: The file cannot be written; then nothing holds.
        """
        active = self.active()
        if len(active) >= COUNT_MAX:
            raise RefusedError(
                f"there are {COUNT_MAX} suspensions already; lift some, or use patterns", "conflict"
            )
        wall = self._clock.wall()
        until = None if seconds is None else wall + seconds
        kept = Kept(self._next, channel, binding, site, until, reason, actor, wall)
        self._write(self._next + 1, [*active, kept])
        self._next += 1
        self._begin(kept)
        self._tell(self.message())
        return kept

    def resume(self, number: int) -> Kept:
        """Lift a suspension.

        Raises:
            RefusedError: There is none of that number.
            SpoolError: The file cannot be written; then it holds on.
        """
        active = self.active()
        if number not in self._kept:
            raise RefusedError(
                f"there is no suspension {number}; `outrider path suspensions` lists them", "absent"
            )
        self._write(self._next, [kept for kept in active if kept.number != number])
        self._scheduler.resume(self._in_scheduler.pop(number))
        lifted = self._kept.pop(number)
        self._tell(self.message())
        return lifted

    def message(self) -> Suspended:
        """What workers are told."""
        return Suspended(
            tuple((kept.channel, kept.binding, kept.site, kept.until_time) for kept in self.active())
        )

    def _begin(self, kept: Kept) -> None:
        left = math.inf if kept.until_time is None else kept.until_time - self._clock.wall()
        self._in_scheduler[kept.number] = self._scheduler.suspend(
            channel=kept.channel,
            binding=kept.binding,
            site=kept.site,
            until_at=self._clock.now() + left,
            reason=kept.reason,
            actor=kept.actor,
        )
        self._kept[kept.number] = kept

    def _write(self, next_number: int, suspensions: list[Kept]) -> None:
        octets = msgspec.json.format(msgspec.json.encode(_File(next_number, suspensions)), indent=2)
        try:
            write_atomic(self._files, self._path, octets)
        except OSError as error:
            raise SpoolError(f"{self._path} cannot be written: {error.strerror}") from error
