"""When new mail is refused: little room, much memory, stores that are behind, the end of the process."""

from pathlib import Path

import pytest

from outrider.base.log import ListLog
from outrider.model.reply import Reply
from outrider.server.options import ServerOptions
from outrider.server.pressure import Pressure, resident_bytes
from outrider.wire.smtp import replies

MIB = 1 << 20
LIMIT = 100 * MIB
ENORMOUS = 1 << 60


class Surroundings:
    """Memory and stores as the test says."""

    def __init__(self, folder: Path, *, min_free_bytes: int = 0) -> None:
        self.used = 0
        self.behind: Reply | None = None
        self.log = ListLog()
        options = ServerOptions(min_free_bytes=min_free_bytes, memory_limit_bytes=LIMIT)
        self.pressure = Pressure(options, folder, self.log, lambda: self.used, lambda: self.behind)

    def refusal(self) -> Reply | None:
        self.pressure.check()
        return self.pressure.refusal


@pytest.fixture
def around(tmp_path: Path) -> Surroundings:
    return Surroundings(tmp_path)


def test_nothing_is_refused_without_reason(around: Surroundings) -> None:
    assert around.pressure.refusal is None
    assert around.refusal() is None
    assert around.log.lines == []


def test_little_room_is_452(tmp_path: Path) -> None:
    assert Surroundings(tmp_path, min_free_bytes=ENORMOUS).refusal() == replies.DISK_LOW
    assert Surroundings(tmp_path, min_free_bytes=1).refusal() is None


def test_memory_is_refused_above_the_limit_and_taken_again_below_nine_tenths(around: Surroundings) -> None:
    seen = []
    for used in (LIMIT, LIMIT + 1, LIMIT, LIMIT * 91 // 100, LIMIT * 90 // 100, LIMIT):
        around.used = used
        seen.append(around.refusal() is not None)
    assert seen == [False, True, True, True, False, False]
    assert [fields["refusal"] == "none" for _, _, fields in around.log.lines] == [False, True]


def test_each_change_is_told_once(around: Surroundings) -> None:
    around.used = LIMIT * 2
    assert around.refusal() == replies.MEMORY_HIGH
    assert around.refusal() == replies.MEMORY_HIGH
    assert [event for _, event, _ in around.log.lines] == ["intake.changed"]


def test_stores_that_are_behind_refuse(around: Surroundings) -> None:
    around.behind = replies.SPOOL_FAILED
    assert around.refusal() == replies.SPOOL_FAILED
    around.behind = None
    assert around.refusal() is None


def test_the_end_of_the_process_wins_over_everything(around: Surroundings) -> None:
    around.used = LIMIT * 2
    around.pressure.drain()
    assert around.pressure.refusal == replies.SHUTTING_DOWN
    around.used = 0
    assert around.refusal() == replies.SHUTTING_DOWN


def test_every_refusal_is_transient() -> None:
    refusals = (replies.DISK_LOW, replies.MEMORY_HIGH, replies.SHUTTING_DOWN, replies.SPOOL_FAILED)
    assert {reply.code // 100 for reply in refusals} == {4}


def test_resident_memory_is_that_of_a_python_process() -> None:
    assert 5 * MIB < resident_bytes() < 1 << 40


def test_what_is_nearly_short_is_told_before_anything_is_refused(
    around: Surroundings, tmp_path: Path
) -> None:
    around.used = LIMIT * 91 // 100
    assert around.refusal() is None
    assert around.pressure.shortage == "memory"
    around.used = 0
    around.refusal()
    assert around.pressure.shortage == ""
    full = Surroundings(tmp_path, min_free_bytes=ENORMOUS)
    full.refusal()
    assert full.pressure.shortage == "disk"
