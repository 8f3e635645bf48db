"""Makes validated `Settings` of what the sources hold, or tells every fault at once, each with its place.

In: a path, the environment and overrides (see `sources` for their order). Out: a `Configuration`:
settings and the origin of each value; or a `ConfigError` that lists, for each fault, file and line,
dotted name, what is wrong and, for unknown names, what was probably meant.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

from outrider.base.errors import ConfigError
from outrider.server.catalogue import values
from outrider.server.settings import Settings
from outrider.server.sources import DEFAULT, Sources, read_sources
from outrider.server.toml_places import Location

_PASSWORD: Final = re.compile(r"(://[^\s/?:@]*:)\S*(?=@)|([?&]password=)[^\s&']*")
"""What may be a password in a URL; a fault goes to logs and to whoever asked."""
_HIDDEN: Final = r"\1\2***"


@dataclass(frozen=True, slots=True)
class Configuration:
    """Validated settings and where they come from."""

    settings: Settings
    sources: Sources

    def origins(self) -> dict[str, str]:
        """Where each value comes from that is not a default, by its name."""
        found = ((value.name, self.sources.exact_origin(value.location)) for value in values(self.settings))
        return {name: str(origin) for name, origin in found if origin != DEFAULT}


def load(
    path: Path | None,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """The settings of a server.

    Args:
        path: TOML file, or None for defaults only.
        environment: Usually `os.environ`.
        overrides: Dotted option names to values, from the command line.

    Raises:
        ConfigError: With all faults.
    """
    return read(path, environment, overrides).settings


def read(
    path: Path | None,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Configuration:
    """As `load`, with the origin of each value."""
    sources = read_sources(path, environment, overrides)
    try:
        settings = Settings.model_validate(sources.data)
    except ValidationError as error:
        main = str(path) if path is not None else "defaults"
        faults = tuple(_fault(each, sources, main) for each in error.errors(include_url=False))
        raise ConfigError(
            f"{len(faults)} fault{'s' if len(faults) > 1 else ''} in the configuration", faults
        ) from None
    return Configuration(settings.resolved(path.parent if path is not None else Path.cwd()), sources)


def _fault(error: Any, sources: Sources, main: str) -> str:
    location: Location = error["loc"]
    origin = sources.origin(location)
    place = main if origin.kind == "default" else str(origin)
    dotted = ".".join(str(part) for part in location)
    if error["type"] == "extra_forbidden":
        known = _names_at(location[:-1])
        wrong = str(location[-1])
        close = difflib.get_close_matches(wrong, known, n=1)
        # such as `proxy` for `proxy_protocol`, which is too much longer to be close
        close = close or [name for name in known if name.startswith(f"{wrong}_")]
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        return f"{place}: {dotted} is not an option{hint}"
    message = error["msg"].removeprefix("Value error, ")
    shown = error.get("input")
    got = f" (got {shown!r})" if isinstance(shown, str | int | float | bool) and sources.data else ""
    told = f"{dotted}: {message}{got}" if dotted else message
    return f"{place}: {_PASSWORD.sub(_HIDDEN, told)}"


def _names_at(location: tuple[Any, ...]) -> list[str]:
    """Names of the options in the section at `location`."""
    model: type[BaseModel] = Settings
    for part in location:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        inner = _model_in(field.annotation) if field is not None else None
        if inner is None:
            return []
        model = inner
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in get_args(annotation):
        found = _model_in(inner)
        if found is not None:
            return found
    return None
