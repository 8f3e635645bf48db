"""Answers what an option means, what it is now and where that comes from.

In: settings with the origin of each value, and a name: an option, a section, or a pattern with `*`. Out: one
row for each option that it names, with its values.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from outrider.base.errors import ConfigError
from outrider.server.catalogue import Option, Value, options, values
from outrider.server.configuration import Configuration
from outrider.server.reconfigure import is_live
from outrider.server.settings import Settings
from outrider.server.sources import DEFAULT


@dataclass(frozen=True, slots=True)
class Explained:
    """One option.

    Attributes:
        option: What it is.
        values: What it is now; of an option in a list of tables for each of them, perhaps none.
        origins: Where each of them comes from.
    """

    option: Option
    values: tuple[Value, ...]
    origins: tuple[str, ...]

    def told(self) -> dict[str, Any]:
        """For machines."""
        return {
            "name": self.option.name,
            "meaning": self.option.text,
            "unit": self.option.unit,
            "bounds": self.option.bounds,
            "default": self.option.default.strip("`"),
            "default_source": self.option.source,
            "changes_by": "reload" if is_live(self.option.name) else "restart",
            "values": [
                {"name": value.name, "value": value.shown, "origin": origin}
                for value, origin in zip(self.values, self.origins, strict=True)
            ],
        }


def explain(configuration: Configuration, wanted: str) -> list[Explained]:
    """`explain_running` of a configuration that was just read.

    Raises:
        ConfigError: As there.
    """
    return explain_running(configuration.settings, configuration.origins(), wanted)


def explain_running(settings: Settings, origins: Mapping[str, str], wanted: str) -> list[Explained]:
    """Every option that `wanted` names, in the order of the manual.

    Args:
        settings: What the values are.
        origins: Where values come from, by name; those that are not named are defaults.
        wanted: An option, a section or a pattern.

    Raises:
        ConfigError: It names none; the message says what was probably meant.
    """
    by_option: dict[str, list[Value]] = {}
    for value in values(settings):
        by_option.setdefault(value.option, []).append(value)
    found = []
    for option in options():
        known = by_option.get(option.name, [])
        chosen = known
        if not _is_named(option.name, wanted):
            chosen = [value for value in known if _is_named(value.name, wanted)]
            if not chosen:
                continue
        told = tuple(origins.get(value.name, str(DEFAULT)) for value in chosen)
        found.append(Explained(option, tuple(chosen), told))
    if not found:
        known_names = {option.name for option in options()}
        known_names |= {value.name for each in by_option.values() for value in each}
        close = difflib.get_close_matches(wanted, sorted(known_names), n=3)
        hint = f"; did you mean {' or '.join(close)}?" if close else "; `outrider config show` lists all"
        raise ConfigError(f"{wanted} is not an option or a section{hint}")
    return found


def _is_named(name: str, wanted: str) -> bool:
    return name == wanted or name.startswith(f"{wanted}.") or fnmatchcase(name, wanted)
