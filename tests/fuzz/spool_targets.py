"""What is fuzzed of the spool: frames, segments, and the checkpoint, which must never be believed wrongly.

The checkpoint is a file of SQLite beside four logs of dead writers. The oracle is the queue that the logs
alone make.
"""

import asyncio
import contextlib
import os
import random
import re
import sqlite3
import struct
import tempfile
import tracemalloc
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from google_crc32c import value

from outrider.base.clock import FakeClock
from outrider.base.errors import SpoolError
from outrider.base.files import OsFiles
from outrider.base.log import NullLog
from outrider.model.changes import Keyed, entry_id
from outrider.spool.codec import FrameDecoder, FrameEncoder, Place, stated_length
from outrider.spool.filters import QueueFilter
from outrider.spool.frames import (
    FLAG_ENCRYPTED,
    FLAGS,
    FRAME_HEADER,
    TYPE_CHANGES,
    FormatError,
    FrameDamagedError,
    SegmentHeader,
    encode,
    format_header,
    format_segment_header,
    is_whole,
    parse_header,
    parse_segment_header,
    payload_checksum,
)
from outrider.spool.index import Index
from tests.fuzz.engine import Target, must
from tests.spool.samples import SMALL, finished, small_as, spool_keys, stored
from tests.spool.test_spool_index import everywhere, history, write_logs

SALT = b"saltsalt"
KEY = b"k" * 16
DOMAIN = b"moved.example"
LATE = 4e9
"""Unix seconds: after everything that is due."""

PAGE_OCTETS = 512
"""SQLite's smallest page, so that a small checkpoint has many and little room between them."""


# frames


def _frame() -> bytes:
    changes = encode([stored(entry_id(3, 0), b"body\r\n"), finished(entry_id(3, 0))])
    crc, length = payload_checksum(changes, [[b"body\r\n"]])
    return format_header(SALT, 4096, TYPE_CHANGES, len(changes), length, crc) + changes + b"body\r\n"


def frames(octets: bytes, chance: random.Random) -> None:
    offset = 4096
    header = parse_header(octets, SALT, offset)
    if header is not None:
        must(octets[:FRAME_HEADER] == _frame()[:FRAME_HEADER] or _is_forged(octets), "a header nobody wrote")
        is_whole(header, octets[FRAME_HEADER : FRAME_HEADER + header.payload_length])
    del chance


def _is_forged(octets: bytes) -> bool:
    """True when the checksum fits: only who knows the salt can do that, and a mutation may not."""
    start = octets[: FRAME_HEADER - 4]
    return bool(
        struct.unpack("<I", octets[FRAME_HEADER - 4 : FRAME_HEADER])[0]
        == value(SALT + struct.pack("<Q", 4096) + start)
    )


def segments(octets: bytes, chance: random.Random) -> None:
    try:
        parse_segment_header(octets)
    except (FormatError, SpoolError):
        return
    del chance


PLACE = Place(3, 1, SALT, 4096)
BODY = encode([stored(entry_id(3, 0), b"body\r\n" * 200)]) + b"body\r\n" * 200


def _encoded(how: str) -> bytes:
    """Flags and list length in two octets and four, then the payload as it is stored."""
    encoder = FrameEncoder(small_as(how), spool_keys())
    packed = encoder.pack(BODY, (), len(BODY))
    return struct.pack("<BxI", packed.flags, packed.list_length) + encoder.encode(packed, PLACE, TYPE_CHANGES)


def codec(octets: bytes, chance: random.Random) -> None:
    flags, list_length = struct.unpack("<BxI", octets[:6].ljust(6, b"\0"))
    payload = octets[6:]
    tracemalloc.start()
    try:
        found = FrameDecoder(spool_keys()).decode(payload, PLACE, TYPE_CHANGES, flags & FLAGS, list_length)
    except FrameDamagedError:
        pass
    else:
        must(len(found) == stated_length(payload), "another length than it states")
        must(not flags & FLAG_ENCRYPTED or found == BODY, "what nobody wrote is authentic")
    finally:
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    must(most < 64 * len(octets) + (1 << 26), ("memory for a frame that lies about its length", most))
    del chance


# the checkpoint


class Queue(NamedTuple):
    """What a dispatcher knows after it has read everything: entries, what is due, keys, counts."""

    entries: list[Any]
    due: list[int]
    keyed: Keyed | None
    counts: tuple[int, int]


class World(NamedTuple):
    """The logs as files, the queue that they make, and checkpoints of two moments."""

    files: dict[str, bytes]
    queue: Queue
    steady: bytes
    recovering: bytes


def _index(spool: Path) -> Index:
    return Index.open(OsFiles(), str(spool), SMALL, FakeClock(), NullLog())


async def _queue(spool: Path, order: list[int]) -> Queue:
    """Read the logs in `order`, as a start does."""
    index = _index(spool)
    try:
        for log in order:
            await index.replay(log)
        index.recovered()
        entries = await index.select(QueueFilter(), 1000)
        due: list[int] = []
        while more := await index.due(LATE, 1000, everywhere):
            due += [entry.entry for entry in more]
        keyed = await index.key(KEY)
        counts = index.counts()
    finally:
        await index.abandon()
    return Queue(list(map(msgspec.structs.astuple, entries)), sorted(due), keyed, (counts.alive, counts.held))


async def _made(folder: Path) -> World:
    logs = history()
    logs[3].append(([Keyed(KEY, b"b" * 16, b"answer", LATE)], []))
    await write_logs(folder, logs)
    spool = folder / "spool"
    files = {str(path.relative_to(spool)): path.read_bytes() for path in spool.rglob("*") if path.is_file()}
    checkpoints = []
    for read in (
        [2, 4],
        [1, 2, 3, 4],
    ):  # of entries whose creation was not read yet; of a queue that is known
        index = _index(spool)
        for log in read:
            await index.replay(log)
        if len(read) == len(logs):
            index.recovered()
        await index.close()
        checkpoints.append(_packed(spool / "checkpoint.sqlite"))
    (spool / "checkpoint.sqlite").unlink()
    queue = await _queue(spool, [1, 2, 3, 4])
    recovering, steady = checkpoints
    return World(files, queue, steady, recovering)


def _packed(path: Path) -> bytes:
    """The file with small pages and nothing free in it."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        for statement in ("PRAGMA journal_mode = DELETE", f"PRAGMA page_size = {PAGE_OCTETS}", "VACUUM"):
            database.execute(statement)
    return path.read_bytes()


@cache
def world() -> World:
    """Made once a process."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_made(Path(folder)))


def _misspelt(checkpoint: bytes) -> list[bytes]:
    """A domain changed in one place at a time: in the row, and in each index that has it."""
    found = [match.start() for match in re.finditer(DOMAIN, checkpoint)]
    return [checkpoint[:at] + b"x" + checkpoint[at + 1 :] for at in found]


def _laid_out(folder: str, checkpoint: bytes) -> Path:
    spool = Path(folder) / "spool"
    for name, content in world().files.items():
        path = spool / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (spool / "checkpoint.sqlite").write_bytes(checkpoint)
    return spool


def _believed(checkpoint: bytes, chance: random.Random) -> None:
    """Start over this checkpoint, with the logs in any order."""
    order = chance.sample([1, 2, 3, 4], 4)
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        found = asyncio.run(_queue(_laid_out(folder, checkpoint), order))
    expected = world().queue
    must(found == expected, ("another queue than the logs make", found, expected))


def _memory() -> str | None:
    """Where a sync costs nothing."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def checkpoint_octets(octets: bytes, chance: random.Random) -> None:
    _believed(octets, chance)


_TABLES = ("entries", "lasts", "logs", "spans", "finished", "early", "keys", "sums", "meta")
_VALUES: tuple[Any, ...] = (None, 0, 1, -1, 4096, 1 << 40, "", "x", b"", b"\xff" * 4096, 1e300)


def checkpoint_rows(octets: bytes, chance: random.Random) -> None:
    """Each four octets change one cell or row of a checkpoint that SQLite finds whole."""
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        path = Path(folder) / "checkpoint.sqlite"
        path.write_bytes(world().recovering if octets[:1] == b"r" else world().steady)
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
            for start in range(1, min(len(octets) - 3, 40), 4):
                with contextlib.suppress(sqlite3.IntegrityError):
                    _change_row(database, *octets[start : start + 4])
        _believed(path.read_bytes(), chance)


def _change_row(database: sqlite3.Connection, table: int, row: int, column: int, kind: int) -> None:
    name = _TABLES[table % len(_TABLES)]
    rows = database.execute(f"SELECT * FROM {name}").fetchall()
    if not rows:
        return
    columns = [info[1] for info in database.execute(f"PRAGMA table_info({name})")]
    old = rows[row % len(rows)]
    where = " AND ".join(f"{each} IS ?" for each in columns)
    if kind % 16 == 15:
        database.execute(f"DELETE FROM {name} WHERE {where}", old)
        return
    changed = columns[column % len(columns)]
    given = _VALUES[kind % 16] if kind % 16 < len(_VALUES) else rows[kind % len(rows)][column % len(columns)]
    database.execute(f"UPDATE {name} SET {changed} = ? WHERE {where}", (given, *old))


TARGETS = (
    Target("frames", "A frame's header is found only where it was written.", (_frame(),), frames),
    Target(
        "segments",
        "A segment's header is read, refused as newer, or none.",
        (format_segment_header(SegmentHeader(3, 1, 0, SALT)),),
        segments,
    ),
    Target(
        "codec",
        "A stored frame gives what was encoded, or is damaged; a stated length costs no memory by itself.",
        (_encoded("zstd"), _encoded("aes"), _encoded("both")),
        codec,
    ),
    Target(
        "checkpoint",
        "Whatever octets the checkpoint has, the queue is the one that the logs alone make.",
        (world().steady, world().recovering, *_misspelt(world().steady)),
        checkpoint_octets,
    ),
    Target(
        "checkpoint-rows",
        "Whatever rows of the checkpoint are changed or missing, the queue is the one that the logs make.",
        (b"s\0\0\1\1", b"r\4\0\0\x0f", b"s\2\1\2\0" + b"\2\1\3\4", b"s\0\1\0\x0f", b"s\6\0\3\2"),
        checkpoint_rows,
    ),
)
