"""Idempotency keys that were used: what was answered under each, until it expires.

In: `Keyed` changes with the segment that holds them. Out: the change of a key, rows for the checkpoint, and
which segments may not be dropped before their keys were copied forward.

Theory: as with entries, the logs are the truth and the checkpoint is a cache of them. Memory holds the keys
since the last checkpoint; the others are rows, asked for one by one. For each segment the latest expiry in it
is known, so that a segment without living keys is dropped unread.

Invariant: a key whose frame was synced is found until it expires, whatever was restarted, compacted or
dropped meanwhile; of two uses of one key the later one counts.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from google_crc32c import value

from outrider.model.changes import Keyed
from outrider.spool.frames import encode

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS keys (
    key BLOB PRIMARY KEY, body, answer, expires REAL, log, segment, crc) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS keys_expires ON keys (expires);
"""
_PUT: Final = "INSERT OR REPLACE INTO keys VALUES (?, ?, ?, ?, ?, ?, ?)"
_ALL: Final = "SELECT key, body, answer, expires, log, segment, crc FROM keys"
EXPIRED_PER_WRITE: Final = 20_000
# chosen: a checkpoint deletes so many in some 50 ms; 4,000 keys a second expire at most as fast as they came

Place = tuple[int, int]


class KeyRow(NamedTuple):
    """A key and the segment whose frame holds it."""

    keyed: Keyed
    place: Place


class KeyTable:
    """The keys that are not in the checkpoint yet, and where all of them are."""

    __slots__ = ("_fresh", "_places", "_writing")

    def __init__(self) -> None:
        self._fresh: dict[bytes, KeyRow] = {}
        self._writing: dict[bytes, KeyRow] = {}
        self._places: dict[Place, float] = {}

    @property
    def changed(self) -> int:
        """Keys since the last checkpoint."""
        return len(self._fresh)

    def put(self, keyed: Keyed, place: Place) -> None:
        """A frame in `place` holds `keyed`."""
        known = self._fresh.get(keyed.key) or self._writing.get(keyed.key)
        if known is None or known.keyed.expires_time <= keyed.expires_time:
            self._fresh[keyed.key] = KeyRow(keyed, place)
        if self._places.get(place, 0.0) < keyed.expires_time:
            self._places[place] = keyed.expires_time

    def find(self, key: bytes) -> Keyed | None:
        """The key, if it is not only on disk."""
        row = self._fresh.get(key) or self._writing.get(key)
        return None if row is None else row.keyed

    def matters(self, place: Place, now: float) -> bool:
        """True while `place` may hold a key that has not expired."""
        return self._places.get(place, 0.0) > now

    def forget(self, place: Place) -> None:
        """The segment is gone."""
        self._places.pop(place, None)

    def load(self, places: Iterable[tuple[int, int, float]]) -> None:
        """Take what the checkpoint knows of the segments."""
        self._places = {(log, segment): expires for log, segment, expires in places}

    def take(self) -> Sequence[KeyRow]:
        """Rows for a checkpoint; then comes `written` or `put_back`."""
        self._writing, self._fresh = self._fresh, {}
        return tuple(self._writing.values())

    def written(self) -> None:
        """What was taken is durable."""
        self._writing = {}

    def put_back(self) -> None:
        """What was taken could not be stored."""
        self._fresh = {**self._writing, **self._fresh}
        self._writing = {}


def write_keys(database: sqlite3.Connection, rows: Sequence[KeyRow], now: float) -> None:
    """Within the transaction of a checkpoint: store `rows`, delete what has expired."""
    if rows:
        database.executemany(_PUT, map(_columns, _newest(database, rows)))
    database.execute(
        "DELETE FROM keys WHERE key IN (SELECT key FROM keys WHERE expires <= ? LIMIT ?)",
        (now, EXPIRED_PER_WRITE),
    )


def _newest(database: sqlite3.Connection, rows: Iterable[KeyRow]) -> Iterable[KeyRow]:
    """Without the rows that are older than what is stored: logs are not read in the order of time."""
    for row in rows:
        stored = read_key(database, row.keyed.key)
        if stored is None or stored.expires_time <= row.keyed.expires_time:
            yield row


def read_key(database: sqlite3.Connection, key: bytes) -> Keyed | None:
    """The stored key.

    Raises:
        ValueError: The row is damaged.
    """
    row = database.execute(f"{_ALL} WHERE key = ?", (key,)).fetchone()
    if row is None:
        return None
    _check(row)
    return Keyed(row[0], row[1], row[2], row[3])


def check_keys(database: sqlite3.Connection) -> None:
    """Look at every row.

    Raises:
        ValueError: One is damaged.
    """
    for row in database.execute(_ALL):
        _check(row)


def _check(row: tuple[Any, ...]) -> None:
    if value(encode(row[:-1])) != row[-1]:
        raise ValueError("row of an idempotency key has a wrong checksum")


def key_places(database: sqlite3.Connection) -> list[tuple[int, int, float]]:
    """For each segment with keys the latest expiry in it."""
    return database.execute("SELECT log, segment, max(expires) FROM keys GROUP BY log, segment").fetchall()


def _columns(row: KeyRow) -> tuple[object, ...]:
    keyed = row.keyed
    columns = (keyed.key, keyed.body, keyed.answer, float(keyed.expires_time), *row.place)
    return (*columns, value(encode(columns)))
