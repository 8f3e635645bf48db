"""Reads the configuration: a TOML file, the environment, flags; in this order, later ones win.

Takes a path and overrides, gives validated `Settings` or a `ConfigError` that lists every fault at once,
each with the file, the dotted path, what is wrong and, for unknown names, what was probably meant.

Environment: `OUTRIDER_SECTION__KEY=value` sets `section.key`; the value is read as TOML where it can be,
else as text.
"""

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from outrider.base.errors import ConfigError
from outrider.server.settings import Settings

ENVIRONMENT_PREFIX = "OUTRIDER_"
ENVIRONMENT_OWN = frozenset({"OUTRIDER_CONFIG", "OUTRIDER_PURE", "OUTRIDER_FAULTS"})
# read elsewhere: the file's own place, the pure scanner, injected faults of the crash tests


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
    data = _read(path) if path is not None else {}
    for name, text in (environment or {}).items():
        if name.startswith(ENVIRONMENT_PREFIX) and name not in ENVIRONMENT_OWN:
            keys = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
            if len(keys) > 1:
                _set(data, keys, value_of(text))
    for dotted, value in (overrides or {}).items():
        _set(data, dotted.split("."), value)
    try:
        settings = Settings.model_validate(data)
    except ValidationError as error:
        place = str(path) if path is not None else "defaults"
        faults = tuple(f"{place}: {_fault(each, data)}" for each in error.errors(include_url=False))
        raise ConfigError(
            f"{len(faults)} fault{'s' if len(faults) > 1 else ''} in the configuration", faults
        ) from None
    return settings.resolved(path.parent if path is not None else Path.cwd())


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist; `outrider init` writes one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None


def value_of(text: str) -> Any:
    """The value that `text` is in TOML, else the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _set(data: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        inner = data.setdefault(key, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{'.'.join(keys)} cannot be set: {key} is a list in the file")
        data = inner
    data[keys[-1]] = value


def _fault(error: Any, data: Mapping[str, Any]) -> str:
    location = error["loc"]
    dotted = ".".join(str(part) for part in location)
    if error["type"] == "extra_forbidden":
        known = _names_at(location[:-1])
        close = difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        return f"{dotted} is not an option{hint}"
    message = error["msg"].removeprefix("Value error, ")
    shown = error.get("input")
    got = f" (got {shown!r})" if isinstance(shown, str | int | float | bool) and data else ""
    return f"{dotted}: {message}{got}"


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
