"""Makes a copy of configuration, keys, control database and spool, while the server runs or not.

In: validated settings and the files that they came from. Out: a folder with a manifest. It is written
beside its name and renamed when all of it is on disk, so a folder of that name is always whole.

Theory: keys come last, because a key is on disk before the first frame that it seals; so whatever the copy of
the spool needs is there. The spool's checkpoint is not copied: it is a cache of the logs.

Invariant: secrets are written only under the passphrase; a copy holds every recipient that was accepted,
and every delivery that was recorded, before it was begun.
"""

import contextlib
import hashlib
import os
import pwd
import shutil
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from outrider.base.clock import Clock, format_utc
from outrider.base.files import OsFiles
from outrider.base.private_files import is_there
from outrider.privacy.keyfile import Purpose
from outrider.privacy.passphrase import seal
from outrider.server.backup.manifest import (
    CONTROL,
    FORMAT,
    MANIFEST,
    SECRETS,
    BackupError,
    FileEntry,
    Manifest,
    Secrets,
    digest_of,
    format_manifest,
    read_manifest,
)
from outrider.server.settings import Settings
from outrider.server.suspensions import FILE as SUSPENSIONS
from outrider.spool import frames
from outrider.spool.census import sealed_by_version
from outrider.spool.directory import SpoolDirectory, segment_name
from outrider.spool.snapshot import Pinned, pin, sealed_ends
from outrider.store.engine import database_path
from outrider.store.online_copy import copy_database

DIRECTORY_MODE = 0o700
CHUNK_OCTETS = 1 << 20
SECRET_OCTETS_MAX = 1 << 20
# chosen: keys have some hundred octets; what is longer is none
NAME_FORMAT = "outrider-%s"
_KEY_MARK = b"PRIVATE KEY-----"
# RFC 7468 §10 (and RFC 7468 §11), and what older programs write: `RSA PRIVATE KEY`
_PARTIAL = ".partial"


@dataclass(slots=True)
class _Copy:
    """A copy that is being written."""

    folder: Path
    link: bool
    files: list[FileEntry] = field(default_factory=list)
    linked: int = 0

    def take(self, name: str, place: str = "", mode: int = 0o600) -> None:
        """A file that was written below `folder` belongs to the copy."""
        path = self.folder / name
        octets, sha256 = digest_of(path)
        self.files.append(FileEntry(name, octets, sha256, place, mode))


@dataclass(frozen=True, slots=True)
class Made:
    """What was copied.

    Attributes:
        path: The copy.
        manifest: Its manifest.
        octets: Of all its files.
        secrets: How many secret files are sealed in it.
        linked: How many segments share their octets with the spool.
        removed: Older copies that were removed.
        missing_keys: Names of keys that frames of its spool need, and that are not in it; those that were
            destroyed on purpose are not missed.
    """

    path: Path
    manifest: Manifest
    octets: int
    secrets: int
    linked: int
    removed: tuple[Path, ...]
    missing_keys: tuple[str, ...] = ()


def made_facts(made: Made) -> dict[str, Any]:
    """A copy as it is told to machines."""
    return {
        "path": str(made.path),
        "files": len(made.manifest.files),
        "octets": made.octets,
        "secrets": made.secrets,
        "linked": made.linked,
        "database": made.manifest.database,
        "removed": [str(path) for path in made.removed],
        "missing_keys": list(made.missing_keys),
    }


def plain_files(settings: Settings, config_files: Iterable[Path]) -> list[Path]:
    """Files of the configuration that are no secrets, scripts among them: no server starts without those."""
    found = [path.absolute() for path in config_files]
    if settings.server.users_file is not None:
        found.append(settings.server.users_file)
    found += _certificates(settings)
    found += settings.policy.files()
    secret = {*secret_files(settings)}
    return [path for path in _distinct(found) if path not in secret]


def _certificates(settings: Settings) -> list[Path]:
    """Certificates of listeners, and of those whom we believe."""
    found = [one.certificate for one in settings.listener if one.certificate is not None]
    if settings.net.tls.ca_file is not None:
        found.append(settings.net.tls.ca_file)
    return found + [one.ca_file for one in settings.data_source if one.ca_file is not None]


def secret_files(settings: Settings) -> list[Path]:
    """Files that are secret: the key ring, private keys, the database's password."""
    found: list[Path] = []
    if settings.key_directory.is_dir():
        found += [path for path in sorted(settings.key_directory.iterdir()) if path.name != "lock"]
    if settings.signing_directory.is_dir():
        found += [path for path in sorted(settings.signing_directory.rglob("*")) if path.name != "lock"]
    found += [path for one in settings.dkim for path in one.key_files()]
    found += [one.private_key for one in settings.listener if one.private_key is not None]
    # one file may hold a certificate and its key
    found += [path for path in _certificates(settings) if _holds_key(path)]
    if settings.store.password_file is not None:
        found.append(settings.store.password_file)
    found += [one.password_file for one in settings.data_source if one.password_file is not None]
    return _distinct(found + delivery_passwords(settings))


def delivery_passwords(settings: Settings) -> list[Path]:
    """Files of passwords for hosts and proxies, also where there is none; read as mail goes there."""
    delivery = settings.delivery
    found = [Path(one.password_file) for one in (delivery.default, *delivery.override) if one.password_file]
    senders = (delivery.default, *delivery.override, *settings.binding)
    return found + [Path(one.proxy_password_file) for one in senders if one.proxy_password_file]


def _holds_key(path: Path) -> bool:
    try:
        return path.is_file() and _KEY_MARK in path.read_bytes()
    except PermissionError:
        return False  # who copies it, or shows it to clients, meets that too, and says so


def _distinct(paths: Iterable[Path]) -> list[Path]:
    return [path for path in dict.fromkeys(path.absolute() for path in paths) if is_there(path)]


def make_backup(
    settings: Settings,
    config_files: Sequence[Path],
    into: Path,
    clock: Clock,
    *,
    passphrase: str | None,
    link: bool = True,
    keep: int = 0,
    before_spool: Callable[[], None] = lambda: None,
) -> Made:
    """Make a copy in a new folder below `into`.

    Args:
        settings: Of the server, resolved.
        config_files: Files that the settings came from, the main one first.
        into: Where copies are; made when absent.
        clock: For the copy's name.
        passphrase: For the secrets; None leaves them out, which the caller must have been told to do.
        link: Let segments that never change again share their octets with the spool where that is possible.
        keep: Remove older copies of this server beyond so many; 0 keeps all.
        before_spool: For tests: called between the other parts and the spool.

    Raises:
        BackupError: Something cannot be read or written; there is no new copy then.
        StoreError: The control database cannot be copied.
        SpoolError: The spool cannot be read.
    """
    now = format_utc(clock.wall())
    stamp = now.partition(".")[0].rstrip("Z").replace("-", "").replace(":", "") + "Z"
    target = into / (NAME_FORMAT % stamp)
    partial = into / f"{target.name}{_PARTIAL}"
    try:
        into.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        if target.exists():
            raise BackupError(f"{target} exists already; try again in a second")
        partial.mkdir(mode=DIRECTORY_MODE)
        try:
            made = _write(settings, config_files, _Copy(partial, link), passphrase, now, before_spool)
            _sync_tree(partial)
            partial.rename(target)
            OsFiles().sync_directory(str(into))
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    except OSError as error:
        remedy = "; become root or the user of the server" if isinstance(error, PermissionError) else ""
        why = f"{error.filename or into}: {error.strerror or error}{remedy}"
        raise BackupError(f"the copy cannot be made: {why}") from error
    manifest, linked, secrets, missing = made
    removed = _remove_older(into, manifest, keep) if keep else ()
    octets = sum(entry.octets for entry in manifest.files)
    return Made(target, manifest, octets, secrets, linked, removed, missing)


def _write(
    settings: Settings,
    config_files: Sequence[Path],
    copy: _Copy,
    passphrase: str | None,
    now: str,
    before_spool: Callable[[], None],
) -> tuple[Manifest, int, int, tuple[str, ...]]:
    (copy.folder / "files").mkdir(mode=DIRECTORY_MODE)
    for number, path in enumerate(plain_files(settings, config_files)):
        shutil.copyfile(path, copy.folder / "files" / str(number))
        copy.take(f"files/{number}", str(path), stat.S_IMODE(path.stat().st_mode))
    database = _copy_control(settings, copy)
    before_spool()
    state = settings.server.state_directory
    with contextlib.suppress(
        FileNotFoundError
    ):  # mail that people suspended does not go from the copy either
        shutil.copyfile(state / SUSPENSIONS, copy.folder / SUSPENSIONS)
        copy.take(SUSPENSIONS)
    spool_format = _copy_spool(settings, copy)
    secrets = {str(path): _small(path) for path in secret_files(settings)} if passphrase is not None else {}
    manifest = Manifest(
        format=FORMAT,
        program=version("outrider"),
        made=now,
        hostname=settings.server.hostname,
        config=str(config_files[0].absolute()) if config_files else "",
        state_directory=str(state.absolute()),
        owner=_owner(state),
        spool_format=spool_format,
        database=database,
        has_secrets=passphrase is not None,
        files=copy.files,
    )
    octets = format_manifest(manifest)
    _write_new(copy.folder / MANIFEST, octets)
    if passphrase is not None:
        sealed = seal(
            msgspec.msgpack.encode(Secrets(hashlib.sha256(octets).hexdigest(), secrets)), passphrase
        )
        _write_new(copy.folder / SECRETS, sealed)
    return manifest, copy.linked, len(secrets), _missing_keys(settings, copy, secrets)


def _copy_control(settings: Settings, copy: _Copy) -> str:
    path = database_path(settings.store, settings.server.state_directory)
    if path is None:
        return "elsewhere"
    if not path.exists():
        return "none"
    copy_database(path, copy.folder / CONTROL)
    copy.take(CONTROL, str(path.absolute()))
    return "sqlite"


def _copy_spool(settings: Settings, copy: _Copy) -> int:
    """Copy the logs; returns the format of the spool."""
    files = OsFiles()
    directory = SpoolDirectory(files, str(settings.server.spool_directory))
    target = copy.folder / "spool"
    (target / "logs").mkdir(mode=DIRECTORY_MODE, parents=True)
    source = settings.server.spool_directory
    if not (source / "format").exists():
        (target / "format").write_bytes(b"%d\n" % frames.FORMAT)
        copy.take("spool/format")
        return frames.FORMAT
    spool_format = directory.read_format()
    for name in ("format", "next_log"):
        if (source / name).exists():
            shutil.copyfile(source / name, target / name)
            copy.take(f"spool/{name}")
    with pin(directory, settings.spool) as pinned:
        for one in pinned:
            _copy_segment(directory, copy, one)
        for one in pinned:
            files.fdatasync(one.fd)
        for (log, segment), end in sealed_ends(directory, settings.spool, pinned).items():
            os.truncate(target / "logs" / str(log) / segment_name(segment), end)
    for path in sorted((target / "logs").rglob("*.log")):
        copy.take(str(path.relative_to(copy.folder)))
    return spool_format


def _missing_keys(settings: Settings, copy: _Copy, secrets: Iterable[str]) -> tuple[str, ...]:
    """Names of the keys without which a part of the copied spool cannot be read, as `Made` says."""
    spool = SpoolDirectory(OsFiles(), str(copy.folder / "spool"))
    there = {Path(path).name for path in secrets if Path(path).parent == settings.key_directory.absolute()}
    gone = {path.stem for path in settings.key_directory.glob("*.destroyed")}
    needed = [f"{Purpose.SPOOL}-{number}" for number in sorted(sealed_by_version(spool)) if number]
    return tuple(name for name in needed if f"{name}.key" not in there and name not in gone)


def _copy_segment(directory: SpoolDirectory, copy: _Copy, one: Pinned) -> None:
    folder = copy.folder / "spool" / "logs" / str(one.log)
    folder.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
    target = folder / segment_name(one.segment)
    if copy.link and one.is_sealed and _linked(directory.segment_path(one.log, one.segment), target, one):
        copy.linked += 1
        return
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        place = 0
        while place < one.end:
            octets = os.pread(one.fd, min(CHUNK_OCTETS, one.end - place), place)
            if not octets:
                break
            view = memoryview(octets)
            while view:
                view = view[os.write(descriptor, view) :]
            place += len(octets)
    finally:
        os.close(descriptor)


def _linked(source: str, target: Path, one: Pinned) -> bool:
    """Give the sealed segment a second name; False where it cannot have one or would not be the same."""
    if os.fstat(one.fd).st_size != one.end:
        return False
    try:
        os.link(source, target)
    except OSError:
        return False  # another file system, another owner, or it is gone: it is copied
    if os.path.samestat(target.stat(), os.fstat(one.fd)):
        return True
    target.unlink()
    return False


def _small(path: Path) -> bytes:
    octets = path.read_bytes()
    if len(octets) > SECRET_OCTETS_MAX:
        raise BackupError(f"{path} has {len(octets)} octets; that is no key")
    return octets


def _owner(path: Path) -> str:
    with contextlib.suppress(OSError, KeyError):
        return pwd.getpwuid(path.stat().st_uid).pw_name
    return ""


def _write_new(path: Path, octets: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(octets)


def _sync_tree(folder: Path) -> None:
    """Make every file and name below `folder` durable."""
    files = OsFiles()
    for root, _, names in os.walk(folder):
        for name in names:
            descriptor = files.open(f"{root}/{name}", os.O_RDONLY)
            try:
                files.fdatasync(descriptor)
            finally:
                files.close(descriptor)
        files.sync_directory(root)


def _remove_older(into: Path, newest: Manifest, keep: int) -> tuple[Path, ...]:
    """Remove the oldest copies of this server beyond `keep`; several servers may have theirs in one folder.

    What an interrupted one left is no copy, and stays; so does what cannot be read.
    """
    copies = sorted(path for path in into.glob(NAME_FORMAT % "*Z") if _is_of(path, newest))
    removed = tuple(copies[: max(0, len(copies) - keep)])
    for path in removed:
        shutil.rmtree(path)
    return removed


def _is_of(path: Path, newest: Manifest) -> bool:
    """True for a copy of the same server."""
    try:
        found, _ = read_manifest(path)
    except BackupError:
        return False
    return (found.hostname, found.state_directory) == (newest.hostname, newest.state_directory)
