"""A small fuzzer: seeds that we wrote, changed at random, until a target breaks its invariant.

In: a target and a seeded source of chance. Out: nothing, or the smallest input found that breaks it.

Theory: most parsers break at borders, so changes prefer them: a line end here, a length that lies, a piece of
one seed in another, the same again a thousand times. Every run can be repeated from its seed.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

REGRESSIONS = Path(__file__).parent / "regressions"
INPUT_OCTETS_MAX = 65_536
"""Chosen: above it a run shows how fast memory is copied, not how input is read."""

TRIES_MAX = 1_000
"""Chosen: inputs tried to make one smaller; of the slowest target some ten seconds."""

MORSELS = (
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b".",
    b"\r\n.\r\n",
    b" ",
    b"\t",
    b":",
    b"<",
    b">",
    b"@",
    b'"',
    b"\\",
    b"(",
    b"%",
    b"=",
    b"-",
    b"--",
    b"/",
    b"[",
    b"]",
    b"{",
    b"}",
    b",",
    b"\xff",
    b"\x80",
    b"\xe2\x80\xa8",
    b"\xc2\x85",
    b"\xed\xa0\x80",
    b"0",
    b"-1",
    b"65536",
    b"4294967295",
    b"99999999999999999999",
    b"1e309",
    b"null",
    b"\x1b[2J",
    "。".encode(),
    "ß".encode(),
    b"xn--",
    b"=?UTF-8?Q?=0A?=",
)


@dataclass(frozen=True)
class Target:
    """What is fuzzed.

    Attributes:
        name: For the command line and the folder of its regressions.
        invariant: What must hold for every input, in one sentence.
        seeds: Inputs to begin with.
        check: Raises when the invariant is broken; the chance is for splits and the like.
    """

    name: str
    invariant: str
    seeds: Sequence[bytes]
    check: Callable[[bytes, random.Random], None]


def pieces(octets: bytes, chance: random.Random) -> list[bytes]:
    """The same octets, split at random."""
    cuts = sorted(chance.randrange(len(octets) + 1) for _ in range(chance.randrange(8)))
    return [octets[start:end] for start, end in zip([0, *cuts], [*cuts, len(octets)], strict=True)]


def must(truth: bool, what: object) -> None:
    """Break the invariant unless it holds."""
    if not truth:
        raise AssertionError(what)


def mutated(seeds: Sequence[bytes], chance: random.Random) -> bytes:
    """One more input."""
    octets = bytearray(chance.choice(seeds))
    for _ in range(1 + int(chance.expovariate(0.5))):
        at = chance.randrange(len(octets) + 1)
        to = min(len(octets), at + int(chance.expovariate(0.1)))
        match chance.randrange(7):
            case 0:
                octets[at:at] = chance.choice(MORSELS)
            case 1:
                octets[at:to] = chance.choice(MORSELS)
            case 2:
                del octets[at:to]
            case 3:
                octets[at:at] = bytes(octets[at:to]) * chance.choice((1, 2, 10, 1000))
            case 4 if octets:
                octets[at % len(octets)] ^= 1 << chance.randrange(8)
            case 5:
                other = chance.choice(seeds)
                start = chance.randrange(len(other) + 1)
                octets[at:to] = other[start : start + int(chance.expovariate(0.05))]
            case _:
                octets[at:at] = chance.randbytes(chance.choice((1, 2, 4, 16)))
        del octets[INPUT_OCTETS_MAX:]
    return bytes(octets)


def breaks(target: Target, octets: bytes, seed: int) -> BaseException | None:
    """What the target raises for this input, or None."""
    try:
        target.check(octets, random.Random(seed))
    except Exception as error:
        return error
    return None


def smallest(target: Target, octets: bytes, seed: int) -> bytes:
    """The input without what it does not need to break the target in the same way, as far as tries go."""
    kind = type(breaks(target, octets, seed))
    step = len(octets) // 2
    tried = 0
    while step and tried < TRIES_MAX:
        at = 0
        while at < len(octets) and tried < TRIES_MAX:
            tried += 1
            shorter = octets[:at] + octets[at + step :]
            if type(breaks(target, shorter, seed)) is kind:
                octets = shorter
            else:
                at += step
        step //= 2
    return octets


def hunt(target: Target, seed: int, going_on: Iterator[bool]) -> tuple[int, bytes | None]:
    """Tries inputs while `going_on`; gives how many, and the smallest that breaks the target, or None."""
    chance = random.Random(seed)
    tried = 0
    for goes in going_on:
        if not goes:
            break
        octets = mutated(target.seeds, chance) if tried >= len(target.seeds) else target.seeds[tried]
        tried += 1
        if breaks(target, octets, tried) is not None:
            return tried, smallest(target, octets, tried)
    return tried, None


def regressions(target: Target) -> list[Path]:
    """Inputs that once broke it."""
    return sorted((REGRESSIONS / target.name).glob("*.bin"))
