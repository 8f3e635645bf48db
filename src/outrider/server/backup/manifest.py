"""What a copy holds: a list of its files with their checksums, where they were, and of what formats they are.

In and out: `manifest.json`, which a person can read. What is secret is in `secrets.sealed` instead, under a
passphrase, together with the digest of the manifest; so who opens it also knows that nobody changed the rest.

    manifest.json    this
    secrets.sealed   keys and private keys; absent when the copy was made without them
    files/0, 1, …    configuration, users, certificates
    control.db       the control database, where it is SQLite
    suspensions.json paths that operators suspended, where there are any
    spool/logs/…     segments, cut where they ended

Invariant: `read_manifest` accepts only names that stay inside the copy.
"""

import hashlib
import re
from pathlib import Path
from typing import Final

import msgspec

from outrider.base.errors import OutriderError

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
SECRETS: Final = "secrets.sealed"
CONTROL: Final = "control.db"
MANIFEST_OCTETS_MAX: Final = 256 << 20
# chosen: a million segments take some 100 MiB
_CHUNK: Final = 1 << 20
_INSIDE: Final = re.compile(
    r"control\.db|suspensions\.json|files/[0-9]{1,6}|spool/(?:next_log|format|logs/[0-9]{1,8}/[0-9]{8}\.log)"
)


class BackupError(OutriderError):
    """A copy cannot be made, or is not what it says."""


class FileEntry(msgspec.Struct, frozen=True):
    """One file of the copy.

    Attributes:
        name: Below the copy.
        octets: Its length.
        sha256: Its digest.
        place: Absolute path where it was, for files outside the spool.
        mode: Its permissions.
    """

    name: str
    octets: int
    sha256: str
    place: str = ""
    mode: int = 0o600


class Manifest(msgspec.Struct, frozen=True):
    """Everything about a copy that is no secret.

    Attributes:
        format: Of the copy itself.
        program: Version that made it.
        made: When, RFC 3339.
        hostname: `server.hostname`.
        config: Absolute path of the configuration file.
        state_directory: Absolute path.
        owner: Name of the user who owned the state directory.
        spool_format: Format of the spool.
        database: `sqlite`, `elsewhere` (a server, which has copies of its own) or `none` (not made yet).
        has_secrets: `secrets.sealed` belongs to it.
        files: All other files.
    """

    format: int
    program: str
    made: str
    hostname: str
    config: str
    state_directory: str
    owner: str
    spool_format: int
    database: str
    has_secrets: bool
    files: list[FileEntry]


class Secrets(msgspec.Struct, frozen=True):
    """What is sealed: the digest of the manifest's octets, and files by their absolute place."""

    manifest_sha256: str
    files: dict[str, bytes]


def digest_of(path: Path) -> tuple[int, str]:
    """Octets and SHA-256 of a file."""
    digest = hashlib.sha256()
    length = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            length += len(chunk)
    return length, digest.hexdigest()


def format_manifest(manifest: Manifest) -> bytes:
    """The octets of `manifest.json`."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"


def read_manifest(copy: Path) -> tuple[Manifest, bytes]:
    """The manifest of a copy, and its octets.

    Raises:
        BackupError: There is none, or it is not one that this program reads.
    """
    path = copy / MANIFEST
    try:
        if path.stat().st_size > MANIFEST_OCTETS_MAX:
            raise BackupError(f"{path} is larger than any manifest")
        octets = path.read_bytes()
        manifest = msgspec.json.decode(octets, type=Manifest)
    except OSError as error:
        raise BackupError(
            f"{copy} is no copy that `outrider backup` made: {MANIFEST} {error.strerror}"
        ) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise BackupError(f"{path} cannot be read: {error}") from error
    if manifest.format != FORMAT:
        raise BackupError(
            f"{copy} has format {manifest.format}, this program knows {FORMAT}: restore it with the version "
            f"that made it, {manifest.program}"
        )
    names = [entry.name for entry in manifest.files]
    for name in names:
        if not _INSIDE.fullmatch(name):
            raise BackupError(f"{path} names {name!r}, which no copy holds; it was changed")
    if len(set(names)) != len(names):
        raise BackupError(f"{path} names a file twice; it was changed")
    for place in [manifest.config, manifest.state_directory, *(entry.place for entry in manifest.files)]:
        if place and (not place.startswith("/") or ".." in place.split("/")):
            raise BackupError(f"{path} names the place {place!r}; it was changed")
    return manifest, octets


def verify_files(copy: Path, manifest: Manifest) -> None:
    """Read every file of the copy.

    Raises:
        BackupError: One is missing, or is not what was copied; all of them are named.
    """
    faults = []
    for entry in manifest.files:
        path = copy / entry.name
        try:
            if path.is_symlink():
                faults.append(f"{entry.name} is a link")
            elif digest_of(path) != (entry.octets, entry.sha256):
                faults.append(f"{entry.name} is not what was copied")
        except OSError as error:
            faults.append(f"{entry.name}: {error.strerror}")
    if faults:
        shown = "; ".join(faults[:10])
        more = f" and {len(faults) - 10} more" if len(faults) > 10 else ""
        raise BackupError(f"{copy} is damaged, nothing was restored: {shown}{more}")
