"""A copy of an SQLite database while others write it, and a look at whether it is sound.

In: the path of the database. Out: a file of its own that holds one state of it, whole and checked; or only
whether it is sound.

Theory: SQLite's own backup reads a snapshot of the write-ahead log, so writers go on. A reader that may not
write (another user, a read-only mount) can do that while a server keeps the log's index beside the file;
when nobody has it open and no log is left, the file alone is the database and is read as it is.

Standards: SQLite's Online Backup API and its page on write-ahead logging (read-only databases).
"""

import contextlib
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


def check_sound(source: Path) -> str:
    """Read all of the database at `source`, and change nothing.

    Returns:
        The revision of its schema; empty for one that is fresh.

    Raises:
        StoreError: It cannot be read, or is damaged.
    """
    trouble: Exception | None = None
    for _ in range(TRIES):
        try:
            return _look(source, is_alone=not source.with_name(f"{source.name}-wal").exists())
        except sqlite3.Error as error:
            trouble = error
    raise StoreError(f"the control database {source} cannot be read: {trouble}")


def _look(source: Path, *, is_alone: bool) -> str:
    with contextlib.closing(_opened(source, is_alone=is_alone)) as database:
        _check(database)
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
            return ""
        revision = database.execute("SELECT version_num FROM alembic_version").fetchone()
        return str(revision[0]) if revision else ""


def _check(database: sqlite3.Connection) -> None:
    found = [row[0] for row in database.execute("PRAGMA integrity_check(1)")]
    if found != ["ok"]:
        raise sqlite3.DatabaseError(" ".join(map(str, found)).replace("\n", " "))


def _opened(source: Path, *, is_alone: bool) -> sqlite3.Connection:
    mode = "immutable=1" if is_alone else "mode=ro"
    return sqlite3.connect(f"file:{_quoted(source)}?{mode}", uri=True, timeout=BUSY_SECONDS)


def _copy(source: Path, target: Path, *, is_alone: bool) -> None:
    with (
        contextlib.closing(_opened(source, is_alone=is_alone)) as original,
        contextlib.closing(sqlite3.connect(target, isolation_level=None)) as made,
    ):
        original.backup(made, pages=PAGES_AT_ONCE)
        _check(made)
        made.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it


def _quoted(path: Path) -> str:
    return str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
