"""What every option is: name, meaning, unit, bounds, default and its source, read out of the settings models.

In: the models, and settings with the sources they were read from. Out: rows for the manual, for `outrider
config` and for what a reload compares.

A *name* is dotted. In a list of tables an element is named by its `name`, else by its number from 0
(`listener.smtp.port`); the same name without it (`listener.port`) means the option of all elements.
"""

import enum
import json
import typing
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from outrider.server.settings import Settings
from outrider.server.toml_places import Location

BOUNDS = (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"), ("multiple_of", "multiple of"))
LENGTHS = (("min_length", "at least"), ("max_length", "at most"))
HIDDEN = "(hidden)"


@dataclass(frozen=True, slots=True)
class Option:
    """An option as its model declares it."""

    name: str
    default: str
    unit: str
    bounds: str
    text: str
    source: str


@dataclass(frozen=True, slots=True)
class Value:
    """An option of some settings.

    Attributes:
        name: With the names of list elements.
        option: Name of the option, without them.
        location: Where it is in the tree of the sources.
        value: What it is.
        is_secret: It is not shown.
        is_telling: It was set, or is the name of its table: not merely the default that comes with one.
    """

    name: str
    option: str
    location: Location
    value: Any
    is_secret: bool
    is_telling: bool = True

    @property
    def shown(self) -> str:
        """As it would be written in TOML."""
        if self.is_secret and self.value:
            return HIDDEN
        return "none" if self.value is None else toml_value(self.value)


def nested_model(annotation: Any) -> tuple[type[BaseModel], str] | None:
    """The model in an annotation and how it is repeated: ``, `list` or `table`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, ""
    origin = typing.get_origin(annotation)
    for argument in typing.get_args(annotation):
        if (found := nested_model(argument)) is not None:
            if isinstance(origin, type) and issubclass(origin, dict):
                return found[0], "table"
            if isinstance(origin, type) and issubclass(origin, tuple | list | frozenset):
                return found[0], "list"
            return found
    return None


def format_default(field: FieldInfo) -> str:
    """The default as it would be written in TOML."""
    value = field.default
    if value is PydanticUndefined:
        if field.default_factory is None:
            return "required"
        value = field.get_default(call_default_factory=True, validated_data={})
    return f"`{toml_value(value)}`" if value is not None else "none"


def toml_value(value: Any) -> str:
    """A value in TOML's notation, sets in a fixed order."""
    match value:
        case bool():
            return "true" if value else "false"
        case enum.Enum():
            return toml_value(value.value)
        case int() | float():
            return f"{value:_}" if isinstance(value, int) and abs(value) >= 10_000 else str(value)
        case str() | Path():
            return json.dumps(str(value), ensure_ascii=False)
        case BaseModel():
            return "{}"
        case dict():
            return "{" + ", ".join(f"{key} = {toml_value(item)}" for key, item in value.items()) + "}"
        case set() | frozenset():
            return "[" + ", ".join(sorted(map(toml_value, value))) + "]"
        case list() | tuple():
            return "[" + ", ".join(map(toml_value, value)) + "]"
        case _:
            return f'"{value}"'


def format_bounds(field: FieldInfo) -> str:
    """Limits and choices of a field."""
    found = [
        f"{sign} {toml_value(limit)}"
        for name, sign in BOUNDS
        for item in field.metadata
        if (limit := getattr(item, name, None)) is not None
    ]
    found += [
        f"{sign} {limit} long"
        for name, sign in LENGTHS
        for item in field.metadata
        if (limit := getattr(item, name, None)) is not None
    ]
    if typing.get_origin(field.annotation) is typing.Literal:
        found.append(" or ".join(f"`{choice}`" for choice in typing.get_args(field.annotation)))
    elif isinstance(field.annotation, type) and issubclass(field.annotation, enum.Enum):
        found.append(" or ".join(f"`{choice.value}`" for choice in field.annotation))
    return ", ".join(found)


def option_of(name: str, field: FieldInfo) -> Option:
    """What a field declares."""
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    return Option(
        name,
        format_default(field),
        str(extra.get("unit", "")),
        format_bounds(field),
        field.description or "",
        str(extra.get("source", "")),
    )


def options(model: type[BaseModel] = Settings, place: str = "") -> Iterator[Option]:
    """Every option by its dotted name, in the order of the models."""
    for name, field in model.model_fields.items():
        nested = nested_model(field.annotation)
        dotted = f"{place}{name}"
        if nested is None:
            yield option_of(dotted, field)
        else:
            yield from options(nested[0], f"{dotted}.")


def values(settings: Settings) -> Iterator[Value]:
    """Every option of `settings` with its value; those of a list once for each element."""
    return _values(settings, "", "", ())


def _values(model: BaseModel, name: str, option: str, location: Location) -> Iterator[Value]:
    for key, field in type(model).model_fields.items():
        value = getattr(model, key)
        here, generic, at = f"{name}{key}", f"{option}{key}", (*location, key)
        if isinstance(value, BaseModel):
            yield from _values(value, f"{here}.", f"{generic}.", at)
        elif nested_model(field.annotation) is None or value is None:
            extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
            is_telling = key == "name" or (key in model.model_fields_set and value is not None)
            yield Value(here, generic, at, value, bool(extra.get("secret")), is_telling)
        else:
            for label, part, each in _elements(value):
                yield from _values(each, f"{here}.{label}.", f"{generic}.", (*at, part))


def _elements(value: Any) -> Iterator[tuple[str, str | int, BaseModel]]:
    """(name, step of the location, element) for each table of a list or of a table of tables."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield str(key), str(key), each
        return
    names = [getattr(each, "name", "") for each in value]
    counts = Counter(name for name in names if isinstance(name, str))
    for index, each in enumerate(value):
        named = isinstance(names[index], str) and names[index] and counts[names[index]] == 1
        yield names[index] if named else str(index), index, each
