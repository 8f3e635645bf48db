"""The server's log in a file: rotation, several processes, a full disk, a hand that moves it away."""

import os
import resource
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import pytest

from outrider.base.clock import FakeClock
from outrider.base.errors import ConfigError
from outrider.record.log import LogKeeper, ServerLog, open_log, set_rotation
from outrider.record.log_file import LogFile, begun_time
from outrider.record.options import RecordOptions
from outrider.record.redact import Profile
from outrider.record.rotation import Rotation, closed_paths, next_closed_path

DAY = 86_400.0
LINE = b"a line of forty octets with its line end\n"[-40:]


def rotation(octets: int = 1_000, seconds: float = DAY, keep: float = DAY, files: int = 100) -> Rotation:
    return Rotation(octets, seconds, keep, files)


def opened(folder: Path, clock: FakeClock | None = None, **options: float) -> LogFile:
    return LogFile(folder / "outrider.log", rotation(**options), clock or FakeClock())  # type: ignore[arg-type]


def lines_in(folder: Path) -> list[bytes]:
    """All lines, in the order of the files."""
    path = folder / "outrider.log"
    return [line for each in (*closed_paths(path), path) for line in each.read_bytes().splitlines()]


def in_child(work: Callable[[], None]) -> int:
    """A process of its own, made as the supervisor makes one; returns its id."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid


def succeeded(pid: int) -> bool:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_file_is_closed_at_its_size_and_every_line_stays_once(tmp_path: Path) -> None:
    file = opened(tmp_path, octets=200)
    for number in range(20):
        file.write(b"%05d %s" % (number, LINE))
        file.rotate()
    closed = closed_paths(tmp_path / "outrider.log")
    assert [path.name for path in closed] == [f"outrider-{number}.log" for number in range(1, 5)]
    assert all(200 <= path.stat().st_size < 200 + 46 for path in closed)
    assert [int(line[:5]) for line in lines_in(tmp_path)] == list(range(20))
    file.close()


def test_a_file_is_closed_at_its_age_and_a_restart_does_not_make_it_young(tmp_path: Path) -> None:
    clock = FakeClock()
    log = open_log(RecordOptions(redaction=Profile.DOMAIN, log_file=str(tmp_path / "outrider.log")), clock)
    log.info("test.event")
    log.close()
    clock.advance(DAY / 2)
    file = opened(tmp_path, clock)
    assert file.rotate() is None
    clock.advance(DAY / 2)
    assert file.rotate() == tmp_path / "outrider-1.log"
    # an empty one is not worth a file of its own, however old
    clock.advance(2 * DAY)
    assert file.rotate() is None
    file.close()


@pytest.mark.parametrize("head", [b"", b"no time\n", b'{"ts":"2026-02-31T00:00:00Z"}\n'])
def test_where_no_time_can_be_read_the_age_begins_with_the_process(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "outrider.log").write_bytes(head)
    assert begun_time(tmp_path / "outrider.log") is None


def test_so_many_files_are_kept_and_none_beyond_its_time(tmp_path: Path) -> None:
    clock = FakeClock()
    file = opened(tmp_path, clock, octets=1, files=2)
    for number in range(5):
        file.write(b"%d\n" % number)
        closed = file.rotate()
        assert closed is not None
        os.utime(closed, (clock.wall(), clock.wall()))
    assert lines_in(tmp_path) == [b"3", b"4"]
    clock.advance(DAY + 1)
    file.write(b"5\n")
    closed = file.rotate()
    assert closed is not None
    os.utime(closed, (clock.wall(), clock.wall()))
    assert lines_in(tmp_path) == [b"5"]
    file.close()


def test_other_files_of_the_folder_are_no_business_of_it(tmp_path: Path) -> None:
    for name in ("outrider-x.log", "other-1.log", "outrider-3.log.gz", "outrider-7.log"):
        (tmp_path / name).touch()
    assert closed_paths(tmp_path / "outrider.log") == [tmp_path / "outrider-7.log"]
    assert next_closed_path(tmp_path / "outrider.log").name == "outrider-8.log"


def test_a_closed_file_that_somebody_removes_just_then_is_no_error(tmp_path: Path) -> None:
    file = opened(tmp_path, octets=1)
    (tmp_path / "outrider-1.log").symlink_to(tmp_path / "gone")
    file.write(b"1\n")
    assert file.rotate() == tmp_path / "outrider-2.log"
    file.close()


def test_who_moves_the_file_away_is_followed_by_the_next_line(tmp_path: Path) -> None:
    file = opened(tmp_path)
    file.write(b"1\n")
    (tmp_path / "outrider.log").rename(tmp_path / "taken")
    file.write(b"2\n")
    (tmp_path / "outrider.log").rename(tmp_path / "taken-too")
    (tmp_path / "outrider.log").write_bytes(b"made by another\n")
    file.write(b"3\n")
    assert (tmp_path / "taken").read_bytes() == b"1\n"
    assert (tmp_path / "taken-too").read_bytes() == b"2\n"
    assert (tmp_path / "outrider.log").read_bytes() == b"made by another\n3\n"
    file.close()


def test_a_folder_that_went_away_stops_nobody(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    file = opened(folder)
    folder.rename(tmp_path / "gone")
    file.write(b"1\n")
    assert (tmp_path / "gone" / "outrider.log").read_bytes() == b"1\n"
    with pytest.raises(FileNotFoundError):
        file.follow()
    file.close()


def test_processes_write_on_while_one_of_them_rotates(tmp_path: Path) -> None:
    writers, files = 4, 30
    logs = tmp_path / "logs"
    logs.mkdir()
    file = opened(logs, octets=4_096, files=10_000)

    def write(writer: int) -> None:
        number = 0
        while not (tmp_path / "stop").exists():
            file.write(b"%d %07d %s" % (writer, number, LINE))
            number += 1
        (tmp_path / f"count-{writer}").write_text(str(number), "utf-8")

    pids = [in_child(partial(write, writer)) for writer in range(writers)]
    try:
        while len(closed_paths(logs / "outrider.log")) < files:
            file.rotate()
    finally:
        (tmp_path / "stop").touch()
        ends = [succeeded(pid) for pid in pids]
    assert all(ends)
    found = lines_in(logs)
    assert all(len(line) == len(LINE) + 9 and line.endswith(LINE[:-1]) for line in found), "a line was torn"
    # each once, and those of one process in their order over all files
    for writer in range(writers):
        numbers = [int(line[2:9]) for line in found if line.startswith(b"%d " % writer)]
        assert numbers == list(range(int((tmp_path / f"count-{writer}").read_text("utf-8"))))
    assert sum(path.stat().st_size > 0 for path in closed_paths(logs / "outrider.log")) == files
    file.close()


def test_two_servers_with_one_file_take_none_away_from_each_other(tmp_path: Path) -> None:
    file, other = opened(tmp_path, octets=1), opened(tmp_path, octets=1)
    file.write(b"1\n")
    other.write(b"2\n")
    assert file.rotate() is not None
    assert other.rotate() is None  # what it had open is closed already, and the next one is empty
    other.write(b"3\n")
    assert other.rotate() is not None
    file.write(b"4\n")
    assert lines_in(tmp_path) == [b"1", b"2", b"3", b"4"]
    file.close()
    other.close()


def test_what_the_disk_does_not_take_is_counted_and_nobody_s_error(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    file = LogFile(Path("/dev/full"), rotation(), FakeClock())
    file.write(b"1\n")
    file.write(b"2\n")
    assert file.missed == 2
    assert file.rotate() is None
    file.close()


def test_a_line_that_was_cut_short_spoils_no_other(tmp_path: Path) -> None:
    def fill() -> None:
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        file = opened(tmp_path)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        for _ in range(4):
            file.write(LINE)  # the third is cut, the fourth has no room
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        assert file.missed == 2
        file.write(b"there is room again\n")

    assert succeeded(in_child(fill))
    assert lines_in(tmp_path) == [LINE[:-1], LINE[:-1], LINE[:20], b"there is room again"]


def kept(folder: Path) -> tuple[ServerLog, LogFile]:
    options = RecordOptions(redaction=Profile.DOMAIN, log_file=str(folder / "outrider.log"))
    log = open_log(options, FakeClock())
    assert isinstance(log.file, LogFile)
    return log, log.file


def events_in(folder: Path) -> list[str]:
    return [msgspec.json.decode(line)["event"] for line in lines_in(folder)]


def test_the_keeper_rotates_says_so_and_takes_other_options(tmp_path: Path) -> None:
    log, file = kept(tmp_path)
    keeper = LogKeeper(log.bind(process="supervisor"), is_owner=True)
    log.info("test.one")
    keeper.tend()
    assert not closed_paths(tmp_path / "outrider.log")
    set_rotation(log, RecordOptions(log_rotate_seconds=60, log_rotate_bytes=65_536, log_keep_files=3))
    assert file.rotation == Rotation(65_536, 60, 30 * DAY, 3)
    file.rotation = rotation(octets=1)
    keeper.tend()
    assert events_in(tmp_path) == ["test.one", "record.log_rotated"]
    log.close()


def test_the_keeper_says_what_was_missed_once_there_is_room(tmp_path: Path) -> None:
    log, file = kept(tmp_path)
    file.missed = 7
    LogKeeper(log).tend()
    LogKeeper(log).tend()
    (line,) = (msgspec.json.decode(line) for line in lines_in(tmp_path))
    assert (line["event"], line["lines"], file.missed) == ("record.log_missed", 7, 0)
    log.close()


def test_the_keeper_says_once_that_it_is_stuck(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    log, _ = kept(folder)
    keeper = LogKeeper(log, is_owner=True)
    folder.rename(tmp_path / "gone")
    keeper.tend()
    keeper.tend()
    assert events_in(tmp_path / "gone") == ["record.log_stuck"]
    (tmp_path / "gone").rename(folder)
    keeper.tend()
    log.info("test.again")
    assert events_in(folder) == ["record.log_stuck", "test.again"]
    log.close()


def test_a_file_that_cannot_be_opened_is_a_fault_of_the_configuration(tmp_path: Path) -> None:
    options = RecordOptions(redaction=Profile.DOMAIN, log_file=str(tmp_path / "none" / "outrider.log"))
    with pytest.raises(
        ConfigError, match=r"record\.log_file: .* cannot be opened: No such file or directory"
    ):
        open_log(options, FakeClock())


def test_others_may_not_read_it_and_whoever_may_goes_on_to(tmp_path: Path) -> None:
    file = opened(tmp_path, octets=1)
    assert (tmp_path / "outrider.log").stat().st_mode & 0o027 == 0
    (tmp_path / "outrider.log").chmod(0o604)
    file.write(b"1\n")
    file.rotate()
    assert (tmp_path / "outrider.log").stat().st_mode & 0o777 == 0o604
    file.close()
