"""Finds a checkpoint that is not what was written, whatever happened to its octets.

In: the checkpoint's database, inside the transaction of a write, or when it is opened. Out: a stamp in it, or
why it does not fit.

Theory: SQLite has no checksums. `integrity_check` knows whether pages, rows and indexes fit together, and
rows carry checksums of their own; what neither finds is a row that is missing or of another time, or a
changed value in the small tables that rule recovery. So the number of rows of each large table and the sum of
their checksums are kept up to date (`sums`, by triggers of the connection: 1 to 3 µs a row, measured), and
the *stamp* is a checksum over these sums, all of the small tables and the schema. Where anything is wrong the
checkpoint is worthless: it is a cache of the logs.

Invariant: after `verify`, every row is one that was written, and none is missing; `Checkpoint.entries` and
`check_keys` see to what is in the rows.
"""

import sqlite3
from typing import Final

from google_crc32c import extend

from outrider.spool.frames import encode

SCHEMA: Final = "CREATE TABLE IF NOT EXISTS sums (name TEXT PRIMARY KEY, rows, total) WITHOUT ROWID;"
_SUMMED: Final = {"entries": "crc", "lasts": "last_crc", "keys": "crc"}
# the large tables, and their rows' checksums
_WHOLE: Final = (
    "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name",
    "SELECT name, value FROM meta WHERE name <> 'stamp' ORDER BY name",
    "SELECT log, segment, place, events_segment, events_place, dead FROM logs ORDER BY log",
    "SELECT log, segment, kind, creator, low, high FROM spans ORDER BY log, segment, kind, creator",
    "SELECT log, page, bits FROM finished ORDER BY log, page",
    "SELECT entry, states FROM early ORDER BY entry",
    "SELECT name, rows, total FROM sums ORDER BY name",
)
_COUNT: Final = {
    "entries": "SELECT count(*), coalesce(sum(crc), 0) FROM entries",
    # one whose entry is not there would never be looked at
    "lasts": "SELECT count(*), coalesce(sum(last_crc), 0) FROM lasts JOIN entries USING (entry)",
    "keys": "SELECT count(*), coalesce(sum(crc), 0) FROM keys",
}


def is_stamped(database: sqlite3.Connection) -> bool:
    """False for a database that is empty or was made by a program that did not stamp."""
    return database.execute("SELECT 1 FROM sqlite_master WHERE name = 'sums'").fetchone() is not None


def arm(database: sqlite3.Connection) -> None:
    """Have this connection keep the sums up to date."""
    database.execute("PRAGMA recursive_triggers = ON")  # so that REPLACE is a deletion too
    for table, crc in _SUMMED.items():
        for event, sign, row in (("INSERT", "+", "new"), ("DELETE", "-", "old")):
            change = f"rows = rows {sign} 1, total = total {sign} {row}.{crc}"
            update = f"UPDATE sums SET {change} WHERE name = '{table}'"  # noqa: S608 - constants
            database.execute(
                f"CREATE TEMP TRIGGER {table}_{event} AFTER {event} ON main.{table} BEGIN {update}; END"
            )


def begin(database: sqlite3.Connection) -> None:
    """Count what is there, for the first time."""
    for table, query in _COUNT.items():
        found = database.execute(query).fetchone()
        database.execute("INSERT OR REPLACE INTO sums VALUES (?, ?, ?)", (table, *found))
    stamp(database)


def stamp(database: sqlite3.Connection) -> None:
    """At the end of a transaction: stamp what it made."""
    database.execute("INSERT OR REPLACE INTO meta VALUES ('stamp', ?)", (_digest(database),))


def verify(database: sqlite3.Connection) -> str:
    """What is wrong; empty when nothing is."""
    found = database.execute("SELECT value FROM meta WHERE name = 'stamp'").fetchone()
    if found is None or found[0] != _digest(database):
        return "the stamp does not fit"
    for table, query in _COUNT.items():
        counted = database.execute(query).fetchone()
        if database.execute("SELECT rows, total FROM sums WHERE name = ?", (table,)).fetchone() != counted:
            return f"rows of {table} are missing or foreign"
    return ""


def _digest(database: sqlite3.Connection) -> int:
    crc = 0
    for number, query in enumerate(_WHOLE):
        for row in database.execute(query):
            crc = extend(crc, encode((number, row)))
    return crc
