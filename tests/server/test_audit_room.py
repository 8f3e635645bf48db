"""Room for the audit log on a full disk."""

import errno
from pathlib import Path

import pytest

from outrider.base.faults import Fault, FaultyFiles
from outrider.base.files import FreeSpace, OsFiles
from outrider.base.log import ListLog
from outrider.server.audit_room import FILE_NAME, RESERVE_OCTETS, ROOM_OCTETS, AuditRoom


class Disk(OsFiles):
    """A disk that says how much is free on it."""

    octets_free = 2 * RESERVE_OCTETS

    def free(self, path: str) -> FreeSpace:
        return FreeSpace(self.octets_free, None)


def test_what_is_kept_is_given_row_by_row_and_kept_again_where_as_much_stays_free(tmp_path: Path) -> None:
    disk, log = Disk(), ListLog()
    room = AuditRoom(disk, tmp_path, log)
    file = tmp_path / FILE_NAME
    assert room.give() == 0
    room.keep()
    assert (file.stat().st_size, file.stat().st_mode & 0o777) == (RESERVE_OCTETS, 0o600)
    assert not room.is_short()
    disk.octets_free = ROOM_OCTETS - 1
    assert room.is_short()
    assert [room.give() for _ in range(5)] == [ROOM_OCTETS] * 4 + [0]
    room.keep()
    assert file.stat().st_size == 0
    disk.octets_free = 2 * RESERVE_OCTETS
    room.keep()
    assert file.stat().st_size == RESERVE_OCTETS


def test_a_disk_that_does_not_do_it_is_told_of(tmp_path: Path) -> None:
    log = ListLog()
    files = FaultyFiles(Disk(), [Fault("truncate", f"*{FILE_NAME}", 1, errno.EIO)])
    room = AuditRoom(files, tmp_path, log)
    room.keep()
    assert room.give() == 0
    assert [event for _, event, _ in log.lines] == ["control.room_not_given"]
    files.faults[:] = [Fault("allocate", f"*{FILE_NAME}", 1, errno.ENOSPC)]
    (tmp_path / FILE_NAME).unlink()
    with pytest.raises(OSError, match="No space"):
        room.keep()
