"""Files: who owns them and who may read them.

Theory: the state directory holds other people's mail, and keys open it. Whoever can read a key has it;
whoever can write the configuration is the server.
"""

import os
import pwd
import stat
from collections.abc import Iterable
from pathlib import Path

from outrider.base.private_files import is_there
from outrider.server.backup.make import delivery_passwords, secret_files
from outrider.server.doctor.finding import Finding, fault, good, note, warning
from outrider.server.settings import Settings
from outrider.store.engine import database_path

OTHERS = stat.S_IRWXG | stat.S_IRWXO
WRITERS = stat.S_IWGRP | stat.S_IWOTH


def check_ownership(settings: Settings, config_files: Iterable[Path]) -> list[Finding]:
    """Directories, secrets, and the configuration."""
    server = settings.server
    found = [
        check_directory("files.state", server.state_directory),
        check_directory("files.run", server.sockets_directory),
    ]
    secrets = secret_files(settings)
    for path in (server.users_file, database_path(settings.store, server.state_directory)):
        if path is not None and is_there(path):
            secrets.append(path)
    found += check_secrets(secrets)
    found += check_passwords(delivery_passwords(settings))
    found += [check_config(path) for path in config_files]
    return found


def check_entry(state: Path) -> Finding:
    """Nothing can be said of what this user may not look into."""
    owner, us = _name(state.stat().st_uid), _name(os.geteuid())
    return fault(
        "files.state",
        f"{state} belongs to {owner}, and {us} may not look into it; nothing else was looked at",
        f"run the doctor as {owner}, or as root",
    )


def check_directory(check: str, path: Path) -> Finding:
    """A directory of the server is its own."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return note(check, f"{path} does not exist yet", "the first start makes it")
    except OSError as error:
        return fault(
            check, f"{path} cannot be looked at: {error.strerror}", "run the doctor as the server's user"
        )
    if not stat.S_ISDIR(status.st_mode):
        return fault(check, f"{path} is no directory", "move it away; the server makes its own")
    if status.st_uid != os.geteuid():
        return warning(
            check,
            f"{path} belongs to {_name(status.st_uid)}, the doctor runs as {_name(os.geteuid())}",
            f"run server and doctor as {_name(status.st_uid)}",
        )
    mode = stat.S_IMODE(status.st_mode)
    if mode & OTHERS:
        return fault(check, f"{path} is open to others (mode {mode:04o})", f"chmod 700 {path}")
    return good(check, f"{path} is closed to others")


def check_secrets(paths: Iterable[Path]) -> list[Finding]:
    """No secret is readable by others, and each by us."""
    check, found, sound = "files.secrets", [], 0
    for path in paths:
        try:
            status = path.stat()
        except PermissionError:  # its folder is closed to us
            status = None
        mode = 0 if status is None else stat.S_IMODE(status.st_mode)
        if mode & stat.S_IRWXO or mode & WRITERS:
            found.append(fault(check, f"{path} is open to others (mode {mode:04o})", f"chmod 600 {path}"))
        elif status is None or not os.access(path, os.R_OK):
            found.append(
                fault(
                    check, f"{path} cannot be read by {_name(os.geteuid())}", "give it to the server's user"
                )
            )
        elif mode & stat.S_IRWXG:
            told = f"{path} can be read by group {status.st_gid} (mode {mode:04o})"
            found.append(note(check, told, "keep that group small"))
        else:
            sound += 1
    if sound or not found:
        found.append(good(check, f"{sound} secret files are closed to others"))
    return found


def check_passwords(paths: Iterable[Path]) -> list[Finding]:
    """What delivery reads at each connection is there."""
    return [
        fault(
            "files.passwords",
            f"{path} is not there; mail that needs it waits",
            f"write the password into {path}",
        )
        for path in dict.fromkeys(paths)
        if not is_there(path)
    ]


def check_config(path: Path) -> Finding:
    """Nobody else writes the configuration."""
    check = "files.config"
    status = path.stat()
    mode = stat.S_IMODE(status.st_mode)
    if mode & stat.S_IWOTH:
        return fault(check, f"everybody may write {path} (mode {mode:04o})", f"chmod 640 {path}")
    if mode & stat.S_IWGRP:
        return warning(check, f"a group may write {path} (mode {mode:04o})", f"chmod 640 {path}")
    if status.st_uid not in {0, os.geteuid()}:
        return warning(
            check, f"{path} belongs to {_name(status.st_uid)}, who can change it", f"chown root {path}"
        )
    return good(check, f"{path} is written by its owner only")


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
