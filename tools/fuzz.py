"""`make fuzz TARGET=… MINUTES=…`: fuzz one target or all, at length; what breaks is saved as a case.

In: names, minutes, a seed. Out: a line a target, and for each break the smallest input that was found, in
`tests/fuzz/regressions/TARGET/`, where `make test` tries it for ever after. Exit code 1 says that one broke.

An input that keeps the processor for long is a break too: every invariant begins with "it comes to an end".
"""

import argparse
import hashlib
import random
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from time import perf_counter
from types import FrameType

from tests.fuzz.engine import REGRESSIONS, Target, breaks, hunt
from tests.fuzz.targets import TARGETS

ENDLESS_SECONDS = 5.0
# chosen: a thousand times what the slowest target takes for an input
ENDLESS_AGAIN_SECONDS = 0.25
# chosen: while an endless input is made smaller, which takes a thousand tries


class EndlessError(Exception):
    """An input took longer than any may."""


def limited(target: Target) -> Target:
    """The target, whose check breaks where it does not come to an end; of this process's timer."""
    seconds = ENDLESS_SECONDS

    def over(_number: int, _frame: FrameType | None) -> None:
        nonlocal seconds
        seconds = ENDLESS_AGAIN_SECONDS
        raise EndlessError(f"no end within {ENDLESS_SECONDS} s of processor time")

    def check(octets: bytes, chance: random.Random) -> None:
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
        try:
            target.check(octets, chance)
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)

    signal.signal(signal.SIGVTALRM, over)
    return replace(target, check=check)


def until(end_at: float) -> Iterator[bool]:
    """True until then."""
    while True:
        yield perf_counter() < end_at


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz", description=__doc__)
    parser.add_argument("--target", choices=sorted(TARGETS), help="only this one")
    parser.add_argument("--minutes", type=float, default=1.0, help="over all targets together")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    arguments = parser.parse_args()
    names = [arguments.target] if arguments.target else list(TARGETS)
    broken = 0
    for name in names:
        target = limited(TARGETS[name])
        end_at = perf_counter() + arguments.minutes * 60 / len(names)
        tried, found = hunt(target, arguments.seed, until(end_at))
        if found is None:
            sys.stdout.write(f"{name}: {tried} inputs, seed {arguments.seed}: held. {target.invariant}\n")
            continue
        broken += 1
        folder = REGRESSIONS / name
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{hashlib.sha256(found).hexdigest()[:12]}.bin"
        path.write_bytes(found)
        error = next((each for seed in range(1, 50) if (each := breaks(target, found, seed))), None)
        sys.stdout.write(f"{name}: BROKEN after {tried} inputs: {error!r}; saved as {path.name}\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
