"""One entry through the scheduler: opened for, batched, settled, forgotten."""

import random

from outrider.model.changes import ContentRef, Entry, entry_id
from outrider.model.dispatch import Batch, Open, Settled
from outrider.model.flow import Host, Path
from outrider.schedule.options import ScheduleOptions
from outrider.schedule.scheduler import Fate, Scheduler
from outrider.schedule.shaping import ShapingTable


def entry(number: int, log: int = 1) -> Entry:
    return Entry(
        entry_id(log, number),
        ContentRef(log, 1, number, 10),
        0,
        "smtp",
        "default",
        "a.example",
        "default",
        "default",
        0,
        10,
        0.0,
        0.0,
    )


def test_an_entry_is_opened_for_then_batched_then_forgotten() -> None:
    hosts = (Host("mx.a.example", "192.0.2.1", 25),)
    table = ShapingTable(ScheduleOptions())
    scheduler = Scheduler(table, lambda _path, _domain: hosts, random.Random(1))
    scheduler.worker_joined(1, 1)
    for number in range(6):
        assert scheduler.add(entry(number), "a.example", 100.0, 50.0)
    [(worker, opened)] = scheduler.plan(100.0)
    assert worker == 1
    assert isinstance(opened, Open)
    assert opened.path == Path("smtp", "default", "a.example")
    assert opened.hosts == hosts
    assert len(opened.entries) == 4
    scheduler.want(opened.slot, 20, 100.1)
    [(_, batch)] = scheduler.plan(100.1)
    assert isinstance(batch, Batch)
    assert len(batch.entries) == 2
    for granted in (*opened.entries, *batch.entries):
        fate, _ = scheduler.settled(Settled(opened.slot, granted.entry, True), 100.2, 50.2)
        assert fate is Fate.FINISHED
    scheduler.want(opened.slot, 20, 100.2)
    [(_, empty)] = scheduler.plan(100.2)
    assert empty == Batch(opened.slot, ())
    scheduler.closed(opened.slot, None, 6, 100.3)
    assert scheduler.plan(100.3) == []
    assert scheduler.stats(100.3) == []
    assert scheduler.connections() == 0
