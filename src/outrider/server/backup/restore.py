"""Brings a copy back: verifies all of it, then writes it where it was, on a machine that has nothing there.

In: a copy and, for its secrets, the passphrase. Out: configuration, keys, control database and spool in their
places, or below another root.

Theory: what was delivered after the copy was made is in no log of the copy, so it is sent again; what was
recorded as delivered before is not. New logs get numbers far beyond those of the copy, because the server
that made it went on to use the next ones, and an entry's number must never mean two messages.

Invariant: nothing is written before everything was verified, and nothing that exists is overwritten.
"""

import contextlib
import fcntl
import hashlib
import hmac
import os
import pwd
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

import msgspec

from outrider.base.files import OsFiles, directory_of
from outrider.privacy.passphrase import unseal
from outrider.server.backup.manifest import (
    CONTROL,
    SECRETS,
    BackupError,
    Manifest,
    Secrets,
    read_manifest,
    verify_files,
)
from outrider.server.suspensions import FILE as SUSPENSIONS
from outrider.spool import frames
from outrider.spool.directory import LOST_COUNTER_GAP
from outrider.spool.frames import FormatError

DIRECTORY_MODE = 0o700
SECRET_MODE = 0o600
LOCK = "server.lock"
_NEXT_LOG = "spool/next_log"


class RunningError(BackupError):
    """A server works on the target."""


class OccupiedError(BackupError):
    """Something is at the target already."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A copy that was verified whole.

    Attributes:
        path: Where it is.
        manifest: Its manifest.
        secrets: Its secret files by their place; None where it has none or they were not asked for.
    """

    path: Path
    manifest: Manifest
    secrets: dict[str, bytes] | None


@dataclass(frozen=True, slots=True)
class Restored:
    """What was written.

    Attributes:
        config: The configuration file.
        state_directory: The state directory.
        files: How many files were written.
        owner: User who owns them now.
    """

    config: Path
    state_directory: Path
    files: int
    owner: str


def open_backup(path: Path, passphrase: str | None) -> Opened:
    """Read and verify a copy; nothing is written.

    Args:
        path: The copy.
        passphrase: For its secrets; None leaves them.

    Raises:
        BackupError: It is damaged, or of another program.
        FormatError: A newer program wrote its spool.
        PassphraseError: The passphrase is wrong.
    """
    manifest, octets = read_manifest(path)
    if manifest.spool_format > frames.FORMAT:
        raise FormatError(
            f"the spool in {path} has format {manifest.spool_format}, this program knows {frames.FORMAT}: "
            f"restore it with outrider {manifest.program}"
        )
    secrets = None
    if passphrase is not None and manifest.has_secrets:
        try:
            sealed = (path / SECRETS).read_bytes()
        except OSError as error:
            raise BackupError(f"{path / SECRETS} cannot be read: {error.strerror}") from error
        found = msgspec.msgpack.decode(unseal(sealed, passphrase), type=Secrets)
        if not hmac.compare_digest(found.manifest_sha256, hashlib.sha256(octets).hexdigest()):
            raise BackupError(f"the manifest of {path} is not the one that was sealed with its secrets")
        secrets = found.files
    verify_files(path, manifest)
    return Opened(path, manifest, secrets)


def restore(opened: Opened, root: Path, *, owner: str = "", with_config: bool = True) -> Restored:
    """Write a verified copy.

    Args:
        opened: The copy.
        root: `/` for the places where everything was, or a folder below which it goes.
        owner: User who shall own what is written; empty: the user who owned it, when root restores.
        with_config: Write the configuration too; otherwise the one that is there stays.

    Raises:
        RunningError: A server works there.
        OccupiedError: Something that would be written exists.
        BackupError: It cannot be written.
    """
    manifest = opened.manifest
    state = _below(root, manifest.state_directory)
    plan = _planned(opened, root, with_config=with_config)
    try:
        lock = _guard(state, [target for target, _, _ in plan])
        made: list[Path] = []
        written: list[Path] = []
        try:
            for target, source, mode in plan:
                made += _make_folder(target.parent)
                _write(target, source, mode)
                written.append(target)
            chosen = _give(owner or manifest.owner, [state, *made, *written])
        except BaseException:  # a server must not start on a part of it
            _take_back(written, made)
            raise
        finally:
            os.close(lock)
    except OSError as error:
        raise BackupError(f"cannot restore: {error}; what was written is removed again") from error
    return Restored(_below(root, manifest.config), state, len(plan), chosen)


def _below(root: Path, place: str) -> Path:
    return root / place.lstrip("/")


def _planned(opened: Opened, root: Path, *, with_config: bool) -> list[tuple[Path, Path | bytes, int]]:
    """(target, source, mode) of every file."""
    manifest = opened.manifest
    state = _below(root, manifest.state_directory)
    plan: list[tuple[Path, Path | bytes, int]] = []
    for entry in manifest.files:
        source = opened.path / entry.name
        if entry.name == _NEXT_LOG:
            plan.append((state / entry.name, _far_beyond(source), SECRET_MODE))
        elif entry.name.startswith("spool/") or entry.name == SUSPENSIONS:
            plan.append((state / entry.name, source, SECRET_MODE))
        elif entry.name == CONTROL:
            plan.append((_below(root, entry.place), source, SECRET_MODE))
        elif with_config:
            plan.append((_below(root, entry.place), source, entry.mode & 0o640))
    secrets = opened.secrets or {}
    for place in secrets:
        if not place.startswith("/") or ".." in place.split("/"):
            raise BackupError(f"the secrets of {opened.path} name the place {place!r}")
    # copies of older programs have a file with a certificate and its key in both parts
    sealed = {_below(root, place): octets for place, octets in secrets.items()}
    plan = [one for one in plan if one[0] not in sealed]
    return plan + [(target, octets, SECRET_MODE) for target, octets in sealed.items()]


def _guard(state: Path, targets: list[Path]) -> int:
    """The server's lock of the state directory, which is empty but for it; a descriptor."""
    state.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    lock = os.open(state / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, SECRET_MODE)
    try:
        _check_target(state, lock, targets)
    except BaseException:
        os.close(lock)
        raise
    return lock


def _check_target(state: Path, lock: int, targets: list[Path]) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RunningError(f"a server works on {state}; stop it first, nothing was written") from None
    there = sorted(path.name for path in state.iterdir() if path.name != LOCK)
    if there:
        raise OccupiedError(
            f"{state} is not empty ({', '.join(there[:5])}); move it away first, nothing was written"
        )
    taken = [str(path) for path in targets if path.exists()]
    if taken:
        raise OccupiedError(
            f"{', '.join(taken[:5])} exists already; move it away, or keep the configuration that is there "
            "(--keep-config); nothing was written"
        )


def _make_folder(folder: Path) -> list[Path]:
    """Make a directory and those above it that are missing, closed to others; returns them."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        each.mkdir(mode=DIRECTORY_MODE)
    return missing


def _write(target: Path, source: Path | bytes, mode: int) -> None:
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if isinstance(source, bytes):
                file.write(source)
            else:
                with source.open("rb") as original:
                    shutil.copyfileobj(original, file, 1 << 20)
            file.flush()
            os.fdatasync(file.fileno())
        OsFiles().sync_directory(directory_of(str(target)))
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _take_back(written: list[Path], made: list[Path]) -> None:
    """Remove files, and the directories that were made for them."""
    with contextlib.suppress(OSError):  # what cannot be removed either stays, and the next restore names it
        for path in written:
            path.unlink(missing_ok=True)
        for folder in sorted(made, key=lambda each: len(each.parts), reverse=True):
            folder.rmdir()


def _far_beyond(counter: Path) -> bytes:
    """A counter from which new logs begin far beyond the numbers that the server may have used since."""
    try:
        return b"%d\n" % (int(counter.read_text("ascii")) + LOST_COUNTER_GAP)
    except (OSError, ValueError) as error:
        raise BackupError(f"{counter} holds no number of a log: {error}") from error


def _give(owner: str, paths: list[Path]) -> str:
    """Give what was written to `owner`, where we may; returns who owns it."""
    us = os.geteuid()
    if us == 0 and owner:
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(owner)
            for path in paths:
                everything = (path, *path.rglob("*")) if stat.S_ISDIR(path.stat().st_mode) else (path,)
                for each in everything:
                    os.chown(each, user.pw_uid, user.pw_gid, follow_symlinks=False)
            return owner
    return pwd.getpwuid(us).pw_name
