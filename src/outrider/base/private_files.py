"""Files that hold secrets: keys, passwords, tokens.

In: a path, and the bits of a mode by which others could read or change the file. Out: its octets, or a
`ConfigError` that says what to do, and never anything of the file.

Theory: the mode is looked at through the descriptor that the file is read by, so that nobody can put another
file between the look and the reading.
"""

import os
import stat
from pathlib import Path
from typing import Final

from outrider.base.errors import ConfigError

CREDENTIALS_VARIABLE: Final = "CREDENTIALS_DIRECTORY"
"""The variable by which systemd tells a service where its credentials are (systemd.exec(5))."""

OTHERS: Final = stat.S_IRWXO
"""What systemd's credentials must not allow: it may give them as root:root 0440 with an ACL, whose mask the
group's bits are."""

GROUP_AND_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
"""What files of ours must not allow."""


def is_there(path: Path) -> bool:
    """True for a file, also for one in a folder that is closed to us: whoever opens it says which it is."""
    try:
        return path.is_file()
    except PermissionError:
        return True


def read_private(path: Path, forbidden: int, octets_max: int, what: str) -> bytes:
    """A file that holds a secret.

    Args:
        path: The file.
        forbidden: Bits of a mode by which others could read or change it.
        octets_max: Octets of the longest honest file; one more is read, so that the caller sees it.
        what: How errors begin, such as `key file /…`.

    Raises:
        ConfigError: It cannot be read, or others can.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & forbidden:
                raise ConfigError(
                    f"{what} has mode {mode:04o}, so others can read or change it: chmod 0600 {path}, and "
                    "replace what it holds if somebody may have read it"
                )
            return file.read(octets_max + 1)
    except OSError as error:
        raise ConfigError(f"{what} cannot be read: {error.strerror}") from error
