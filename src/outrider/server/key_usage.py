"""What a key protects now: what an operator must know before destroying it.

Takes settings and a version; counts in the spool or in the event files, and says in words what would be lost.
"""

from typing import NamedTuple

from outrider.base.errors import StoreError
from outrider.base.files import OsFiles
from outrider.privacy.keyfile import Purpose
from outrider.record.trace import count_tokens
from outrider.server.settings import Settings
from outrider.spool.census import Sealed, sealed_by_version, versions_in_use
from outrider.spool.directory import SpoolDirectory


class Usage(NamedTuple):
    """How many things a key protects, and what its destruction means for them."""

    uses: int
    text: str


def check_unused(settings: Settings, purpose: Purpose, version: int) -> None:
    """Refuse to destroy a key under which a running server goes on to write.

    What it accepts from then on would be acknowledged, and lost with its restart.

    Raises:
        StoreError: A running server encrypts with it.
        SpoolError: The spool cannot be read.
    """
    path = settings.server.spool_directory
    if purpose is not Purpose.SPOOL or not (path / "logs").is_dir():
        return
    if version in versions_in_use(SpoolDirectory(OsFiles(), str(path))):
        raise StoreError(
            f"the running server still encrypts new mail with spool-{version}: restart it, so that its logs "
            "begin anew under the newest key, then destroy this one",
            "conflict",
        )


def usage_of(settings: Settings, purpose: Purpose, version: int) -> Usage:
    """What version `version` of a purpose protects.

    Raises:
        SpoolError: The spool cannot be read.
    """
    match purpose:
        case Purpose.SPOOL:
            return _spool(settings, version)
        case Purpose.LOG:
            count = count_tokens(settings.server.events_directory, version)
            return Usage(
                count,
                f"{count} events hold tokens of it. They stay, but nobody can tell any more whom they are "
                "about: `outrider trace --recipient` will not find them.",
            )
        case Purpose.SEAL | Purpose.SUPPRESS:
            return Usage(0, "Nothing on this server uses it yet.")


def _spool(settings: Settings, version: int) -> Usage:
    path = settings.server.spool_directory
    if not (path / "logs").is_dir():
        return Usage(0, "There is no spool yet, so nothing is lost.")
    found = sealed_by_version(SpoolDirectory(OsFiles(), str(path))).get(version, Sealed(0, 0))
    if not found.frames:
        return Usage(0, "No frame of the spool is encrypted by it, so nothing is lost.")
    return Usage(
        found.frames,
        f"{found.frames} frames of the spool ({found.octets} octets) are encrypted by it. Every message in "
        "them that is still queued is LOST, without a bounce; finishes in them are forgotten, so that a "
        "rebuild of the index may send mail twice. Better: restart the server, so that its logs begin anew "
        "under the newest key, and wait until all in the old ones is delivered; they go by themselves.",
    )
