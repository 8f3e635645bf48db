"""Which files a copy holds in clear, which under the passphrase, and that all of them come back."""

from dataclasses import replace
from pathlib import Path

import pytest

from outrider.base.clock import FakeClock
from outrider.base.files import OsFiles
from outrider.base.log import ListLog
from outrider.server.backup.make import Made, make_backup
from outrider.server.backup.restore import open_backup, restore
from outrider.server.configuration import read
from outrider.spool.engine import EmbeddedEngine
from tests.spool.samples import small_as, spool_keys, stored

PASSPHRASE = "correct horse battery staple"
KEY = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----\n"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
CONFIG = """
[server]
hostname = "mx.test"
state_directory = "state"
[[listener]]
name = "submission"
port = 2525
tls = "starttls"
certificate = "{certificate}"
private_key = "{private_key}"
[net.tls]
ca_file = "authorities.pem"
"""


def site(folder: Path, certificate: str, private_key: str) -> Path:
    folder.mkdir()
    (folder / "both.pem").write_text(KEY + CERTIFICATE, encoding="utf-8")
    (folder / "key.pem").symlink_to("both.pem")
    (folder / "authorities.pem").write_text(CERTIFICATE, encoding="utf-8")
    config = folder / "outrider.toml"
    config.write_text(CONFIG.format(certificate=certificate, private_key=private_key), encoding="utf-8")
    return config


@pytest.mark.parametrize("private_key", ["both.pem", "key.pem"])
def test_a_key_in_the_file_of_its_certificate_is_sealed_and_comes_back(
    tmp_path: Path, private_key: str
) -> None:
    config = site(tmp_path / "site", "both.pem", private_key)
    found = read(config, {})
    for passphrase in (None, PASSPHRASE):
        into = tmp_path / f"copies-{passphrase is None}"
        made = make_backup(found.settings, found.sources.files, into, FakeClock(), passphrase=passphrase)
        for path in made.path.rglob("*"):
            assert path.is_dir() or KEY.encode() not in path.read_bytes(), path
    root = tmp_path / "root"
    restore(open_backup(made.path, PASSPHRASE), root)
    for name in ("both.pem", private_key, "authorities.pem", "outrider.toml"):
        back = root / str(config.parent / name).lstrip("/")
        assert back.read_bytes() == (config.parent / name).read_bytes()


def test_what_an_older_copy_has_in_clear_and_sealed_is_written_once(tmp_path: Path) -> None:
    config = site(tmp_path / "site", "both.pem", "both.pem")
    found = read(config, {})
    made = make_backup(
        found.settings, found.sources.files, tmp_path / "copies", FakeClock(), passphrase=PASSPHRASE
    )
    opened = open_backup(made.path, PASSPHRASE)
    assert opened.secrets is not None
    place = str(config)
    restore(replace(opened, secrets={**opened.secrets, place: b"sealed\n"}), tmp_path / "root")
    assert (tmp_path / "root" / place.lstrip("/")).read_bytes() == b"sealed\n"


def test_copies_of_other_servers_in_the_same_folder_stay(tmp_path: Path) -> None:
    clock = FakeClock()
    made: dict[str, list[Path]] = {"one": [], "two": []}
    for name in ("one", "two", "one", "two"):
        folder = tmp_path / name
        config = folder / "outrider.toml" if folder.exists() else site(folder, "both.pem", "both.pem")
        found = read(config, {})
        clock.advance(1)
        copy = make_backup(
            found.settings, found.sources.files, tmp_path / "copies", clock, passphrase=None, keep=1
        )
        assert list(copy.removed) == made[name][-1:]
        made[name].append(copy.path)
    assert set((tmp_path / "copies").iterdir()) == {made["one"][-1], made["two"][-1]}


def test_what_was_suspended_stays_suspended_in_the_copy(tmp_path: Path) -> None:
    config = site(tmp_path / "site", "both.pem", "both.pem")
    found = read(config, {})
    kept = found.settings.server.state_directory / "suspensions.json"
    kept.parent.mkdir()
    kept.write_text('{"next_number": 2, "suspensions": []}', encoding="utf-8")
    into = tmp_path / "copies"
    made = make_backup(found.settings, found.sources.files, into, FakeClock(), passphrase=None)
    root = tmp_path / "root"
    restore(open_backup(made.path, None), root, with_config=False)
    assert (root / str(kept).lstrip("/")).read_bytes() == kept.read_bytes()


async def test_a_key_that_the_queue_needs_and_the_copy_lacks_is_named(tmp_path: Path) -> None:
    config = site(tmp_path / "site", "both.pem", "both.pem")
    found = read(config, {})
    state = found.settings.server.state_directory
    state.mkdir()
    for version in (1, 2):  # the first of them as a credential of systemd is: nowhere on disk
        engine = await EmbeddedEngine.open(
            OsFiles(),
            str(found.settings.server.spool_directory),
            small_as("aes"),
            FakeClock(),
            ListLog(),
            keys=spool_keys(1, version),
        )
        await engine.commit([stored(engine.reserve(1), b"hello", number=version)], [[b"hello"]])
        await engine.close()
    keys = found.settings.key_directory
    keys.mkdir(mode=0o700)
    (keys / "spool-2.key").touch()
    clock = FakeClock()

    def made(passphrase: str | None) -> Made:
        clock.advance(1)
        return make_backup(
            found.settings, found.sources.files, tmp_path / "copies", clock, passphrase=passphrase
        )

    assert made(PASSPHRASE).missing_keys == ("spool-1",)
    assert made(None).missing_keys == ("spool-1", "spool-2")
    (keys / "spool-1.destroyed").touch()
    assert made(PASSPHRASE).missing_keys == (), "nobody looks for what was destroyed on purpose"
