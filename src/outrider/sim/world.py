"""Reading a world file, with every fault at once and its place.

In: a TOML file. Out: `WorldOptions`, or a `ConfigError` whose lines name the file and the dotted path.
"""

import difflib
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from outrider.base.errors import ConfigError
from outrider.sim.options import WorldOptions


def load_world(path: Path) -> WorldOptions:
    """The world described by `path`.

    Raises:
        ConfigError: The file cannot be read, is not TOML, or says something impossible.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    return parse_world(text, str(path))


def parse_world(text: str, name: str) -> WorldOptions:
    """The world described by the TOML `text`; `name` stands for the file in faults."""
    try:
        tables = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:  # the library recurses into nested arrays
        raise ConfigError(f"{name}: not TOML: {error}") from error
    try:
        return WorldOptions.model_validate(tables)
    except ValidationError as error:
        faults = tuple(_fault(name, dict(one)) for one in error.errors(include_url=False))
        raise ConfigError(f"{name}: {len(faults)} fault(s) in this world", faults) from error


def _fault(name: str, error: dict[str, Any]) -> str:
    place = ""
    for step in error["loc"]:
        if isinstance(step, int):
            place += f"[{step}]"
        else:
            place += f".{step}" if place else str(step)
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        message = "unknown option" + _did_you_mean(error["loc"])
    elif error["type"] == "missing":
        message = "is missing"
    return f"{name}: {place or 'world'}: {message}"


def _did_you_mean(location: tuple[int | str, ...]) -> str:
    model: type[BaseModel] = WorldOptions
    for step in location[:-1]:
        if isinstance(step, int):
            continue
        inner = _model_of(model, step)
        if inner is None:
            return ""
        model = inner
    close = difflib.get_close_matches(str(location[-1]), model.model_fields, n=1)
    return f", did you mean {close[0]}?" if close else f"; known are {', '.join(sorted(model.model_fields))}"


def _model_of(model: type[BaseModel], field: str) -> type[BaseModel] | None:
    info = model.model_fields.get(field)
    if info is None:
        return None
    candidates = (info.annotation, *getattr(info.annotation, "__args__", ()))
    for candidate in candidates:
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None
