"""The dispatcher's checkpoint in SQLite: entries alive, positions covered. Used by one thread at a time.

Theory: it is a cache of the logs. Each write is one transaction that takes the state and the log positions
that this state covers together, so the logs are replayed from there. Rows carry a checksum, because SQLite
has none, and the whole a stamp (`stamp`); when anything in the file is wrong it is put aside and everything
is rebuilt from the logs.

Invariant: `entries` as of a commit is exactly what the logs up to `logs` say.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from google_crc32c import value

from outrider.base.errors import SpoolError
from outrider.model.changes import ContentRef, Entry, Keyed, LastReply
from outrider.model.dispatch import Position
from outrider.spool.filters import QueueFilter
from outrider.spool.frames import FORMAT, encode
from outrider.spool.keys import SCHEMA as KEYS_SCHEMA
from outrider.spool.keys import KeyRow, check_keys, key_places, read_key, write_keys
from outrider.spool.stamp import SCHEMA as STAMP_SCHEMA
from outrider.spool.stamp import arm, begin, is_stamped, stamp, verify
from outrider.spool.table import QueueKey

_COLUMNS = (
    "entry, channel, binding, routing_domain, due, held, log, segment, place, length, number, tenant, "
    "stream, priority, size, received, version, attempts, notified, message_id"
)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS logs (
    log INTEGER PRIMARY KEY, segment, place, events_segment, events_place, dead);
CREATE TABLE IF NOT EXISTS entries (
    entry INTEGER PRIMARY KEY, channel, binding, routing_domain, due REAL, held, log, segment, place, length,
    number, tenant, stream, priority, size, received REAL, version, attempts, notified, message_id, crc);
CREATE INDEX IF NOT EXISTS entries_due
    ON entries (routing_domain, binding, channel, due, entry) WHERE held = '';
CREATE INDEX IF NOT EXISTS entries_message ON entries (message_id);
CREATE TABLE IF NOT EXISTS lasts (
    entry INTEGER PRIMARY KEY, last_reply, last_host, last_ours, last_time REAL, last_crc);
CREATE TABLE IF NOT EXISTS spans (
    log, segment, kind, creator, low, high, PRIMARY KEY (log, segment, kind, creator)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS finished (log, page, bits, PRIMARY KEY (log, page)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS early (entry INTEGER PRIMARY KEY, states);
"""
_FROM = "FROM entries LEFT JOIN lasts USING (entry) "
_SELECT = f"SELECT {_COLUMNS}, crc, last_reply, last_host, last_ours, last_time, last_crc {_FROM}"
_FIELDS = _COLUMNS.count(",") + 1
# what has failed has a row in `lasts`: most never do, and an older program ignores the table
GROUPS = ("channel", "binding", "routing_domain", "tenant", "stream", "held", "last_reply")
_DUE = (
    _SELECT
    + "WHERE routing_domain = ? AND binding = ? AND channel = ? AND held = '' AND (due, entry) > (?, ?) "
    "ORDER BY due, entry LIMIT ?"
)
_FULL = frozenset((sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE))
# https://www.sqlite.org/rescode.html: the second is that of the index of its log, which is sized at once
_BUSY_SECONDS = 5.0  # chosen: only a person with a shell can hold the file
_VARIABLES_MAX = 500  # below SQLITE_MAX_VARIABLE_NUMBER, 999 in old builds


class CheckpointDamagedError(Exception):
    """The checkpoint cannot be trusted; it is rebuilt from the logs."""


class LogRow(NamedTuple):
    """How far a log is covered, how far its events are synced, and whether its writer is gone."""

    position: Position
    events: Position
    dead: bool


class Span(NamedTuple):
    """Frames in `segment` of `log` may create (or change) entries that `creator` numbered `low` to `high`."""

    log: int
    segment: int
    kind: int
    creator: int
    low: int
    high: int


class Ask(NamedTuple):
    """A question for rows of `key` behind `marker`: `limit` of them, and one more to know what comes next."""

    key: QueueKey
    marker: tuple[float, int]
    limit: int


class Write(NamedTuple):
    """One checkpoint: everything that changed."""

    upserts: Sequence[Entry]
    deletes: Sequence[int]
    logs: dict[int, LogRow]
    spans: Sequence[Span]
    dropped_segments: Sequence[tuple[int, int]]
    finished: Sequence[tuple[int, int, bytes]]
    early: Sequence[tuple[int, bytes]]
    recovering: bool
    keys: Sequence[KeyRow] = ()
    now: float = 0.0


class Group(NamedTuple):
    """Entries that are alike.

    Attributes:
        names: Values of the columns asked for.
        entries: How many.
        held: How many of them are on hold.
        octets: Their content together; what recipients share counts for each.
        oldest_time: When the oldest was received.
        attempts: Most attempts of one.
    """

    names: tuple[str, ...]
    entries: int
    held: int
    octets: int
    oldest_time: float
    attempts: int


def _last_row(entry: int, last: LastReply) -> tuple[Any, ...]:
    row = entry, last.text, last.host, int(last.ours), float(last.attempted_time)
    return (*row, value(encode(row)))


def _last(entry: int, row: tuple[Any, ...]) -> LastReply | None:
    text, host, ours, attempted_time, crc = row
    if text is None and crc is None:  # there is none
        return None
    if value(encode((entry, text, host, ours, attempted_time))) != crc:
        raise CheckpointDamagedError(f"last reply of entry {entry} has a wrong checksum")
    return LastReply(text, host, bool(ours), attempted_time)


def _columns(position: Position) -> tuple[int, int]:
    return position.segment, position.offset


def _row(entry: Entry) -> tuple[Any, ...]:
    ref = entry.ref
    row = (
        entry.entry,
        entry.channel,
        entry.binding,
        entry.routing_domain,
        float(entry.due_time),
        entry.held,
        ref.log,
        ref.segment,
        ref.offset,
        ref.length,
        entry.index,
        entry.tenant,
        entry.stream,
        entry.priority,
        entry.size,
        float(entry.received_time),
        entry.version,
        entry.attempts,
        int(entry.delay_notified),
        entry.message_id,
    )
    return (*row, value(encode(row)))


def _entry(row: tuple[Any, ...]) -> Entry:
    if value(encode(row[:_FIELDS])) != row[_FIELDS]:
        raise CheckpointDamagedError(f"row of entry {row[0]} has a wrong checksum")
    return Entry(
        entry=row[0],
        ref=ContentRef(row[6], row[7], row[8], row[9]),
        index=row[10],
        channel=row[1],
        binding=row[2],
        routing_domain=row[3],
        tenant=row[11],
        stream=row[12],
        priority=row[13],
        size=row[14],
        received_time=row[15],
        due_time=row[4],
        version=row[16],
        attempts=row[17],
        held=row[5],
        delay_notified=bool(row[18]),
        message_id=row[19],
        last=_last(row[0], row[_FIELDS + 1 :]),
    )


def is_without_room(error: BaseException | None) -> bool:
    """True for a failure of the database that is the disk's, which is full."""
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) in _FULL


class Checkpoint:
    """The database. Every method may raise `sqlite3.Error`; reading ones `CheckpointDamagedError`.

    Args:
        path: The file; made when absent.
        cache_octets: Memory for its pages.

    Raises:
        CheckpointDamagedError: It is damaged.
        SpoolError: The disk has no room for what opening it takes; it is as good as it was.
    """

    def __init__(self, path: str, cache_octets: int) -> None:
        self._database = sqlite3.connect(
            path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            self._prepare(cache_octets)
        except (sqlite3.Error, ValueError) as error:
            self._database.close()
            if is_without_room(error):
                raise SpoolError(f"{path} cannot be opened: {error}; make room on its disk") from error
            raise CheckpointDamagedError(str(error)) from error
        except BaseException:
            self._database.close()
            raise

    def _prepare(self, cache_octets: int) -> None:
        execute = self._database.execute
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = FULL")
        execute(f"PRAGMA cache_size = -{cache_octets >> 10}")
        check = execute("PRAGMA integrity_check(1)").fetchone()
        if check is None or check[0] != "ok":
            raise CheckpointDamagedError(f"integrity_check: {check}")
        if is_stamped(self._database):
            fault = verify(self._database)
            if fault:
                raise CheckpointDamagedError(fault)
            check_keys(self._database)
        execute("BEGIN")
        self._make_tables()
        execute("COMMIT")
        arm(self._database)

    def _make_tables(self) -> None:
        """Make what is missing, as in a new file or one of an earlier program; else nothing is written."""
        execute = self._database.execute
        was_stamped = is_stamped(self._database)
        schema = execute("PRAGMA schema_version").fetchone()
        for statement in filter(None, map(str.strip, (_SCHEMA + KEYS_SCHEMA + STAMP_SCHEMA).split(";"))):
            execute(statement)
        found = execute("SELECT value FROM meta WHERE name = 'format'").fetchone()
        if found is not None and not (isinstance(found[0], int) and 0 < found[0] <= FORMAT):
            # the spool's own format is known, so nobody newer was here
            raise CheckpointDamagedError(f"format {found[0]!r} of a spool of format {FORMAT}")
        if found != (FORMAT,):
            execute("INSERT OR REPLACE INTO meta VALUES ('format', ?)", (FORMAT,))
        if not was_stamped:
            begin(self._database)
        elif found != (FORMAT,) or execute("PRAGMA schema_version").fetchone() != schema:
            stamp(self._database)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def entries(self) -> Iterator[Entry]:
        """All rows, checked."""
        cursor = self._database.execute(_SELECT)
        return map(_entry, cursor)

    def logs(self) -> dict[int, LogRow]:
        """Covered positions by log."""
        rows = self._database.execute(
            "SELECT log, segment, place, events_segment, events_place, dead FROM logs"
        )
        return {
            log: LogRow(Position(segment, place), Position(events_segment, events_place), bool(dead))
            for log, segment, place, events_segment, events_place, dead in rows
        }

    def spans(self) -> list[Span]:
        """Which entries each segment may have created."""
        rows = self._database.execute("SELECT log, segment, kind, creator, low, high FROM spans")
        return [Span(*row) for row in rows]

    def recovery(self) -> tuple[list[tuple[int, int, bytes]], list[tuple[int, bytes]]]:
        """What an unfinished recovery remembered: pages of finished entries, early states."""
        finished = self._database.execute("SELECT log, page, bits FROM finished").fetchall()
        early = self._database.execute("SELECT entry, states FROM early").fetchall()
        return finished, early

    def key(self, key: bytes) -> Keyed | None:
        """An idempotency key that was used."""
        try:
            return read_key(self._database, key)
        except ValueError as error:
            raise CheckpointDamagedError(str(error)) from error

    def key_places(self) -> list[tuple[int, int, float]]:
        """See `keys.key_places`."""
        return key_places(self._database)

    def write(self, write: Write) -> None:
        """Take a checkpoint: one transaction, durable on return."""
        database = self._database
        database.execute("BEGIN IMMEDIATE")
        try:
            self._write(write)
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise

    def _write(self, write: Write) -> None:
        many = self._database.executemany
        for table in ("entries", "lasts"):
            many(f"DELETE FROM {table} WHERE entry = ?", ((number,) for number in write.deletes))  # noqa: S608 - constant
        lasts = (_last_row(entry.entry, entry.last) for entry in write.upserts if entry.last is not None)
        many("INSERT OR REPLACE INTO lasts VALUES (?, ?, ?, ?, ?, ?)", lasts)
        marks = ",".join("?" * (_FIELDS + 1))
        many(f"INSERT OR REPLACE INTO entries VALUES ({marks})", map(_row, write.upserts))  # noqa: S608 - constant
        self._database.execute("DELETE FROM logs")
        many(
            "INSERT INTO logs VALUES (?, ?, ?, ?, ?, ?)",
            (
                (log, *_columns(row.position), *_columns(row.events), int(row.dead))
                for log, row in write.logs.items()
            ),
        )
        write_keys(self._database, write.keys, write.now)
        many("DELETE FROM spans WHERE log = ? AND segment = ?", write.dropped_segments)
        many("INSERT OR REPLACE INTO spans VALUES (?, ?, ?, ?, ?, ?)", write.spans)
        if write.recovering:
            many("INSERT OR REPLACE INTO finished VALUES (?, ?, ?)", write.finished)
            self._database.execute("DELETE FROM early")
            many("INSERT INTO early VALUES (?, ?)", write.early)
        else:
            self._database.execute("DELETE FROM finished")
            self._database.execute("DELETE FROM early")
        stamp(self._database)

    def due(self, asks: Sequence[Ask]) -> list[list[Entry]]:
        """For each question its rows, in order of due time, and one more when there is one."""
        answers = []
        for (channel, binding, domain), (due, entry), limit in asks:
            rows = self._database.execute(
                _DUE,
                (domain, binding, channel, due, entry, limit + 1),
            )
            answers.append([_entry(row) for row in rows])
        return answers

    def rows(self, numbers: Iterable[int]) -> dict[int, Entry]:
        """The rows of these entries, as far as they exist."""
        wanted = list(numbers)
        found: dict[int, Entry] = {}
        for start in range(0, len(wanted), _VARIABLES_MAX):
            part = wanted[start : start + _VARIABLES_MAX]
            marks = ",".join("?" * len(part))
            for row in self._database.execute(f"{_SELECT} WHERE entry IN ({marks})", part):
                found[row[0]] = _entry(row)
        return found

    def select(self, chosen: QueueFilter, limit: int, after: int) -> list[Entry]:
        """Rows that match, by entry number, behind `after`."""
        condition, arguments = chosen.sql()
        rows = self._database.execute(
            f"{_SELECT} WHERE entry > ? AND {condition} ORDER BY entry LIMIT ?", (after, *arguments, limit)
        )
        return [_entry(row) for row in rows]

    def count(self, chosen: QueueFilter) -> int:
        """How many rows match."""
        condition, arguments = chosen.sql()
        query = f"SELECT count(*) {_FROM} WHERE {condition}"
        return int(self._database.execute(query, arguments).fetchone()[0])

    def first_message(self) -> str | None:
        """The lowest message id of all rows; None where there is no row."""
        found: str | None = self._database.execute("SELECT min(message_id) FROM entries").fetchone()[0]
        return found

    def summary(self, chosen: QueueFilter, columns: Sequence[str]) -> list[Group]:
        """Rows that match, counted by `columns`, the largest group first."""
        if not columns or not set(columns) <= set(GROUPS):
            raise ValueError(f"the queue cannot be counted by {', '.join(columns)}")
        condition, arguments = chosen.sql()
        names = ", ".join(columns)
        query = (
            f"SELECT {names}, count(*), sum(held <> ''), sum(size), min(received), max(attempts) {_FROM} "
            f"WHERE {condition} GROUP BY {names} ORDER BY count(*) DESC, {names}"
        )
        width = len(columns)
        return [
            Group(tuple(each or "" for each in row[:width]), *row[width:])
            for row in self._database.execute(query, arguments)
        ]
