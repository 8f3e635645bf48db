"""Whether a measure has reached a plateau, and a picture of it.

In: samples, one a second. Out: a verdict with its slope, and SVG.

Theory: a leak is a slope that stays. The slope of the second half is the median of the slopes between pairs
of points far apart (Theil and Sen), which no burst or single collection moves; a plateau grows over the
second half by less than a share of its own level, or by less than an absolute slack.
"""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple
from xml.sax.saxutils import escape

SHARE = 0.10
"""Chosen: growth over the second half by more than a tenth of the level is a leak or was too short a run."""

WIDTH, HEIGHT, MARGIN = 720, 120, 60


class Verdict(NamedTuple):
    """About one measure."""

    name: str
    level: float
    growth: float
    is_plateau: bool

    def line(self) -> str:
        word = "plateau" if self.is_plateau else "STILL GROWS"
        return f"{self.name}: {word}, level {self.level:.6g}, growth in the second half {self.growth:+.4g}"


def judge(name: str, samples: Sequence[float], slack: float = 0.0) -> Verdict:
    """The verdict on a measure; `slack` is growth that does not matter.

    Raises:
        ValueError: Too few samples to say anything.
    """
    half = list(samples[len(samples) // 2 :])
    gap = len(half) // 2
    if gap < 2:
        raise ValueError(f"{name}: {len(samples)} samples are too few")
    slope = median((half[at + gap] - half[at]) / gap for at in range(len(half) - gap))
    growth = slope * len(half)
    level = median(half)
    return Verdict(name, level, growth, growth <= max(SHARE * abs(level), slack))


def plot(series: Mapping[str, Sequence[float]]) -> str:
    """One picture, a curve for each measure on its own scale from zero."""
    height = (HEIGHT + 30) * len(series) + 20
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH + 2 * MARGIN} {height}" '
            'font-family="sans-serif" font-size="12">'
        )
    ]
    for number, (name, samples) in enumerate(series.items()):
        top = 20 + number * (HEIGHT + 30)
        highest = max(samples, default=0) or 1
        step = WIDTH / max(1, len(samples) - 1)
        points = " ".join(
            f"{MARGIN + at * step:.1f},{top + HEIGHT - value / highest * HEIGHT:.1f}"
            for at, value in enumerate(samples)
        )
        parts += [
            f'<text x="{MARGIN}" y="{top - 4}">{escape(name)}: highest {highest:.6g}</text>',
            f'<rect x="{MARGIN}" y="{top}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#999"/>',
            f'<polyline points="{points}" fill="none" stroke="#0a58ca" stroke-width="1.5"/>',
        ]
    return "\n".join([*parts, "</svg>", ""])
