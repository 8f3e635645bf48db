"""A copy of an SQLite database while others write it.

In: the path of the database. Out: a file of its own that holds one state of it, whole and checked.

Theory: SQLite's own backup reads a snapshot of the write-ahead log, so writers go on. A reader that may not
write (another user, a read-only mount) can do that while a server keeps the log's index beside the file;
when nobody has it open and no log is left, the file alone is the database and is read as it is.

Standards: SQLite's Online Backup API and its page on write-ahead logging (read-only databases).
"""

import sqlite3
from pathlib import Path

from outrider.base.errors import StoreError

PAGES_AT_ONCE = 256
# chosen: 1 MiB with SQLite's pages of 4 KiB, so that a writer never waits long
BUSY_SECONDS = 30.0
# chosen: a copy has time
TRIES = 3
# chosen: a server that starts or ends meanwhile changes how the file must be opened, at most once each


def copy_database(source: Path, target: Path) -> None:
    """Copy the database at `source` to the new file `target`.

    Raises:
        StoreError: It cannot be read, or the copy is not sound; `target` is gone again.
    """
    trouble: Exception | None = None
    for _ in range(TRIES):
        has_log = source.with_name(f"{source.name}-wal").exists()
        try:
            _copy(source, target, is_alone=not has_log)
        except sqlite3.Error as error:
            trouble = error
            target.unlink(missing_ok=True)
            continue
        if has_log or not source.with_name(f"{source.name}-wal").exists():
            return
        target.unlink()  # somebody began to write while the file was read as if nobody could
        trouble = None
    target.unlink(missing_ok=True)
    reason = trouble or "it is opened and closed all the time"
    raise StoreError(f"the control database {source} cannot be copied: {reason}")


def _copy(source: Path, target: Path, *, is_alone: bool) -> None:
    mode = "immutable=1" if is_alone else "mode=ro"
    original = sqlite3.connect(f"file:{_quoted(source)}?{mode}", uri=True, timeout=BUSY_SECONDS)
    try:
        made = sqlite3.connect(target, isolation_level=None)
        try:
            original.backup(made, pages=PAGES_AT_ONCE)
            found = made.execute("PRAGMA integrity_check(1)").fetchone()
            if found != ("ok",):
                raise sqlite3.DatabaseError(f"the copy is not sound: {found}")
            made.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it
        finally:
            made.close()
    finally:
        original.close()


def _quoted(path: Path) -> str:
    return str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
