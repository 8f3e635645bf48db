"""What is fuzzed of our own files: a disk, a restore or an editor may have left anything in them."""

import contextlib
import math
import random
import tempfile
from pathlib import Path

from outrider.base.clock import FakeClock
from outrider.base.errors import ConfigError, SpoolError
from outrider.base.files import OsFiles
from outrider.base.log import NullLog
from outrider.privacy.credentials import format_credentials, parse_credentials
from outrider.privacy.keyfile import (
    KEY_OCTETS,
    Purpose,
    Tombstone,
    format_key,
    format_tombstone,
    new_key,
    parse_key,
    parse_tombstone,
)
from outrider.record.files import open_path, resume
from outrider.record.trace import life_of, tail
from outrider.schedule.memory import Kept, Memory
from outrider.server.backup.manifest import (
    MANIFEST,
    BackupError,
    FileEntry,
    Manifest,
    format_manifest,
    read_manifest,
)
from outrider.server.suspensions import FILE as SUSPENSIONS
from outrider.server.suspensions import Suspensions
from outrider.server.throttles import Throttles
from tests.fuzz.engine import Target, must
from tests.schedule.test_scheduler import Bench

TIME = 1_790_000_000.0
NESTED_JSON = b'{"a":' * 5_000
NESTED_TOML = b"a = " + b"[" * 5_000
NESTED_MESSAGEPACK = b"\x91" * 5_000
"""Deeper than libraries recurse."""

MESSAGE = "000000000000000001"


def users_file(octets: bytes, chance: random.Random) -> None:
    text = octets.decode("utf-8", "replace")
    try:
        found = parse_credentials(text)
    except ConfigError as error:
        must(bool(error.message), error)
        return
    must(parse_credentials(format_credentials(found)) == found, found)
    del chance


_KEY = new_key(Purpose.SPOOL, 2, b"s" * KEY_OCTETS, TIME)
_TOMBSTONE = Tombstone(Purpose.SPOOL, 2, _KEY.fingerprint, _KEY.created, _KEY.created, 'it "leaked"')


def key_file(octets: bytes, chance: random.Random) -> None:
    for parse in (parse_key, parse_tombstone):
        try:
            found = parse(octets, "spool-2.key", Purpose.SPOOL, 2)
        except ConfigError as error:
            must("spool-2.key" in error.message, error)
            must(_KEY.secret.decode() not in error.message, "a fault shows a secret")
        else:
            must((found.purpose, found.version) == (Purpose.SPOOL, 2), found)
            must(_KEY.secret.decode() not in repr(found), "a key shows its secret")
    del chance


_MANIFEST = Manifest(
    1,
    "1.0",
    "2026-09-21T14:13:20Z",
    "mx.test",
    "/etc/outrider/outrider.toml",
    "/var/lib/outrider",
    "outrider",
    2,
    "sqlite",
    True,
    [FileEntry("spool/format", 2, "0" * 64), FileEntry("files/1", 2, "0" * 64, "/etc/a")],
)


def manifest(octets: bytes, chance: random.Random) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / MANIFEST).write_bytes(octets)
        try:
            found, _ = read_manifest(Path(folder))
        except BackupError as error:
            must(bool(error.message), error)
            return
        for entry in found.files:  # nothing of a copy is read or written outside
            inside = (Path(folder) / entry.name).resolve()
            must(inside.is_relative_to(Path(folder).resolve()) and inside != Path(folder), entry)
            must(".." not in entry.place.split("/") and entry.place[:1] in ("", "/"), entry)
    del chance


def _throttles() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "throttles"
        state = (TIME, ((TIME - 5.0, 3), (TIME - 1.0, 2)), 1)
        kept = {"smtp/b/a.test": Kept(state, ((TIME - 9.0, TIME - 8.0, TIME - 7.0),)), "other": Kept(state)}
        Throttles(path, FakeClock(), "boot").keep(Memory(TIME, TIME + 1.0, kept, ((0.0, TIME - 60.0, TIME),)))
        return path.read_bytes()


def throttles(octets: bytes, chance: random.Random) -> None:
    clock = FakeClock()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "throttles"
        path.write_bytes(octets)
        found = Throttles(path, clock, "boot").take()
    if found is None:
        return
    must(math.isfinite(found.wall), found)
    bench = Bench(max_message_rate="5/second", max_connection_rate="5/second")
    bench.now = clock.now()
    bench.scheduler.recall(found.memory, clock.now(), found.wall)
    bench.scheduler.begin(clock.now())
    bench.add("a.test", 20)
    sent = sum(len(order.entries) for order in bench.opens())
    must(sent <= 5, "more than the rate allows")
    at = bench.scheduler.next_at()
    must(at is None or not math.isnan(at), at)
    bench.scheduler.remember(clock.now(), clock.wall(), clock.now() + 1.0)
    del chance


_ORDERS = (
    b'{"next_number": 3, "suspensions": [{"number": 1, "channel": "smtp", "binding": "*", "site": "*.test", '
    b'"until_time": null, "reason": "r", "actor": "cli:a", "since_time": 1.0}, {"number": 2, "channel": "*", '
    b'"binding": "*", "site": "a.test", "until_time": 1890000000.0, "reason": "", "actor": "a", '
    b'"since_time": 1.0}]}'
)


def suspensions(octets: bytes, chance: random.Random) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / SUSPENSIONS).write_bytes(octets)
        bench = Bench()
        try:
            kept = Suspensions(OsFiles(), Path(folder), bench.scheduler, FakeClock(), NullLog())
        except SpoolError as error:
            must("repair it" in error.message, error)
            return
        active = kept.active()
        for each in active:
            kept.resume(each.number)
        must(not bench.scheduler.suspensions(), "what was lifted holds on")
        new = kept.suspend("smtp", "*", "*", None, "r", "a")
        must(new.number not in {each.number for each in active}, "a number is given twice")
    del chance


_EVENTS = (
    b'{"id":"1.0.4096.0","type":"reception","time":"2026-09-21T14:13:20Z","message_id":"'
    + MESSAGE.encode()
    + b'"}\n'
    b'{"id":"1.0.4096.1","type":"delivery","time":"2026-09-21T14:13:21Z","message_id":"'
    + MESSAGE.encode()
    + b'","entry":1,"tenant":"t"}\n'
)


def events(octets: bytes, chance: random.Random) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = open_path(folder, 1)
        path.write_bytes(octets)
        life_of(folder, MESSAGE)
        tail(folder, chance.randrange(1, 5))
        resume(OsFiles(), folder, 1)
        left = path.read_bytes() if path.exists() else b""
        must(octets.startswith(left), "mending wrote something")
        must(not left or left.endswith(b"\n"), "half a line is left")
        place = resume(OsFiles(), folder, 1)
        with contextlib.suppress(FileNotFoundError):
            must(path.read_bytes() == left, "mending twice changes something")
        del place


TARGETS = (
    Target(
        "users-file",
        "A users file is read, and written it reads as the same, or it is refused with its faults named.",
        (
            (
                b'[[user]]\nname = "joe"\npassword_hash = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA"\n'
                b'tenant = "t"\nsender_domains = ["a.example", ".b.example"]\n'
            ),
            b'[[key]]\nid = "web"\nhash = "' + b"0" * 64 + b'"\ntenant = "t"\nsender_domains = ["*"]\n',
            NESTED_TOML,
        ),
        users_file,
    ),
    Target(
        "key-file",
        "A key file is read or refused by its name, and no secret is ever told.",
        (format_key(_KEY).encode(), format_tombstone(_TOMBSTONE).encode(), NESTED_TOML),
        key_file,
    ),
    Target(
        "manifest",
        "A copy's manifest is refused, or names only places inside the copy and absolute ones.",
        (format_manifest(_MANIFEST), NESTED_JSON),
        manifest,
    ),
    Target(
        "throttles",
        "What throttles remembered is refused, or makes nobody send more than the rate allows.",
        (_throttles(), NESTED_MESSAGEPACK),
        throttles,
    ),
    Target(
        "suspensions",
        "Suspensions are read or refused; what is read can be lifted, and no number is given twice.",
        (_ORDERS, b"{}", NESTED_JSON),
        suspensions,
    ),
    Target(
        "events",
        "A file of events is read, and mended to whole lines of what was in it.",
        (_EVENTS, _EVENTS[:-20], NESTED_JSON + b"\n" + _EVENTS, _EVENTS + NESTED_JSON + b"\n"),
        events,
    ),
)
