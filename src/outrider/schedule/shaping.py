"""Which shaping options hold for a path, and where each comes from.

Theory: an override may name a binding, a site or domain, or both. Most specific first (design: binding and
site, then binding, then site, then default); within that an exact name beats a suffix, a longer suffix a
shorter one, and of equals the later one wins. Each field is inherited for itself, so the effective options
of a path are the default with all matching overrides laid over it, least specific first.

Limits count events of something that is shared. A limit belongs to the path, unless it comes from an
override with `shared`, then it belongs to that override and to all paths that take it from there. The *key*
of a limit says to whom it belongs.

A domain that an override names is queued for itself: its site is `@domain` (see `sites`).
"""

from dataclasses import dataclass

from outrider.model.flow import Path
from outrider.schedule.options import ScheduleOptions, ShapingOptions, ShapingOverride
from outrider.schedule.rate import Rate, parse_rate

# Chosen: many more paths than are busy at once; a miss costs some 50 µs.
_CACHE_PATHS = 20_000
_SELECTORS = frozenset({"site", "domain", "binding", "shared"})


def matches(pattern: str, name: str) -> bool:
    """True when `name` is what `pattern` says: `*`, `*.suffix`, or the name itself."""
    if pattern == "*":
        return True
    if pattern.startswith("*."):
        return name.endswith(pattern[1:])
    return name == pattern


def _rank(pattern: str) -> int:
    if pattern in {"*", ""}:
        return 0
    return len(pattern) if pattern.startswith("*.") else 1000


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
    sources: dict[str, str]


class ShapingTable:
    """Resolves paths to their shaping."""

    def __init__(self, options: ScheduleOptions) -> None:
        self.options = options
        order = sorted(
            range(len(options.override)), key=lambda index: (*self._order(options.override[index]), index)
        )
        self._overrides = [options.override[index] for index in order]
        self._domains = [override.domain for override in options.override if override.domain]
        self._cache: dict[Path, Shaping] = {}
        self._rates: dict[str, Rate] = {}

    @staticmethod
    def _order(override: ShapingOverride) -> tuple[int, int, int]:
        receiver = max(_rank(override.site), _rank(override.domain) * 2)
        binding = _rank(override.binding)
        kind = 3 if receiver and binding else 2 if binding else 1 if receiver else 0
        return kind, binding, receiver

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
        domain = path.site[1:] if path.site.startswith("@") else None
        values: dict[str, object] = {}
        origins: dict[str, ShapingOverride] = {}
        for override in self._overrides:
            if not matches(override.binding, path.binding):
                continue
            if override.domain:
                if domain is None or not matches(override.domain, domain):
                    continue
            elif not matches(override.site, path.site):
                continue
            for name in override.model_fields_set - _SELECTORS:
                values[name] = getattr(override, name)
                origins[name] = override
        # Laid over the default, not over an override, which would carry its selectors along.
        options = self.options.default.model_copy(update=values) if values else self.options.default
        own = str(path)

        def key(field: str) -> str | None:
            origin = origins.get(field)
            return self._label(origin) if origin is not None and origin.shared else None

        return Shaping(
            options=options,
            message_rate=self._rate(options.max_message_rate),
            connection_rate=self._rate(options.max_connection_rate),
            message_key=f"messages {key('max_message_rate') or own}",
            connection_key=f"connections {key('max_connection_rate') or own}",
            pool_key=key("max_connections"),
            sources={name: self._label(override) for name, override in origins.items()},
        )

    def _rate(self, text: str) -> Rate | None:
        if not text:
            return None
        rate = self._rates.get(text)
        if rate is None:
            rate = self._rates[text] = parse_rate(text)
        return rate

    @staticmethod
    def _label(override: ShapingOverride) -> str:
        receiver = f"@{override.domain}" if override.domain else override.site
        return f"{override.binding}::{receiver}"
