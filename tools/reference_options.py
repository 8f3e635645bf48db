"""Reads the options out of the settings models: name, default, unit, bounds, description, source."""

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from outrider.server.catalogue import Option, nested_model, option_of


@dataclass(frozen=True, slots=True)
class Section:
    """One table of the configuration file."""

    heading: str
    text: str
    options: tuple[Option, ...]


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
