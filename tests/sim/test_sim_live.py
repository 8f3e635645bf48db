"""The account of a demo: whatever is missing, doubled or uninvited is seen."""

import pytest

from outrider.sim.counts import SlidingMax
from outrider.sim.live import Live, Sample, SiteNumbers, account, sites_of
from outrider.sim.tally import Fate

FATES: dict[tuple[str, str], Fate] = {
    ("r-1", "a@x.test"): "acknowledged",
    ("r-2", "a@x.test"): "acknowledged",
    ("r-3", "a@x.test"): "acknowledged",
    ("r-4", "a@x.test"): "unknown",
    ("r-5", "a@x.test"): "refused",
}
SEEN = {("r-1", "a@x.test"): (1, 0), ("r-2", "a@x.test"): (0, 1), ("r-4", "a@x.test"): (1, 0)}


def test_all_is_well() -> None:
    result = account(FATES, SEEN, queued=1)
    assert result.complete
    assert (
        result.line()
        == "acknowledged=3 delivered=1 queued=1 bounced=1 lost=0 duplicates=0 unknown=1 unexplained=0"
    )


@pytest.mark.parametrize(
    ("extra", "queued", "field"),
    [
        ({}, 0, "lost"),
        ({("r-5", "a@x.test"): (1, 0)}, 1, "intruders"),
        ({("r-9", "a@x.test"): (1, 0)}, 1, "strangers"),
    ],
)
def test_what_is_wrong_is_seen(
    extra: dict[tuple[str, str], tuple[int, int]], queued: int, field: str
) -> None:
    result = account(FATES, {**SEEN, **extra}, queued)
    assert getattr(result, field) == 1
    assert not result.complete


def test_what_others_send_by_hand_is_not_ours() -> None:
    assert account(FATES, {**SEEN, ("hand-1", "a@x.test"): (2, 0)}, 1) == account(FATES, SEEN, 1)


def test_duplicates_are_counted_beyond_the_first() -> None:
    result = account(FATES, {**SEEN, ("r-1", "a@x.test"): (3, 0)}, 1)
    assert result.duplicates == 2
    assert result.complete


def test_rates_are_differences() -> None:
    live = Live()
    assert live.line() == "starting"
    live.add(Sample(10.0, 100, sites={"big": SiteNumbers(60, 50, 1, 0)}))
    live.add(Sample(12.0, 140, queued=7, sites={"big": SiteNumbers(110, 90, 5, 2), "new": SiteNumbers(6, 4)}))
    assert live.rates() == {"acknowledged": 20.0, "delivered": 22.0, "deferred": 2.0, "bounced": 1.0}
    assert live.site_rates("big") == (25.0, 20.0, 2.0, 1.0)
    assert live.site_rates("new") == (3.0, 2.0, 0.0, 0.0)
    assert "accepted 140 (20/s)  delivered 94 (22/s)" in live.line()
    assert "queued 7" in live.line()


def test_refusals_become_deferrals_and_bounces() -> None:
    report = {
        "providers": {
            "big": {
                "recipients": 3,
                "deferred": 3,
                "rejected": 4,
                "connections": {"current": 2},
                "last_replies": ["451 x", "550 y"],
            }
        }
    }
    assert sites_of(report, {"big": 9, "gone": 1}) == {"big": SiteNumbers(9, 3, 3, 4, 2, "550 y")}


def test_sliding_window() -> None:
    window = SlidingMax(60)
    for at in (0.0, 10.0, 59.9, 60.0, 69.9, 200.0):
        window.add(at)
    assert window.most == 4
    assert window.current(200.0) == 1
    assert window.current(261.0) == 0
