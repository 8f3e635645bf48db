"""Reads the options out of the settings models: name, default, unit, bounds, description, source."""

import enum
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

BOUNDS = (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"), ("multiple_of", "multiple of"))
LENGTHS = (("min_length", "at least"), ("max_length", "at most"))


@dataclass(frozen=True, slots=True)
class Option:
    """One row of the page."""

    name: str
    default: str
    unit: str
    bounds: str
    text: str
    source: str


@dataclass(frozen=True, slots=True)
class Section:
    """One table of the configuration file."""

    heading: str
    text: str
    options: tuple[Option, ...]


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
            return f'"{value}"'
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
    return ", ".join(found)


def option_of(name: str, field: FieldInfo) -> Option:
    """One row for a field."""
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    return Option(
        name,
        format_default(field),
        str(extra.get("unit", "")),
        format_bounds(field),
        field.description or "",
        str(extra.get("source", "")),
    )


def sections_of(model: type[BaseModel], place: str, text: str, repeat: str) -> Iterator[Section]:
    """The section of `model` and those nested in it, outermost first."""
    inner: list[tuple[str, FieldInfo, type[BaseModel], str]] = []
    options = []
    for name, field in model.model_fields.items():
        nested = nested_model(field.annotation)
        if nested is None:
            options.append(option_of(name, field))
        else:
            inner.append((name, field, *nested))
    if place:
        heading = f"`[[{place}]]`" if repeat == "list" else f"`[{place}]`"
        about = text or (model.__doc__ or "").strip().partition("\n")[0]
        yield Section(heading, about, tuple(options))
    for name, field, nested_type, how in inner:
        deeper = f"{place}.{name}" if place else name
        if how == "table":
            deeper += ".NAME"
        yield from sections_of(nested_type, deeper, field.description or "", how)


def option_sections() -> list[Section]:
    """All sections of the server's configuration, then those of a practice internet's world file."""
    from outrider.server.settings import Settings
    from outrider.sim.options import WorldOptions

    server = sections_of(Settings, "", "", "")
    world = [
        Section(f"World file: {section.heading}", section.text, section.options)
        for section in sections_of(WorldOptions, "world", "A practice internet (`outrider sim`).", "")
    ]
    renamed = [
        Section(one.heading.replace("world.", "").replace("`[world]`", "top"), one.text, one.options)
        for one in world
    ]
    return [section for section in (*server, *renamed) if section.options]
