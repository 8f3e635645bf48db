"""The password of a data source: read when the source is opened, kept nowhere else, shown by nobody.

A file's mode is looked at through the descriptor that it is read by. Its own user may read it, and nobody
else; of systemd's credentials the group's bits do not count, because they may be the mask of an ACL.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from outrider.base.errors import ConfigError
from outrider.store.sources.options import DataSourceOptions

FILE_LIMIT: Final = 4_096
# chosen: no password and no token is longer
_CREDENTIALS: Final = "CREDENTIALS_DIRECTORY"
# systemd.exec(5): where a service finds its credentials


def read_secret(options: DataSourceOptions, environment: Mapping[str, str]) -> str:
    """The password; empty when the source has none.

    Raises:
        ConfigError: It cannot be read, or others can read it; says what to do.
    """
    where = f"data_source.{options.name}"
    if variable := options.password_environment:
        secret = environment.get(variable, "")
        if not secret:
            raise ConfigError(f"{where}.password_environment: the variable {variable} is not set")
        return secret
    if options.password_credential:
        directory = environment.get(_CREDENTIALS, "")
        if not directory:
            raise ConfigError(
                f"{where}.password_credential: systemd passes no credentials here; give LoadCredential= in "
                "the unit, or a password_file"
            )
        path = Path(directory) / options.password_credential
        return _read(f"{where}.password_credential", path, stat.S_IRWXO)
    if options.password_file is not None:
        return _read(f"{where}.password_file", options.password_file, stat.S_IRWXG | stat.S_IRWXO)
    return ""


def _read(where: str, path: Path, forbidden: int) -> str:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & forbidden:
                raise ConfigError(
                    f"{where}: {path} has mode {mode:04o}, so others can read it: chmod 0600 {path}"
                )
            text = file.read(FILE_LIMIT + 1)
    except OSError as error:
        raise ConfigError(f"{where}: {path} cannot be read: {error.strerror}") from error
    secret = text.partition(b"\n")[0].rstrip(b"\r").decode("utf-8", "replace")
    if not secret or len(text) > FILE_LIMIT or "\ufffd" in secret:
        raise ConfigError(f"{where}: {path} holds no password in its first line")
    return secret
