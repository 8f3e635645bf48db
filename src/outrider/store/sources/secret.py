"""The password of a data source: read when the source is opened, kept nowhere else, shown by nobody.

Its own user may read the file, and nobody else (`base.private_files`).
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from outrider.base.errors import ConfigError
from outrider.base.private_files import CREDENTIALS_VARIABLE, GROUP_AND_OTHERS, OTHERS, read_private
from outrider.store.sources.options import DataSourceOptions

FILE_LIMIT: Final = 4_096
# chosen: no password and no token is longer


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
        directory = environment.get(CREDENTIALS_VARIABLE, "")
        if not directory:
            raise ConfigError(
                f"{where}.password_credential: systemd passes no credentials here; give LoadCredential= in "
                "the unit, or a password_file"
            )
        path = Path(directory) / options.password_credential
        return _read(f"{where}.password_credential", path, OTHERS)
    if options.password_file is not None:
        return _read(f"{where}.password_file", options.password_file, GROUP_AND_OTHERS)
    return ""


def unreadable_files(sources: Iterable[DataSourceOptions]) -> tuple[str, ...]:
    """What is wrong with password files; a server does not start while something is."""
    faults = []
    for options in sources:
        try:
            if options.password_file is not None:
                read_secret(options, {})
        except ConfigError as error:
            faults.append(error.message)
    return tuple(faults)


def _read(where: str, path: Path, forbidden: int) -> str:
    text = read_private(path, forbidden, FILE_LIMIT, f"{where}: {path}")
    secret = text.partition(b"\n")[0].rstrip(b"\r").decode("utf-8", "replace")
    if not secret or len(text) > FILE_LIMIT or "\ufffd" in secret:
        raise ConfigError(f"{where}: {path} holds no password in its first line")
    return secret
