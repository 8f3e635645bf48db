"""The password of a data source: read when the source is opened, kept nowhere else, shown by nobody.

The file's mode is looked at through the descriptor that it is read by. Its own user may read it, and nobody
else.
"""

import os
import stat
from collections.abc import Mapping
from typing import Final

from outrider.base.errors import ConfigError
from outrider.store.sources.options import DataSourceOptions

FILE_LIMIT: Final = 4_096
# chosen: no password and no token is longer
_FORBIDDEN: Final = stat.S_IRWXG | stat.S_IRWXO


def read_secret(options: DataSourceOptions, environment: Mapping[str, str]) -> str:
    """The password; empty when the source has none.

    Raises:
        ConfigError: It cannot be read, or others can read it; says what to do.
    """
    where = f"data_source.{options.name}"
    if options.password_environment:
        secret = environment.get(options.password_environment, "")
        if not secret:
            raise ConfigError(
                f"{where}.password_environment: the variable {options.password_environment} is not set"
            )
        return secret
    path = options.password_file
    if path is None:
        return ""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & _FORBIDDEN:
                raise ConfigError(
                    f"{where}.password_file: {path} has mode {mode:04o}, so others can read it: "
                    f"chmod 0600 {path}"
                )
            text = file.read(FILE_LIMIT + 1)
    except OSError as error:
        raise ConfigError(f"{where}.password_file: {path} cannot be read: {error.strerror}") from error
    secret = text.partition(b"\n")[0].rstrip(b"\r").decode("utf-8", "replace")
    if not secret or len(text) > FILE_LIMIT or "\ufffd" in secret:
        raise ConfigError(f"{where}.password_file: {path} holds no password in its first line")
    return secret
