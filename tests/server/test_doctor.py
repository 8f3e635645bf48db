"""Each check of the doctor finds what is wrong, says how to mend it, and is content when nothing is."""

import os
import random
import socket
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from outrider.base.clock import FakeClock, SystemClock
from outrider.base.faults import Fault, FaultyFiles
from outrider.base.files import FreeSpace, OsFiles
from outrider.base.log import NullLog
from outrider.net.options import NetOptions
from outrider.net.resolver import DnsResolver
from outrider.privacy.keyfile import Purpose
from outrider.server.doctor import disk, exposure, names
from outrider.server.doctor.database import check_database
from outrider.server.doctor.examine import examine
from outrider.server.doctor.finding import Finding, Level, as_data, worst
from outrider.server.doctor.machine import EARLIEST_TIME, Machine, check_machine, read_machine
from outrider.server.doctor.ownership import check_config, check_directory, check_ownership, check_secrets
from outrider.server.doctor.ports import check_ports
from outrider.server.doctor.signing import check_signing
from outrider.server.doctor.spool import check_keys, check_spool, is_running
from outrider.server.keys import key_store
from outrider.server.node import lock_spool
from outrider.server.settings import Settings
from outrider.server.signing import open_signing_ring
from outrider.sim.certificates import self_signed
from outrider.sim.server import PracticeInternet
from outrider.sim.world import parse_world
from outrider.spool import frames
from outrider.spool.directory import SpoolDirectory
from outrider.store.editor import Author
from outrider.store.engine import open_engine
from outrider.store.online_copy import copy_database
from outrider.store.upgrade import upgrade
from tests.wire.dkim.signing import pem

WORLD = """
[[provider]]
name = "there"
domains = ["there.test"]
mx = [{ name = "mx.there.test", address = "127.30.10.1" }]

[[zone]]
name = "example.test"
record = [
    { name = "mx", type = "A", value = "192.0.2.1" },
    { name = "other", type = "A", value = "192.0.2.9" },
    { name = "@", type = "MX", value = "10 gone.example.test." },
    { name = "gone", type = "A", value = "127.30.10.9" },
]
[[zone]]
name = "null.test"
answer = "null-mx"
[[zone]]
name = "broken.test"
answer = "servfail"
[[zone]]
name = "2.0.192.in-addr.arpa"
record = [
    { name = "1", type = "PTR", value = "mx.example.test." },
    { name = "2", type = "PTR", value = "mx.example.test." },
    { name = "9", type = "PTR", value = "other.example.test." },
]
"""


@asynccontextmanager
async def looking_up() -> AsyncIterator[tuple[DnsResolver, PracticeInternet]]:
    async with PracticeInternet(parse_world(WORLD, "world"), clock=SystemClock()) as internet:
        yield (
            DnsResolver(
                NetOptions(lookup_deadline_seconds=5),
                clock=SystemClock(),
                log=NullLog(),
                random_bits=lambda bits: int.from_bytes(os.urandom(bits // 8), "big"),
                servers=[("127.0.0.1", internet.dns_port)],
            ),
            internet,
        )


def level(findings: list[Finding]) -> Level:
    """The worst; every finding that is bad says how to mend it."""
    assert findings
    assert all(one.mend for one in findings if one.level in {Level.WARNING, Level.FAULT})
    return worst(findings)


@pytest.mark.parametrize(
    ("hostname", "expected"),
    [
        ("mx.example.test", Level.GOOD),
        ("localhost.localdomain", Level.WARNING),
        ("bare", Level.WARNING),
        ("nothing.example.test", Level.FAULT),
        ("mx.broken.test", Level.FAULT),
    ],
)
async def test_the_host_name_is_looked_up(hostname: str, expected: Level) -> None:
    async with looking_up() as (lookup, _):
        assert level(await names.check_hostname(lookup, hostname)) is expected


@pytest.mark.parametrize(
    ("address", "option", "expected"),
    [
        ("192.0.2.1", "net.own_addresses", Level.GOOD),
        ("192.0.2.9", "net.own_addresses", Level.WARNING),  # another name than the server's
        ("192.0.2.2", "net.own_addresses", Level.FAULT),  # its name leads elsewhere
        ("192.0.2.3", "net.own_addresses", Level.FAULT),  # no name
        ("192.0.2.1", "", Level.NOTE),  # behind NAT
    ],
)
async def test_an_address_has_a_name_that_leads_back(address: str, option: str, expected: Level) -> None:
    async with looking_up() as (lookup, _):
        found = await names.check_source(lookup, "mx.example.test", address, option=option)
        assert level(found) is expected


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ("there.test", Level.GOOD),
        ("example.test", Level.FAULT),  # nobody listens at its exchanger
        ("null.test", Level.NOTE),
        ("broken.test", Level.FAULT),
    ],
)
async def test_mail_gets_out(domain: str, expected: Level) -> None:
    async with looking_up() as (lookup, internet):
        assert level(await names.check_reach(lookup, domain, internet.smtp_port)) is expected


GOOD = Machine(EARLIEST_TIME + 1, 0.0, True, 1 << 40, 64, 1 << 20)


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        (GOOD, Level.GOOD),
        (replace(GOOD, wall_time=EARLIEST_TIME - 1), Level.FAULT),
        (replace(GOOD, drift_seconds=-5.0), Level.WARNING),
        (replace(GOOD, synchronised=False), Level.WARNING),
        (replace(GOOD, synchronised=None), Level.NOTE),
        (replace(GOOD, memory_bytes=1 << 20), Level.WARNING),
        (replace(GOOD, memory_bytes=None), Level.NOTE),
        (replace(GOOD, cores=1), Level.WARNING),
        (replace(GOOD, nofile_hard=1_024), Level.FAULT),
    ],
)
def test_the_machine_suits_the_configuration(machine: Machine, expected: Level) -> None:
    assert level(check_machine(machine, Settings())) is expected


def test_the_machine_is_read(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  100 kB\nMemAvailable:   64 kB\n", encoding="ascii")
    found = read_machine(SystemClock, meminfo)
    assert found.memory_bytes == 64 * 1024
    assert found.wall_time > EARLIEST_TIME
    assert abs(found.drift_seconds) < 60
    assert found.cores >= 1
    assert read_machine(SystemClock, tmp_path / "none").memory_bytes is None


class Roomy(OsFiles):
    def __init__(self, octets: int, inodes: int | None = None) -> None:
        self._free = FreeSpace(octets, inodes)

    def free(self, path: str) -> FreeSpace:
        return self._free


@pytest.mark.parametrize(
    ("free", "inodes", "expected"),
    [
        (1 << 40, None, Level.GOOD),
        (1 << 40, 1 << 20, Level.GOOD),
        (300, None, Level.WARNING),
        (99, None, Level.FAULT),
        (1 << 40, 12, Level.FAULT),
    ],
)
def test_room_on_the_disk(tmp_path: Path, free: int, inodes: int | None, expected: Level) -> None:
    assert level(disk.check_room(Roomy(free, inodes), tmp_path, 100)) is expected


@pytest.mark.parametrize(
    ("median", "p99", "expected"),
    [
        (0.001, 0.01, Level.GOOD),
        (0.03, 0.05, Level.WARNING),
        (0.001, 0.9, Level.WARNING),
        (0.4, 0.9, Level.FAULT),
    ],
)
def test_what_a_sync_costs(median: float, p99: float, expected: Level) -> None:
    found = disk.check_syncs(disk.SyncTimes(median, p99))
    assert level([found]) is expected
    assert f"{median * 1000:.2f} ms (median)" in found.what


def test_syncs_are_measured_by_the_clock(tmp_path: Path) -> None:
    clock = FakeClock()

    class Slow(OsFiles):
        syncs = 0

        def fdatasync(self, fd: int) -> None:
            self.syncs += 1
            clock.advance(5.0 if self.syncs == 50 else 0.25)
            super().fdatasync(fd)

    times = disk.measure_syncs(Slow(), tmp_path, clock)
    assert times == disk.SyncTimes(0.25, 5.0)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    files = FaultyFiles(OsFiles(), [Fault("open", "*", 1, 28, 1)])
    assert level(list(disk.check_disk(files, tmp_path, 1, FakeClock()))) is Level.FAULT
    assert level(list(disk.check_disk(OsFiles(), tmp_path, 1, FakeClock(), lambda _: "ext4"))) is Level.GOOD


def test_the_kind_of_the_file_system(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"a / ext4 rw 0 0\nb {tmp_path} tmpfs rw 0 0\n", encoding="utf-8")
    assert disk.file_system_of(tmp_path / "x", mounts) == "tmpfs"
    assert disk.file_system_of(Path("/elsewhere"), mounts) == "ext4"
    assert level([disk.check_kind("tmpfs")]) is Level.WARNING
    assert level([disk.check_kind("xfs")]) is Level.GOOD


def settings(**sections: Any) -> Settings:
    return Settings.model_validate(sections)


@pytest.mark.parametrize(
    ("listener", "expected", "words"),
    [
        ({"trusted_networks": ["127.0.0.0/8"]}, Level.GOOD, "programs on this machine"),
        ({"address": "0.0.0.0", "trusted_networks": ["10.0.0.0/8"]}, Level.WARNING, "clear text"),
        ({"address": "0.0.0.0"}, Level.NOTE, "nobody may relay"),
        ({"address": "0.0.0.0", "trusted_networks": ["128.0.0.0/2"]}, Level.FAULT, "OPEN RELAY"),
        ({"trusted_networks": ["2000::/3"]}, Level.FAULT, "OPEN RELAY"),
        ({"context_networks": ["128.0.0.0/2"]}, Level.FAULT, "tell policy scripts what they like"),
        (
            {"context_networks": ["127.0.0.0/8"], "trusted_networks": ["127.0.0.0/8"]},
            Level.GOOD,
            "programs on this machine",
        ),
        ({"address": "::", "auth_without_tls": True}, Level.FAULT, "clear text"),
        (
            {
                "role": "inbound",
                "address": "0.0.0.0",
                "mailbox": [{"purpose": "abuse", "address": "a@b.test"}],
            },
            Level.GOOD,
            "its 1 mailbox addresses and relays for nobody",
        ),
    ],
)
def test_who_may_reach_a_listener(listener: dict[str, Any], expected: Level, words: str) -> None:
    found = exposure.check_exposure(settings(listener=[listener]))
    assert level(found) is expected
    assert any(words in one.what for one in found)


def test_http_and_metrics_beyond_loopback_are_told() -> None:
    assert level(exposure.check_exposure(settings(http=[{}], listener=[]))) is Level.GOOD
    assert level(exposure.check_exposure(settings(http=[{"address": "::"}], listener=[]))) is Level.WARNING
    told = exposure.check_exposure(settings(listener=[], record={"metrics_address": "0.0.0.0"}))
    assert level(told) is Level.WARNING


def certificate_files(folder: Path, begins: float) -> tuple[Path, Path]:
    """A certificate of 30 days, and its key."""
    texts = self_signed(["mx.example.test"], begins, begins + 30 * exposure.DAY_SECONDS, random.Random(1))
    paths = folder / "server.pem", folder / "server.key"
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, encoding="ascii")
    return paths


@pytest.mark.parametrize(
    ("hostname", "day", "expected"),
    [
        ("mx.example.test", 1.0, Level.GOOD),
        ("other.example.test", 1.0, Level.WARNING),
        ("mx.example.test", -1.0, Level.FAULT),
        ("mx.example.test", 20.0, Level.WARNING),
        ("mx.example.test", 31.0, Level.FAULT),
    ],
)
def test_certificates_end(tmp_path: Path, hostname: str, day: float, expected: Level) -> None:
    begins = 1_800_000_000.0
    certificate, key = certificate_files(tmp_path, begins)
    found = exposure.check_certificate(
        "tls.smtp", certificate, key, hostname, begins + day * exposure.DAY_SECONDS
    )
    assert level([found]) is expected


def test_a_certificate_that_does_not_fit_its_key_is_told(tmp_path: Path) -> None:
    certificate, key = certificate_files(tmp_path, 1_800_000_000.0)
    assert level([exposure.check_certificate("tls", tmp_path / "none", key, "a", 0.0)]) is Level.FAULT
    key.write_text("no key", encoding="ascii")
    assert level([exposure.check_certificate("tls", certificate, key, "a", 0.0)]) is Level.FAULT


@contextmanager
def listening() -> Iterator[tuple[str, str, int]]:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen()
        yield "smtp", "127.0.0.1", one.getsockname()[1]


def test_a_password_that_delivery_would_look_for_in_vain_is_a_fault(tmp_path: Path) -> None:
    """Nothing else reads it before mail goes there, and then waits."""
    relay = {"site": "relay", "tls": "required", "auth_user": "us", "password_file": "relay-password"}
    far = {
        "name": "far",
        "proxy": "socks5://192.0.2.1:1080",
        "proxy_user": "us",
        "proxy_password_file": "proxy",
    }
    data = {
        "server": {"state_directory": "state"},
        "delivery": {"override": [relay]},
        "binding": [far],
    }
    settings = Settings.model_validate(data).resolved(tmp_path)

    def missing() -> list[str]:
        found = check_ownership(settings, [])
        return [one.what for one in found if (one.check, one.level) == ("files.passwords", Level.FAULT)]

    assert len(missing()) == 2
    (tmp_path / "relay-password").touch(0o600)
    [told] = missing()
    assert told.startswith(f"{tmp_path / 'proxy'} is not there")


async def test_ports_can_be_opened_or_answer() -> None:
    with listening() as place:
        assert level(await check_ports([place], running=False)) is Level.FAULT
        assert level(await check_ports([place], running=True)) is Level.GOOD
    assert level(await check_ports([place], running=False)) is Level.GOOD
    # RFC 5737 §3: nobody has it, so there is no other program to stop
    [elsewhere] = await check_ports([("smtp", "192.0.2.1", 2525)], running=False)
    assert (elsewhere.level, elsewhere.mend) == (Level.FAULT, "choose another address or port")
    assert level(await check_ports([place], running=True)) is Level.FAULT


def test_directories_are_ours_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    assert level([check_directory("state", tmp_path)]) is Level.GOOD
    tmp_path.chmod(0o750)
    assert level([check_directory("state", tmp_path)]) is Level.FAULT
    assert level([check_directory("state", tmp_path / "none")]) is Level.NOTE
    (tmp_path / "file").touch()
    assert level([check_directory("state", tmp_path / "file")]) is Level.FAULT


@pytest.mark.parametrize(
    ("mode", "expected"),
    [(0o600, Level.GOOD), (0o640, Level.NOTE), (0o644, Level.FAULT), (0o620, Level.FAULT)],
)
def test_secrets_are_closed(tmp_path: Path, mode: int, expected: Level) -> None:
    (tmp_path / "key").touch()
    (tmp_path / "key").chmod(mode)
    assert level(check_secrets([tmp_path / "key"])) is expected


@pytest.mark.parametrize(
    ("mode", "expected"), [(0o640, Level.GOOD), (0o664, Level.WARNING), (0o666, Level.FAULT)]
)
def test_nobody_else_writes_the_configuration(tmp_path: Path, mode: int, expected: Level) -> None:
    (tmp_path / "outrider.toml").touch()
    (tmp_path / "outrider.toml").chmod(mode)
    assert level([check_config(tmp_path / "outrider.toml")]) is expected


def test_the_spool_s_format_and_damage_are_seen(tmp_path: Path) -> None:
    chosen = settings(server={"state_directory": str(tmp_path)})
    assert level(check_spool(OsFiles(), chosen)) is Level.NOTE
    spool = SpoolDirectory(OsFiles(), str(tmp_path / "spool"))
    spool.open()
    assert level(check_spool(OsFiles(), chosen)) is Level.GOOD
    spool.quarantine("1-0-4096", b"damaged")
    assert level(check_spool(OsFiles(), chosen)) is Level.WARNING
    for text, expected in (
        (b"1", Level.WARNING),
        (b"%d" % (frames.FORMAT + 1), Level.FAULT),
        (b"x", Level.FAULT),
    ):
        (tmp_path / "spool" / "format").write_bytes(text)
        assert level(check_spool(OsFiles(), chosen)) is expected
    (tmp_path / "spool" / "format").unlink()
    (tmp_path / "spool" / "logs" / "1").mkdir()
    (tmp_path / "spool" / "logs" / "1" / "00000000.log").touch()
    assert level(check_spool(OsFiles(), chosen)) is Level.FAULT


async def test_a_control_database_that_is_damaged_or_of_another_program_is_a_fault(tmp_path: Path) -> None:
    chosen = settings(server={"state_directory": str(tmp_path)})
    path, aside = tmp_path / "control.db", tmp_path / "aside.db"
    assert (await check_database(chosen)).level is Level.NOTE
    assert not path.exists(), "the doctor makes nothing"
    engine = open_engine(chosen.store, tmp_path)
    await upgrade(engine, Author("cli:test", FakeClock(), "", 0))
    assert (await check_database(chosen)).level is Level.GOOD, "while somebody has it open"
    copy_database(path, aside)
    await engine.dispose()
    sound = aside.read_bytes()
    assert (await check_database(chosen)).level is Level.GOOD
    page = len(sound) // 2 // 4096 * 4096
    for octets in (
        b"no database at all" * 1000,
        sound[:-5000],
        sound[:page] + b"\xa5" * 4096 + sound[page + 4096 :],
    ):
        path.write_bytes(octets)
        found = await check_database(chosen)
        assert (level([found]), "cannot be read" in found.what) == (Level.FAULT, True), found
        assert str(path) in found.what
    path.write_bytes(sound)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    found = await check_database(chosen)
    assert (level([found]), "9999" in found.what) == (Level.FAULT, True)
    path.unlink()
    path.mkdir()
    assert level([await check_database(chosen)]) is Level.FAULT


async def test_a_control_database_that_does_not_answer_is_a_fault(tmp_path: Path) -> None:
    url = {"url": "postgresql://nobody@127.0.0.1:1/none", "wait_seconds": 1}
    found = await check_database(settings(server={"state_directory": str(tmp_path)}, store=url))
    assert level([found]) is Level.FAULT


def test_keys_that_are_needed_are_there(tmp_path: Path) -> None:
    plain = settings(server={"state_directory": str(tmp_path)})
    assert level(check_keys(plain, {})) is Level.NOTE
    sealed = settings(server={"state_directory": str(tmp_path)}, spool={"encryption": "aes-256-gcm"})
    assert level(check_keys(sealed, {})) is Level.FAULT
    # the other key is made by the first start
    key_store(sealed, {}, OsFiles(), FakeClock(), NullLog()).add(Purpose.SPOOL)
    assert level(check_keys(sealed, {})) is Level.NOTE
    unneeded = {"state_directory": str(tmp_path / "elsewhere")}
    assert level(check_keys(settings(server=unneeded, record={"redaction": "domain"}), {})) is Level.GOOD


def test_a_running_server_is_seen_by_its_lock(tmp_path: Path) -> None:
    assert not is_running(tmp_path)
    lock = lock_spool(tmp_path, NullLog())
    assert is_running(tmp_path)
    os.close(lock)
    assert not is_running(tmp_path)


def test_findings_for_machines_say_what_the_worst_is() -> None:
    found = [
        Finding("a", Level.GOOD, "x"),
        Finding("b", Level.FAULT, "y", "z"),
        Finding("c", Level.NOTE, "w"),
    ]
    data = as_data(found)
    assert (data["worst"], data["ok"]) == ("fault", False)
    assert data["findings"][1] == {"check": "b", "level": "fault", "what": "y", "mend": "z"}


def test_signing_keys_that_are_not_there_are_faults(tmp_path: Path) -> None:
    clock = SystemClock()
    tables = [
        {"domain": "one.test", "selector": "s1", "key_file": str(tmp_path / "one.pem")},
        {"domain": "two.test", "tenant": "acme", "selector": "s2", "key_credential": "two.pem"},
        {"domain": "*.four.test", "selector": "any", "key_file": "/nowhere/{domain}.pem"},
    ]
    settings = Settings.model_validate({"server": {"state_directory": str(tmp_path)}, "dkim": tables})
    ring = open_signing_ring(settings, clock)
    ring.make("three.test", "a", "ed25519")
    found = check_signing(settings, {}, clock)
    assert sorted(finding.what.split(":")[0] for finding in found) == [
        "the key of s1._domainkey.one.test",
        "the key of s2._domainkey.two.test",
    ]
    ring.activate("three.test", "a", 1.0)
    (tmp_path / "one.pem").write_bytes(ring.path("three.test", "a").read_bytes())
    (tmp_path / "one.pem").chmod(0o600)
    (tmp_path / "two.pem").write_bytes(ring.path("three.test", "a").read_bytes())
    (tmp_path / "two.pem").chmod(0o400)
    (only,) = check_signing(settings, {"CREDENTIALS_DIRECTORY": str(tmp_path)}, clock)
    assert (only.level, only.what) == (Level.GOOD, "3 signing keys can be used")
    ring.path("three.test", "a").unlink()
    found = check_signing(settings, {"CREDENTIALS_DIRECTORY": str(tmp_path)}, clock)
    assert [finding.level for finding in found] == [Level.FAULT]
    assert check_signing(Settings(), {}, clock) == []


@pytest.mark.parametrize("is_allowed", [False, True])
def test_a_signing_key_that_is_too_short_is_a_fault_unless_it_may_be(
    tmp_path: Path, is_allowed: bool
) -> None:
    (tmp_path / "one.pem").write_bytes(pem("rsa1024"))
    (tmp_path / "one.pem").chmod(0o600)
    table = {
        "domain": "one.test",
        "selector": "s1",
        "key_file": str(tmp_path / "one.pem"),
        "allow_short_key": is_allowed,
    }
    settings = Settings.model_validate({"server": {"state_directory": str(tmp_path)}, "dkim": [table]})
    (only,) = check_signing(settings, {}, SystemClock())
    assert (only.level, only.what) == (
        (Level.GOOD, "1 signing keys can be used")
        if is_allowed
        else (
            Level.FAULT,
            "the key of s1._domainkey.one.test: it has 1024 bits: make one of 2048, or set allow_short_key",
        )
    )


@pytest.mark.parametrize("closed", ["stat", "read_bytes"], ids=["the folder", "the files"])
async def test_a_certificate_that_the_server_may_not_read_is_a_fault_among_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: str
) -> None:
    """As those that a tool of root's renews; what else is wrong is told too."""
    folder = tmp_path / "certificates"
    folder.mkdir()
    certificate, key = certificate_files(folder, 1_800_000_000.0)
    before = getattr(Path, closed)

    def refused(path: Path, *given: Any, **named: Any) -> Any:
        if path.parent == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return before(path, *given, **named)

    listener = {"name": "smtp", "tls": "starttls", "certificate": certificate, "private_key": key}
    chosen = settings(
        server={"state_directory": tmp_path / "state", "users_file": folder / "users.toml"},
        listener=[listener],
        delivery={"default": {"tls": "required", "auth_user": "us", "password_file": str(tmp_path / "none")}},
    )
    monkeypatch.setattr(Path, closed, refused)
    found = check_ownership(chosen, [])
    faults = [each.what for each in found if each.level is Level.FAULT]
    for path in (key, folder / "users.toml"):
        assert (f"{path} cannot be read by" in "\n".join(faults)) is (closed == "stat")
    assert f"{tmp_path / 'none'} is not there; mail that needs it waits" in faults
    if closed == "stat":  # OpenSSL itself is let in here
        assert len(exposure.check_certificates(chosen, 1_800_000_000.0)) == 1


async def test_who_may_not_look_into_the_state_is_told_who_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path) != tmp_path)
    chosen = settings(server={"state_directory": str(tmp_path)})
    [found] = await examine(chosen, [], SystemClock, {})
    assert level([found]) is Level.FAULT
    assert str(tmp_path) in found.what
    assert "run the doctor as " in found.mend
