"""Where a restore puts things, and whose they are afterwards."""

import errno
import os
import pwd
import stat
from pathlib import Path

import pytest

from outrider.server.backup.manifest import FORMAT, BackupError, FileEntry, Manifest
from outrider.server.backup.restore import Opened, restore
from outrider.spool import frames
from outrider.spool.directory import LOST_COUNTER_GAP


def copied(folder: Path, counter: bytes = b"7\n") -> Opened:
    """A copy of a configuration, a key outside the state directory, and an empty spool."""
    files = {"files/0": b"[server]\n", "spool/format": b"%d\n" % frames.FORMAT, "spool/next_log": counter}
    for name, octets in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(octets)
    manifest = Manifest(
        format=FORMAT,
        program="1",
        made="2026-04-01T02:00:00Z",
        hostname="mx.test",
        config="/etc/outrider/outrider.toml",
        state_directory="/var/lib/outrider",
        owner="",
        spool_format=frames.FORMAT,
        database="none",
        has_secrets=True,
        files=[
            FileEntry(name, len(octets), "", "/etc/outrider/outrider.toml" if name == "files/0" else "")
            for name, octets in files.items()
        ],
    )
    return Opened(folder, manifest, {"/srv/outrider-keys/spool-1.key": b"secret"})


def test_the_owner_can_reach_everything_that_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: set[Path] = set()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", lambda path, *_ids, **_how: given.add(Path(path)))
    root = tmp_path / "root"
    root.mkdir()
    opened = copied(tmp_path / "copy")
    restore(opened, root, owner=pwd.getpwuid(os.getuid()).pw_name)
    config, key = root / "etc/outrider/outrider.toml", root / "srv/outrider-keys/spool-1.key"
    assert {config, config.parent, key, key.parent, root / "var/lib/outrider/spool/format"} <= given
    assert root not in given, "what was there stays whose it was"
    for path in (config.parent, key.parent):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_new_logs_begin_far_beyond_those_of_the_copy(tmp_path: Path) -> None:
    restore(copied(tmp_path / "copy"), tmp_path / "root")
    counter = tmp_path / "root/var/lib/outrider/spool/next_log"
    assert int(counter.read_text()) == 7 + LOST_COUNTER_GAP


def test_a_counter_that_is_none_restores_nothing(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="no number"):
        restore(copied(tmp_path / "copy", b"seven\n"), tmp_path / "root")
    assert not (tmp_path / "root").exists()


def test_a_restore_that_fails_leaves_nothing_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = copied(tmp_path / "copy")
    root = tmp_path / "root"
    sync = os.fdatasync
    synced: list[int] = []

    def full(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) == len(opened.manifest.files):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(os, "fdatasync", full)
    with pytest.raises(BackupError, match="No space left"):
        restore(opened, root)
    assert [path.name for path in root.rglob("*") if path.is_file()] == ["server.lock"]
    assert not (root / "etc").exists()
    monkeypatch.setattr(os, "fdatasync", sync)
    assert restore(opened, root).files == len(opened.manifest.files) + 1
