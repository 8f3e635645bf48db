"""The key ring: files that only we can read, rotation that loses nothing, destruction for good."""

import os
from pathlib import Path

import pytest

from outrider.base.clock import FakeClock
from outrider.base.errors import ConfigError, KeyAbsentError, NotAuthenticError, StoreError
from outrider.base.faults import Fault, FaultyFiles
from outrider.base.files import Files, OsFiles
from outrider.base.log import ListLog
from outrider.model.address import Address
from outrider.privacy.aead import RingSpoolKeys
from outrider.privacy.keyfile import KEY_OCTETS, Key, Purpose, format_key, new_key
from outrider.privacy.keyring import LiveRing, credentials_directory, read_ring
from outrider.privacy.keystore import KeyStore
from outrider.privacy.token import LiveTokens, Tokens

ALICE = Address("alice", "example.com")
SECRET = bytes(range(KEY_OCTETS))


class Desk:
    """A key directory and who changes it."""

    def __init__(self, path: Path, files: Files | None = None, credentials: Path | None = None) -> None:
        self.path = path / "keys"
        self.log = ListLog()
        self.store = KeyStore(files or OsFiles(), self.path, credentials, FakeClock(), self.log)

    def file(self, name: str) -> Path:
        return self.path / name


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def write(directory: Path, key: Key, mode: int = 0o600, name: str = "") -> Path:
    directory.mkdir(mode=0o700, exist_ok=True)
    path = directory / (name or f"{key.name}.key")
    path.write_text(format_key(key))
    path.chmod(mode)
    return path


def test_a_made_key_is_read_back_and_only_we_can_read_it(desk: Desk) -> None:
    key = desk.store.add(Purpose.SPOOL)
    ring = read_ring(desk.path)
    assert ring.newest(Purpose.SPOOL) == key
    assert desk.file("spool-1.key").stat().st_mode & 0o777 == 0o600
    assert desk.path.stat().st_mode & 0o777 == 0o700


def test_no_secret_is_shown_or_logged(desk: Desk) -> None:
    key = desk.store.add(Purpose.LOG)
    said = repr(desk.log.lines) + repr(key) + repr(read_ring(desk.path).of())
    assert key.fingerprint in said
    assert repr(key.secret) not in said
    assert key.secret.hex() not in said
    assert format_key(key).splitlines()[-1] not in said


def test_rotation_keeps_old_versions_readable(desk: Desk) -> None:
    first = desk.store.add(Purpose.SPOOL)
    sealed = RingSpoolKeys(LiveRing(desk.path)).cipher(1, b"salt", b"c").seal(b"n" * 12, b"text", b"a")
    second = desk.store.add(Purpose.SPOOL)
    ring = read_ring(desk.path)
    assert (first.version, second.version) == (1, 2)
    assert ring.newest(Purpose.SPOOL) == second
    keys = RingSpoolKeys(LiveRing(desk.path))
    assert keys.newest() == 2
    assert keys.cipher(1, b"salt", b"c").open(b"n" * 12, sealed, b"a") == b"text"
    for version, salt, context in ((2, b"salt", b"c"), (1, b"salz", b"c"), (1, b"salt", b"d")):
        with pytest.raises(NotAuthenticError):
            keys.cipher(version, salt, context).open(b"n" * 12, sealed, b"a")


def test_purposes_have_versions_of_their_own(desk: Desk) -> None:
    names = [desk.store.add(purpose).name for purpose in (Purpose.LOG, Purpose.SPOOL, Purpose.LOG)]
    assert names == ["log-1", "spool-1", "log-2"]
    assert desk.store.ensure(Purpose.LOG) is None
    assert desk.store.ensure(Purpose.SEAL) is not None


def test_a_destroyed_key_is_gone_says_so_and_its_number_is_never_used_again(desk: Desk) -> None:
    for _ in range(2):
        desk.store.add(Purpose.SPOOL)
    desk.store.destroy(Purpose.SPOOL, 1, 'the "campaign" is over\n')
    ring = read_ring(desk.path)
    with pytest.raises(KeyAbsentError, match=r'spool-1 was destroyed at .* \(the "campaign" is over\)'):
        ring.get(Purpose.SPOOL, 1)
    assert not desk.file("spool-1.key").exists()
    assert desk.store.add(Purpose.SPOOL).version == 3
    with pytest.raises(KeyAbsentError, match="destroyed"):
        desk.store.destroy(Purpose.SPOOL, 1, "again")


def test_destroying_overwrites_before_it_unlinks(tmp_path: Path) -> None:
    seen: list[bytes] = []

    class Watching(OsFiles):
        def unlink(self, path: str) -> None:
            seen.append(Path(path).read_bytes())
            super().unlink(path)

    desk = Desk(tmp_path, Watching())
    desk.store.add(Purpose.LOG)
    desk.store.add(Purpose.LOG)
    desk.store.destroy(Purpose.LOG, 1, "over")
    assert seen
    assert seen[-1].strip(b"\0") == b""


@pytest.mark.parametrize("operation", ["pwritev", "unlink"])
def test_a_destruction_that_is_interrupted_counts_and_can_be_repeated(tmp_path: Path, operation: str) -> None:
    faults = [Fault(operation, "*/log-1.key", 1, 5)]
    desk = Desk(tmp_path, FaultyFiles(OsFiles(), faults))
    faults[0].at = 99
    desk.store.add(Purpose.LOG)
    desk.store.add(Purpose.LOG)
    faults[0].seen, faults[0].at = 0, 1
    with pytest.raises(ConfigError):
        desk.store.destroy(Purpose.LOG, 1, "over")
    assert desk.file("log-1.key").exists()
    with pytest.raises(KeyAbsentError, match="destroyed"):
        read_ring(desk.path).get(Purpose.LOG, 1)
    desk.store.finish_destructions()
    assert not desk.file("log-1.key").exists()
    assert read_ring(desk.path).newest(Purpose.LOG).version == 2


@pytest.mark.parametrize("reason", ["", "  ", "x" * 201])
def test_destroying_asks_for_a_reason(desk: Desk, reason: str) -> None:
    desk.store.add(Purpose.LOG)
    desk.store.add(Purpose.LOG)
    with pytest.raises(StoreError, match="reason"):
        desk.store.destroy(Purpose.LOG, 1, reason)
    assert read_ring(desk.path).get(Purpose.LOG, 1).version == 1


def test_the_newest_key_is_not_destroyed(desk: Desk) -> None:
    desk.store.add(Purpose.LOG)
    with pytest.raises(StoreError, match="rotate log"):
        desk.store.destroy(Purpose.LOG, 1, "over")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644])
def test_a_key_that_others_can_read_or_change_is_refused(tmp_path: Path, mode: int) -> None:
    write(tmp_path / "keys", new_key(Purpose.LOG, 1, SECRET, 0.0), mode)
    with pytest.raises(ConfigError) as caught:
        read_ring(tmp_path / "keys")
    assert f"mode {mode:04o}" in str(caught.value)
    assert "chmod 0600" in str(caught.value)


@pytest.mark.parametrize("mode", [0o770, 0o722])
def test_a_directory_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    write(tmp_path / "keys", new_key(Purpose.LOG, 1, SECRET, 0.0))
    (tmp_path / "keys").chmod(mode)
    with pytest.raises(ConfigError, match="has faults") as caught:
        read_ring(tmp_path / "keys")
    assert "chmod 0700" in str(caught.value)


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    write(keys, new_key(Purpose.LOG, 1, SECRET, 0.0), 0o644)
    write(keys, new_key(Purpose.LOG, 2, SECRET, 0.0), name="log-3.key")
    damaged = write(keys, new_key(Purpose.SPOOL, 1, SECRET, 0.0))
    damaged.write_text(damaged.read_text().replace('key = "AA', 'key = "AB'))
    write(keys, new_key(Purpose.SEAL, 1, SECRET, 0.0)).write_bytes(b"\xff")
    write(keys, new_key(Purpose.SEAL, 2, SECRET, 0.0)).write_text("#" * 5_000)
    with pytest.raises(ConfigError) as caught:
        read_ring(keys)
    assert len(caught.value.faults) == 5
    assert "AB" not in str(caught.value)


def test_files_of_other_names_are_nobodys_business(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    write(keys, new_key(Purpose.LOG, 1, SECRET, 0.0))
    for name in ("lock", "README", "log-0.key", "log-1.key.new", "other-1.key", "log-99999999999.key"):
        (keys / name).write_text("nonsense")
    assert [key.name for key in read_ring(keys).of()] == ["log-1"]


def test_keys_come_from_systemds_credentials_too(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    write(credentials, new_key(Purpose.SPOOL, 1, SECRET, 0.0), 0o440)
    assert credentials_directory({"CREDENTIALS_DIRECTORY": str(credentials)}) == credentials
    assert credentials_directory({}) is None
    desk = Desk(tmp_path, credentials=credentials)
    assert desk.store.add(Purpose.SPOOL).version == 2
    ring = read_ring(desk.path, credentials)
    assert [key.version for key in ring.of(Purpose.SPOOL)] == [1, 2]
    with pytest.raises(StoreError, match="credential of systemd"):
        desk.store.destroy(Purpose.SPOOL, 1, "over")
    write(desk.path, new_key(Purpose.SPOOL, 1, SECRET[::-1], 0.0))
    with pytest.raises(ConfigError) as caught:
        read_ring(desk.path, credentials)
    assert "different keys of one name" in str(caught.value)


def test_a_credential_that_everybody_can_read_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "credentials", new_key(Purpose.SPOOL, 1, SECRET, 0.0), 0o444)
    with pytest.raises(ConfigError):
        read_ring(tmp_path / "keys", tmp_path / "credentials")


def test_two_who_change_the_ring_do_not_meet(desk: Desk) -> None:
    desk.store.add(Purpose.LOG)
    files = OsFiles()
    lock = files.open(str(desk.file("lock")), os.O_RDWR)
    assert files.lock(lock)
    with pytest.raises(ConfigError, match="being changed by another"):
        desk.store.add(Purpose.LOG)
    files.close(lock)


def test_a_running_server_takes_up_a_rotation_and_survives_a_fault(desk: Desk) -> None:
    desk.store.add(Purpose.LOG)
    live = LiveRing(desk.path)
    tokens = LiveTokens(live)
    before = tokens.token(ALICE)
    assert not tokens.refresh()
    desk.store.add(Purpose.LOG)
    assert tokens.refresh()
    after = tokens.token(ALICE)
    assert before.startswith("t1.")
    assert after.startswith("t2.")
    desk.file("log-2.key").write_text("nonsense")
    os.utime(desk.path, ns=(0, 2))
    assert not tokens.refresh()
    assert tokens.token(ALICE) == after


def test_a_token_is_the_same_for_one_address_in_any_case_and_for_no_other(desk: Desk) -> None:
    desk.store.add(Purpose.LOG)
    tokens = Tokens(read_ring(desk.path))
    one = tokens.token(ALICE)
    assert one == tokens.token(Address("ALICE", "example.com"))
    others = [
        Address("alicf", "example.com"),
        Address("alice", "example.org"),
        Address("alic", "eexample.com"),
    ]
    assert one not in {tokens.token(other) for other in others}
    assert len(one) == len("t1.") + 24
    assert one == one.lower()


def test_every_version_finds_its_tokens_until_it_is_destroyed(desk: Desk) -> None:
    shown = []
    for _ in range(3):
        desk.store.add(Purpose.LOG)
        shown.append(Tokens(read_ring(desk.path)).token(ALICE))
    assert Tokens(read_ring(desk.path)).all_tokens(ALICE) == shown[::-1]
    desk.store.destroy(Purpose.LOG, 2, "over")
    assert Tokens(read_ring(desk.path)).all_tokens(ALICE) == [shown[2], shown[0]]


def test_without_a_log_key_there_are_no_tokens(tmp_path: Path) -> None:
    with pytest.raises(KeyAbsentError, match="outrider keys generate log"):
        Tokens(read_ring(tmp_path))
