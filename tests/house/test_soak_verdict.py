"""A plateau is told from a leak, whatever bursts lie over both."""

import math
import random

import pytest

from tools.soak_verdict import judge, plot


def noisy(level: float, leak: float, seconds: int = 600) -> list[float]:
    chance = random.Random(3)
    return [
        level * (1 - math.exp(-at / 30)) + leak * at + chance.gauss(0, level / 20) + (at % 97 == 0) * level
        for at in range(seconds)
    ]


def test_a_plateau_after_warming_up_is_one() -> None:
    assert judge("memory", noisy(100.0, 0.0)).is_plateau


@pytest.mark.parametrize("leak", [0.1, 1.0])
def test_a_seeded_leak_is_found(leak: float) -> None:
    verdict = judge("memory", noisy(100.0, leak))
    assert not verdict.is_plateau
    assert "STILL GROWS" in verdict.line()
    assert verdict.growth == pytest.approx(leak * 300, rel=0.5)


def test_growth_that_does_not_matter_is_forgiven() -> None:
    assert judge("descriptors", [10 + at // 100 for at in range(400)], slack=8).is_plateau


def test_too_few_samples_say_nothing() -> None:
    with pytest.raises(ValueError, match="too few"):
        judge("memory", [1, 2, 3])


def test_the_picture_holds_every_measure() -> None:
    picture = plot({"memory": [1, 2, 3], "a<b": [0, 0, 0]})
    assert picture.count("<polyline") == 2
    assert "a&lt;b" in picture
