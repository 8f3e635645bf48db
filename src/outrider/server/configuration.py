"""Makes validated `Settings` of what the sources hold, or tells every fault at once, each with its place.

In: a path, the environment and overrides (see `sources` for their order). Out: a `Configuration`:
settings and the origin of each value; or a `ConfigError` that lists, for each fault, file and line,
dotted name, what is wrong and, for unknown names, what was probably meant.
"""

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

from outrider.base.errors import ConfigError
from outrider.server.catalogue import options, values
from outrider.server.options import ServerOptions
from outrider.server.settings import Settings
from outrider.server.sources import DEFAULT, FOLDER, Sources, read_sources
from outrider.server.toml_places import Location

DIRECTORIES: Final = ("state_directory", "run_directory")
_PASSWORD: Final = re.compile(r"(://[^\s/?:@]*:)\S*(?=@)|([?&]password=)[^\s&']*")
"""What may be a password in a URL; a fault goes to logs and to whoever asked."""
_HIDDEN: Final = r"\1\2***"

_CLOSE: Final = 0.8
# chosen: a letter or two; what is less alike comes after an option of the very name in another table


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
    return Configuration(_validated(sources, sources.data, path), sources)


def load_directories(
    path: Path | None,
    environment: Mapping[str, str] | None = None,
    told: Callable[[str], None] = lambda _fault: None,
) -> ServerOptions:
    """The section `[server]` with its directories alone.

    They say where a running server is, which is to be asked also while somebody works on the rest.

    Args:
        path: The main file.
        environment: Variables.
        told: Hears of each file that is not TOML, of which only these were read.

    Raises:
        ConfigError: With all faults of these options, or a file cannot be read.
    """
    sources = read_sources(path, environment, needed=DIRECTORIES)
    for fault in sources.passed_over:
        told(fault)
    section = sources.data.get("server")
    if isinstance(section, Mapping):
        section = {name: section[name] for name in DIRECTORIES if name in section}
    return _validated(sources, {} if section is None else {"server": section}, path).server


def _validated(sources: Sources, data: Mapping[str, Any], path: Path | None) -> Settings:
    try:
        settings = Settings.model_validate(data)
    except ValidationError as error:
        main = str(path) if path is not None else "defaults"
        if len(sources.files) > 1:  # a fault between two tables may be in any of them
            main += f" with {FOLDER}"
        faults = tuple(_fault(each, sources, main) for each in error.errors(include_url=False))
        raise ConfigError(
            f"{len(faults)} fault{'s' if len(faults) > 1 else ''} in the configuration", faults
        ) from None
    return settings.resolved(path.parent if path is not None else Path.cwd())


def _fault(error: Any, sources: Sources, main: str) -> str:
    location: Location = error["loc"]
    origin = sources.origin(location)
    place = main if origin.kind == "default" else str(origin)
    dotted = ".".join(str(part) for part in location)
    if error["type"] == "extra_forbidden":
        meant = _meant(location)
        hint = f"; did you mean {' or '.join(meant)}?" if meant else ""
        return f"{place}: {dotted} is not an option{hint}"
    shown = error.get("input")
    message = _told(error, dotted, _unit_at(location))
    got = f" (got {shown!r})" if isinstance(shown, str | int | float | bool) and sources.data else ""
    told = f"{dotted}: {message}{got}" if dotted else message
    return f"{place}: {_PASSWORD.sub(_HIDDEN, told)}"


def _told(error: Any, dotted: str, unit: str) -> str:
    """What is wrong, in the words of TOML instead of pydantic's where those differ."""
    match error["type"]:
        case "tuple_type" if isinstance(error.get("input"), dict):
            return f"this is one of several: write [[{dotted}]]"
        case "tuple_type" | "list_type" | "frozen_set_type":
            return 'this is a list: write ["…", "…"]'
        case "too_short" if error["ctx"]["min_length"] == 1:
            return "the list is empty; it needs at least one"
        case "string_type":
            example = ', such as "60/minute"' if unit.endswith("per period") else ""
            return f"write text, in quotes{example}"
        case "int_type" | "int_parsing" | "int_from_float":
            return f"write a whole number{f' of {unit}' if unit else ''}, without quotes"
        case "float_type" | "float_parsing":
            return f"write a number{f' of {unit}' if unit else ''}, without quotes"
        case _:
            return str(error["msg"]).removeprefix("Value error, ")


def _meant(location: Location) -> list[str]:
    """What was probably meant by the unknown name at the end of `location`; at most two."""
    known = _names_at(location[:-1])
    *sections, wrong = [str(part) for part in location if not isinstance(part, int)]
    same = [option.name for option in options() if option.name.rpartition(".")[2] == wrong]
    near = [name for name in same if sections and name.split(".")[0] == sections[0]]
    # such as `proxy` for `proxy_protocol`, which is too much longer to be close
    longer = [name for name in known if name.startswith(f"{wrong}_")]
    found = near or difflib.get_close_matches(wrong, known, n=1, cutoff=_CLOSE) or longer
    return (found or same or difflib.get_close_matches(wrong, known, n=1))[:2]


def _unit_at(location: Location) -> str:
    name = ".".join(str(part) for part in location if not isinstance(part, int))
    return next((option.unit for option in options() if option.name == name), "")


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
