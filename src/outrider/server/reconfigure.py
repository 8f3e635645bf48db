"""What differs between two configurations, and what of it a running server can take over.

In: the settings that run and those that were just read. Out: the changes by name, and the settings that a
reload leads to: the new ones, except for what needs a restart, which stays as it runs.

Theory: `LIVE` names what the processes know how to exchange. Whatever is not named needs a restart, so an
option that nobody thought of is never half changed.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeVar

from pydantic import BaseModel

from outrider.server.catalogue import Value, values
from outrider.server.settings import Settings
from outrider.server.sources import Sources

Model = TypeVar("Model", bound=BaseModel)

LIVE = (
    "server.watchdog_seconds",
    "server.drain_seconds",
    "server.min_free_bytes",
    "server.memory_limit_bytes",
    "server.content_cache_bytes",
    "listener",
    "listener.*",
    "http",
    "http.*",
    "shaping.default.*",
    "shaping.override",
    "shaping.override.*",
    "shaping.provider",
    "shaping.provider.*",
    "shaping.outbound_connections",
    "shaping.settle_seconds",
    "shaping.horizon_seconds",
    "delivery.*",
    "binding",
    "binding.*",
    "binding_group",
    "binding_group.*",
    "net.*",
    "classify.dsn.*",
    "policy.script",
    "policy.script.*",
    "policy.lookup",
    "policy.lookup.*",
    "policy.lua_*",
    "policy.default_binding",
    "policy.hook_seconds",
    "policy.wait_seconds",
    "policy.alert_*",
    "policy.audit_monitors",
    "data_source",
    "data_source.*",
    "dkim",
    "dkim.*",
    "record.rotate_bytes",
    "record.rotate_seconds",
    "record.sync_seconds",
    "record.refusals_per_second",
    "record.log_level",
    "record.log_rotate_bytes",
    "record.log_rotate_seconds",
    "record.log_keep_seconds",
    "record.log_keep_files",
)
"""Names of options; `*` stands for any part. A list of tables is named by itself too, as it may grow."""


@dataclass(frozen=True, slots=True)
class Change:
    """One difference.

    Attributes:
        name: Of the option, with the names of list elements.
        old: What runs, as in TOML; empty where there is none, as of a new listener.
        new: What was read; empty where there is none any more.
        origin: Where the new one comes from.
        needs_restart: The old one stays until then.
    """

    name: str
    old: str
    new: str
    origin: str
    needs_restart: bool

    def told(self) -> dict[str, str | bool]:
        """For an answer or a log line."""
        return {
            "name": self.name,
            "old": self.old,
            "new": self.new,
            "origin": self.origin,
            "needs_restart": self.needs_restart,
        }


def is_live(option: str) -> bool:
    """True when a reload changes it in a running server."""
    return any(fnmatchcase(option, pattern) for pattern in LIVE)


def changes(old: Settings, new: Settings, sources: Sources) -> list[Change]:
    """What differs, by name; `sources` are those of `new`.

    Of an element of a list that is new or gone, such as a listener, its name and what was set is told; what
    it leaves to defaults is no news.
    """
    before = {value.name: value for value in values(old)}
    after = {value.name: value for value in values(new)}
    found = []
    for name in dict.fromkeys([*before, *after]):
        was, now = before.get(name), after.get(name)
        if was is not None and now is not None and was.value == now.value:
            continue
        known = now or was
        if known is None or ((was is None or now is None) and not known.is_telling):
            continue
        origin = str(sources.exact_origin(now.location)) if now is not None else "taken away"
        found.append(Change(name, _shown(was), _shown(now), origin, not is_live(known.option)))
    return found


def _shown(value: Value | None) -> str:
    return "" if value is None else value.shown


def merged(old: Settings, new: Settings) -> Settings:
    """`new`, with everything that needs a restart as in `old`."""
    return _merged(old, new, "")


def _merged(old: Model, new: Model, place: str) -> Model:
    kept = {}
    for name in type(new).model_fields:
        was, now = getattr(old, name), getattr(new, name)
        option = f"{place}{name}"
        if was == now or is_live(option):
            continue
        if isinstance(now, BaseModel) and isinstance(was, BaseModel):
            kept[name] = _merged(was, now, f"{option}.")
        else:
            kept[name] = was
    return new.model_copy(update=kept) if kept else new


def names(found: Iterable[Change], *, needs_restart: bool) -> list[str]:
    """The names of those that do, or do not, need a restart."""
    return [change.name for change in found if change.needs_restart is needs_restart]
