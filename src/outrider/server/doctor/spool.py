"""The spool, the key ring and the users: can a start read them?"""

import contextlib
import fcntl
import os
from collections.abc import Mapping
from pathlib import Path

from outrider.base.errors import OutriderError, SpoolError
from outrider.base.files import Files
from outrider.privacy.keyfile import Purpose
from outrider.server.doctor.finding import Finding, fault, good, note, warning
from outrider.server.keys import ServerKeys, live_ring
from outrider.server.settings import Settings
from outrider.spool import frames
from outrider.spool.directory import SpoolDirectory


def is_running(state_directory: Path) -> bool:
    """True while a server holds the lock of the state directory."""
    try:
        descriptor = os.open(state_directory / "server.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def check_spool(files: Files, settings: Settings) -> list[Finding]:
    """Format, damage that was put aside, and the counter of logs."""
    path = settings.server.spool_directory
    spool = SpoolDirectory(files, str(path))
    try:
        found = spool.read_format()
    except FileNotFoundError:
        if path.is_dir() and any((path / "logs").glob("*/*.log")):
            return [
                fault(
                    "spool.format",
                    f"{path} holds logs, but its file `format` is gone",
                    f"write the number of the format into {path / 'format'}, {frames.FORMAT} if in doubt",
                )
            ]
        return [note("spool.format", f"{path} is empty; the first start makes it")]
    except OSError as error:
        return [
            fault("spool.format", f"{path} cannot be read: {error}", "run the doctor as the server's user")
        ]
    except SpoolError as error:
        return [fault("spool.format", error.message, "run the version that wrote it, or restore a copy")]
    findings = [good("spool.format", f"the spool has format {found}, this program writes {frames.FORMAT}")]
    if found < frames.FORMAT:
        findings = [
            note(
                "spool.format",
                f"the spool has format {found}; the next start takes it to {frames.FORMAT}, and older "
                "programs cannot read it then",
                "make a copy first (outrider backup), if you may want to go back",
            )
        ]
    with contextlib.suppress(FileNotFoundError):
        aside = [name for name in files.listdir(str(path / "quarantine")) if not name.endswith(".new")]
        if aside:
            findings.append(
                warning(
                    "spool.quarantine",
                    f"{len(aside)} damaged pieces were put aside in {path / 'quarantine'}",
                    "look at the health of the disk; the server's log names what they held; then remove them",
                )
            )
        else:
            findings.append(good("spool.quarantine", "nothing was ever found damaged"))
    if spool.logs() and not (path / "next_log").exists():
        findings.append(
            warning(
                "spool.counter",
                "the counter of logs is lost; the next start steps over 1,000 numbers",
                "find out who removed it; nothing else is to do",
            )
        )
    return findings


def check_keys(settings: Settings, environment: Mapping[str, str]) -> list[Finding]:
    """The key ring has no faults, and holds what the configuration needs."""
    try:
        ring = live_ring(settings, environment).ring
        comes = settings.record.needs_tokens and ring.maybe_newest(Purpose.LOG) is None
        if comes and (settings.spool.encryption == "none" or ring.maybe_newest(Purpose.SPOOL) is not None):
            return [note("keys", "there is no key for tokens in events yet; the first start makes it")]
        ServerKeys(settings, environment)
    except OutriderError as error:
        return [
            fault("keys", error.message, "the key ring is the only way to what was sealed: restore its copy")
        ]
    if settings.spool.encryption == "none":
        return [good("keys", "the key ring can be read; the spool is not encrypted")]
    return [good("keys", "the key ring can be read and holds the spool's key")]
