"""Which shaping options hold for a path, and where each comes from.

Theory: `model.scopes` says which override wins, field by field; the effective options of a path are the
default with all matching overrides laid over it, least specific first. An override with `domain` has the
scope of those domains' own sites.

Limits count events of something that is shared. A limit belongs to the path, unless it comes from an
override with `shared`, then it belongs to that override and to all paths that take it from there: they
inherit it by reference, everything else by value. The *key* of a limit says to whom it belongs.

A domain that an override names is queued for itself: its site is `@domain` (see `sites`).
"""

from dataclasses import dataclass

from outrider.model.flow import Path
from outrider.model.scopes import Layer, Memberships, Scope, in_order, matches, sources_of
from outrider.schedule.options import ScheduleOptions, ShapingOptions, ShapingOverride
from outrider.schedule.rate import Rate, parse_rate

# Chosen: many more paths than are busy at once; a miss costs some 50 µs.
_CACHE_PATHS = 20_000
_SELECTORS = frozenset({"site", "domain", "group", "binding", "shared"})


@dataclass(frozen=True, slots=True)
class Shaping:
    """The effective options of one path, ready for use.

    Attributes:
        options: Every field resolved.
        message_rate: Parsed, or None for no limit.
        connection_rate: Parsed, or None for no limit.
        message_key: To whom the message throttle belongs.
        connection_key: To whom the connection throttle belongs.
        pool_key: To whom the connection limit belongs; None is the path alone.
        sources: For each field that is not the default, the override it comes from.
    """

    options: ShapingOptions
    message_rate: Rate | None
    connection_rate: Rate | None
    message_key: str
    connection_key: str
    pool_key: str | None
    sources: dict[str, Layer]


class ShapingTable:
    """Resolves paths to their shaping."""

    def __init__(self, options: ScheduleOptions, groups: Memberships | None = None) -> None:
        """Take the options.

        Args:
            options: Default and overrides.
            groups: Of which each binding is a member.
        """
        self.options = options
        self._groups = groups or {}
        self._layers = in_order(_layer(number, override) for number, override in enumerate(options.override))
        self._domains = [override.domain for override in options.override if override.domain]
        self._cache: dict[Path, Shaping] = {}
        self._rates: dict[str, Rate] = {}

    def is_separate(self, domain: str) -> bool:
        """True when an override names the domain, which then has a site for itself."""
        return any(matches(pattern, domain) for pattern in self._domains)

    def for_path(self, path: Path) -> Shaping:
        """The effective shaping of a path."""
        shaping = self._cache.get(path)
        if shaping is None:
            if len(self._cache) >= _CACHE_PATHS:
                self._cache.clear()
            shaping = self._cache[path] = self._resolve(path)
        return shaping

    def _resolve(self, path: Path) -> Shaping:
        groups = self._groups.get(path.binding, ())
        sources = sources_of(self._layers, groups, path.binding, path.site)
        values = {name: layer.values[name] for name, layer in sources.items()}
        # Laid over the default, not over an override, which would carry its selectors along.
        options = self.options.default.model_copy(update=values) if values else self.options.default
        own = str(path)

        def key(field: str) -> str | None:
            layer = sources.get(field)
            return str(layer.scope) if layer is not None and layer.shared else None

        return Shaping(
            options=options,
            message_rate=self._rate(options.max_message_rate),
            connection_rate=self._rate(options.max_connection_rate),
            message_key=f"messages {key('max_message_rate') or own}",
            connection_key=f"connections {key('max_connection_rate') or own}",
            pool_key=key("max_connections"),
            sources=sources,
        )

    def _rate(self, text: str) -> Rate | None:
        if not text:
            return None
        rate = self._rates.get(text)
        if rate is None:
            rate = self._rates[text] = parse_rate(text)
        return rate


def _layer(number: int, override: ShapingOverride) -> Layer:
    site = f"@{override.domain}" if override.domain else override.site
    return Layer(
        Scope(override.group, override.binding, site),
        {name: getattr(override, name) for name in override.model_fields_set - _SELECTORS},
        f"shaping.override.{number}",
        override.shared,
    )
