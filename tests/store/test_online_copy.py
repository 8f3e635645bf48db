"""A copy of the database is one state of it, whole, whether others write it or nobody has it open."""

import sqlite3
import threading
from pathlib import Path

import pytest

from outrider.base.errors import StoreError
from outrider.store.online_copy import copy_database


def made(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("CREATE TABLE pairs (left, right)")
    return database


def pairs(path: Path) -> list[tuple[int, int]]:
    database = sqlite3.connect(path)
    try:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        return database.execute("SELECT left, right FROM pairs").fetchall()
    finally:
        database.close()


def test_a_closed_database_is_copied(tmp_path: Path) -> None:
    database = made(tmp_path / "one ?#%.db")
    database.execute("INSERT INTO pairs VALUES (1, 1)")
    database.close()
    copy_database(tmp_path / "one ?#%.db", tmp_path / "copy.db")
    assert pairs(tmp_path / "copy.db") == [(1, 1)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.db", "one ?#%.db"]


def test_what_is_in_the_write_ahead_log_only_is_copied(tmp_path: Path) -> None:
    database = made(tmp_path / "one.db")
    database.execute("PRAGMA wal_autocheckpoint = 0")
    database.execute("INSERT INTO pairs VALUES (1, 1)")
    copy_database(tmp_path / "one.db", tmp_path / "copy.db")
    assert pairs(tmp_path / "copy.db") == [(1, 1)]
    database.close()


def test_a_copy_under_a_writer_holds_whole_transactions(tmp_path: Path) -> None:
    database = made(tmp_path / "one.db")
    database.execute("INSERT INTO pairs VALUES (0, 0)")
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            database.execute("BEGIN")
            database.execute("UPDATE pairs SET left = ?", (number,))
            database.execute("INSERT INTO pairs VALUES (?, ?)", (number, number))
            database.execute("UPDATE pairs SET right = ?", (number,))
            database.execute("COMMIT")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(5):
            copy_database(tmp_path / "one.db", tmp_path / f"copy-{number}.db")
    finally:
        stop.set()
        writer.join()
        database.close()
    for number in range(5):
        found = pairs(tmp_path / f"copy-{number}.db")
        assert len(set(found)) == 1, found
        assert found[0][0] == found[0][1] == len(found) - 1


def test_what_is_no_database_is_told_and_leaves_no_copy(tmp_path: Path) -> None:
    (tmp_path / "one.db").write_bytes(b"no database at all" * 1000)
    with pytest.raises(StoreError, match=r"one\.db cannot be copied: file is not a database"):
        copy_database(tmp_path / "one.db", tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()
