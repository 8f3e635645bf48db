"""Spools of each earlier format open with all that is in them; a newer one is refused with the reason."""

import shutil
from pathlib import Path

import pytest

from outrider.base.clock import FakeClock
from outrider.base.errors import SpoolError
from outrider.base.files import OsFiles
from outrider.base.log import ListLog
from outrider.spool.directory import SpoolDirectory
from outrider.spool.engine import EmbeddedEngine
from outrider.spool.filters import QueueFilter
from outrider.spool.frames import FORMAT, FormatError
from tests.spool.samples import SMALL, finished, spool_keys

FIXTURES = Path(__file__).parents[1] / "fixtures"
EARLIER = range(1, FORMAT)


async def opened(path: Path) -> tuple[EmbeddedEngine, ListLog]:
    log = ListLog()
    return await EmbeddedEngine.open(OsFiles(), str(path), SMALL, FakeClock(), log, keys=spool_keys()), log


def test_each_earlier_format_has_its_fixture() -> None:
    found = {path.name for path in FIXTURES.glob("spool-v*")}
    assert found == {f"spool-v{number}" for number in EARLIER}


@pytest.mark.parametrize("with_checkpoint", [True, False], ids=["with checkpoint", "from logs alone"])
@pytest.mark.parametrize("number", EARLIER)
async def test_an_earlier_spool_opens_with_all_that_is_in_it(
    tmp_path: Path, number: int, *, with_checkpoint: bool
) -> None:
    spool = tmp_path / "spool"
    shutil.copytree(FIXTURES / f"spool-v{number}", spool)
    assert (spool / "format").read_text("ascii").strip() == str(number)
    if not with_checkpoint:
        (spool / "checkpoint.sqlite").unlink()
    for round_ in range(2):  # as it was written, and as this program leaves it
        engine, log = await opened(spool)
        try:
            entries = await engine.list(QueueFilter(), 100)
            found = {int(entry.message_id): entry for entry in entries}
            assert set(found) == {1, 2, 3, 4} - ({4} if round_ else set())
            assert (found[1].attempts, found[1].due_time, found[1].held) == (1, 1_790_000_600.0, "")
            assert (found[2].attempts, found[2].held) == (0, "waits")
            for key, entry in found.items():
                _, content = await engine.read(entry.ref, entry.entry)
                assert content == b"Subject: %d\r\n\r\nfrom long ago\r\n" % key
            assert [line for line in log.lines if line[0] in {"error", "warning"}] == []
            if not round_:
                await engine.commit([finished(found[4].entry)])
        finally:
            await engine.close()
        # An older program must stop at the door, not in the middle.
        assert (spool / "format").read_text("ascii").strip() == str(FORMAT)
    assert list((spool / "quarantine").iterdir()) == []


def test_a_newer_spool_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    shutil.copytree(FIXTURES / "spool-v1", spool)
    (spool / "format").write_text(f"{FORMAT + 1}\n", encoding="ascii")
    before = {path: path.read_bytes() for path in spool.rglob("*") if path.is_file()}
    with pytest.raises(
        FormatError, match=rf"format {FORMAT + 1}, this program knows {FORMAT}.*newer version"
    ):
        SpoolDirectory(OsFiles(), str(spool)).open()
    assert {path: path.read_bytes() for path in spool.rglob("*") if path.is_file()} == before


def test_a_spool_that_does_not_say_its_format_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    shutil.copytree(FIXTURES / "spool-v1", spool)
    (spool / "format").unlink()
    before = {path: path.read_bytes() for path in spool.rglob("*") if path.is_file()}
    with pytest.raises(SpoolError, match=r"format is gone, and logs are there: restore it"):
        SpoolDirectory(OsFiles(), str(spool)).open()
    assert {path: path.read_bytes() for path in spool.rglob("*") if path.is_file()} == before


def test_a_start_that_died_before_it_wrote_the_format_is_no_spool_yet(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    (spool / "logs").mkdir(parents=True)
    SpoolDirectory(OsFiles(), str(spool)).open()
    assert (spool / "format").read_text("ascii").strip() == str(FORMAT)
