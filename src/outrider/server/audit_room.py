"""Room for the audit log on a full disk: a file that is cut when a change finds none, and made again later.

Theory: no change is made that cannot be recorded, and what makes room on a full disk, such as a purge, is a
change. A row takes some pages in the control database's write-ahead log, written right after the cut;
programs that fill the disk rarely come in between, and then the change is refused as it would be without.

Invariant: the file is given away only while the disk is full, and taken again only where that leaves as much.
"""

import asyncio
import os
from pathlib import Path
from typing import Final

from outrider.base.files import Files
from outrider.base.log import Log

FILE_NAME: Final = "audit.reserve"
RESERVE_OCTETS: Final = 1 << 20
# chosen: nothing on any disk; two changes, whose rows before and after each find room of their own
ROOM_OCTETS: Final = 1 << 18
# chosen: the pages of a row and of its indexes, the log's index and its file's next extent

KEEP_SECONDS: Final = 10.0
# chosen: room that came back is there for a while


class AuditRoom:
    """See the module.

    Args:
        files: The operating system.
        directory: Where the control database is.
        log: Told of what the disk does not do.
    """

    def __init__(self, files: Files, directory: Path, log: Log) -> None:
        self._files = files
        self._log = log
        self._directory = str(directory)
        self._path = str(directory / FILE_NAME)

    def is_short(self) -> bool:
        """Whether there is too little for a row."""
        return self._files.free(self._directory).octets < ROOM_OCTETS

    def give(self) -> int:
        """Cut off the reserve what a row takes; the octets that it gives."""
        try:
            fd = self._files.open(self._path, os.O_RDWR | os.O_CREAT)
            try:
                size = self._files.size(fd)
                given = min(size, ROOM_OCTETS)
                self._files.truncate(fd, size - given)
            finally:
                self._files.close(fd)
        except OSError as error:
            self._log.error("control.room_not_given", error=str(error))
            return 0
        if given:
            self._log.warning("control.room_given", octets=given, why="the disk is full")
        return given

    def keep(self) -> None:
        """Reserve again, where as much stays free.

        Raises:
            OSError: The disk does not do it.
        """
        if self._files.free(self._directory).octets < 2 * RESERVE_OCTETS:
            return
        fd = self._files.open(self._path, os.O_RDWR | os.O_CREAT)
        try:
            if self._files.size(fd) < RESERVE_OCTETS:
                self._files.allocate(fd, RESERVE_OCTETS)
        finally:
            self._files.close(fd)

    async def watch(self) -> None:
        """Keep it reserved until cancelled."""
        was_kept = True
        while True:
            try:
                self.keep()
            except OSError as error:
                if was_kept:
                    self._log.error("control.room_not_kept", error=str(error))
                was_kept = False
            else:
                was_kept = True
            await asyncio.sleep(KEEP_SECONDS)
