"""What a throttle of each scope lets through: one bucket for all that inherit it, or one for each path."""

import random
from collections import Counter

import pytest

from outrider.model.changes import ContentRef, Entry, entry_id
from outrider.model.dispatch import Batch, Open
from outrider.model.flow import Host
from outrider.schedule.options import ScheduleOptions, ShapingOptions, ShapingOverride
from outrider.schedule.scheduler import Scheduler
from outrider.schedule.shaping import ShapingTable

WALL = 1_000_000.0
GROUPS = {"a": ["pool"], "b": ["pool"], "c": []}
SITES = ("x.test", "y.test")
SECONDS = 60


def granted(override: ShapingOverride) -> Counter[tuple[str, str]]:
    """Recipients granted to each (binding, site) in a minute, with more than enough waiting on all."""
    options = ScheduleOptions(
        default=ShapingOptions(max_connections=2, max_message_rate="600/minute"), override=(override,)
    )
    scheduler = Scheduler(
        ShapingTable(options, GROUPS),
        lambda _path, _domain: (Host("mx.test", "192.0.2.1", 25),),
        random.Random(1),
        started_at=None,
    )
    scheduler.worker_joined(1, 1)
    now = 1000.0
    for number in range(6 * 1000):
        binding, site = "abc"[number % 3], SITES[number // 3 % 2]
        ref = ContentRef(1, 1, number, 10)
        entry = Entry(
            entry_id(1, number + 1), ref, 0, "smtp", binding, "d.test", "t", "s", 0, 1, WALL + now, WALL + now
        )  # fmt: skip
        assert scheduler.add(entry, site, now, WALL + now)
    found: Counter[tuple[str, str]] = Counter()
    paths: dict[int, tuple[str, str]] = {}
    while True:
        for _, order in scheduler.plan(now):
            if isinstance(order, Open):
                paths[order.slot] = (order.path.binding, order.path.site)
            if isinstance(order, Open | Batch):
                found[paths[order.slot]] += len(order.entries)
        for slot in paths:
            scheduler.want(slot, 20, now)
        at = scheduler.next_at()
        now = now + 0.05 if at is None or at <= now else at
        if now >= 1000.0 + SECONDS:
            return found


@pytest.mark.parametrize(
    ("selectors", "inherit"),
    [
        ({"site": "x.test"}, "ax bx cx"),
        ({"group": "pool"}, "ax ay bx by"),
        ({"binding": "a"}, "ax ay"),
        ({"group": "pool", "site": "x.test"}, "ax bx"),
        ({"binding": "a", "site": "x.test"}, "ax"),
        ({"group": "pool", "binding": "b", "site": "y.test"}, "by"),
        ({}, "ax ay bx by cx cy"),
    ],
)
@pytest.mark.parametrize("shared", [True, False])
def test_a_throttle_is_inherited_by_reference_where_it_is_shared(
    selectors: dict[str, str], inherit: str, shared: bool
) -> None:
    found = granted(ShapingOverride(**selectors, max_message_rate="30/minute", shared=shared))
    heirs = {(name[0], f"{name[1]}.test") for name in inherit.split()}
    others = {(binding, site) for binding in "abc" for site in SITES} - heirs
    if shared:
        assert sum(found[path] for path in heirs) == 30
        assert all(found[path] for path in heirs)  # none is starved
    else:
        assert {found[path] for path in heirs} == {30}
    assert all(300 < found[path] <= 600 for path in others)  # by the default, each its own
