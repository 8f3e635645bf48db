"""Each target for a moment, and every input that once broke one; at length it is `make fuzz`."""

import random
import signal
from itertools import repeat
from pathlib import Path

import pytest

from tests.fuzz.engine import REGRESSIONS, Target, breaks, hunt, must, mutated, regressions
from tests.fuzz.targets import TARGETS
from tools import fuzz

INPUTS = 400
"""Chosen: a second or less a target; a bug at a border shows itself within some hundred."""

CASES = [(name, path) for name, target in TARGETS.items() for path in regressions(target)]


@pytest.mark.parametrize("name", TARGETS)
def test_the_invariant_holds(name: str) -> None:
    target = TARGETS[name]
    _, found = hunt(target, 20, repeat(True, INPUTS))
    assert found is None, f"{target.invariant} Not for {found!r}: {breaks(target, found or b'', 1)!r}"


@pytest.mark.parametrize(("name", "path"), CASES, ids=lambda value: getattr(value, "stem", value))
def test_what_once_broke_it_does_so_no_more(name: str, path: Path) -> None:
    octets = path.read_bytes()
    for seed in range(20):
        assert breaks(TARGETS[name], octets, seed) is None


def test_every_regression_belongs_to_a_target() -> None:
    assert {path.name for path in REGRESSIONS.iterdir() if path.is_dir()} <= set(TARGETS)


def test_a_planted_bug_is_found_and_made_small() -> None:
    def check(octets: bytes, chance: random.Random) -> None:
        del chance
        must(b"\r\n.\r\n" not in octets, "end of data")

    target = Target("planted", "Nothing ends data.", (b"Hello\r\nWorld\r\n",), check)
    tried, found = hunt(target, 1, repeat(True, 100_000))
    assert found == b"\r\n.\r\n"
    assert tried > 1


def test_a_hunt_can_be_repeated() -> None:
    seeds = (b"EHLO x\r\n", b"MAIL FROM:<>\r\n")
    one, other = random.Random(7), random.Random(7)
    assert [mutated(seeds, one) for _ in range(50)] == [mutated(seeds, other) for _ in range(50)]


def test_an_input_that_takes_for_ever_is_a_break(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "ENDLESS_SECONDS", 0.2)

    def check(octets: bytes, _chance: random.Random) -> None:
        while octets.startswith(b"spin"):
            pass

    before = signal.getsignal(signal.SIGVTALRM)
    try:
        target = fuzz.limited(Target("spinning", "It ends.", [b"calm", b"spin on"], check))
        assert breaks(target, b"calm", 1) is None
        assert isinstance(breaks(target, b"spin on", 1), fuzz.EndlessError)
        assert hunt(target, 1, iter([True] * 5)) == (2, b"spin")
    finally:
        signal.signal(signal.SIGVTALRM, before)
