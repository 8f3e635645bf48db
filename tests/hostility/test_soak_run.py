"""The soak in its short form: every measure is taken, mail moves, and a verdict comes out."""

from pathlib import Path

from tests.e2e.outrider_process import serving
from tests.e2e.practice import practising
from tools.soak import SLACK, SMALL, WORLD, soak
from tools.soak_verdict import judge

SECONDS = 6
SAMPLES = 10


def test_a_short_soak_measures_everything(tmp_path: Path) -> None:
    with practising(WORLD) as practice:
        with serving(tmp_path / "server", practice.configuration(more=SMALL)) as server:
            series = soak(practice, server, SECONDS, SAMPLES)
        assert practice.seen("plain").messages > SECONDS
    assert series.keys() == SLACK.keys()
    assert len({len(samples) for samples in series.values()}) == 1
    for name in ("memory", "descriptors", "threads", "state"):
        assert min(series[name]) > 0, name
        assert judge(name, series[name], SLACK[name]).level > 0
