"""The port by which data sources are measured; `record.metrics.Metrics` fits it.

Labels are names of sources and words of this module, so there are never more series than the configuration
has sources, times a handful.
"""

from typing import Final, Protocol

RESULTS: Final = ("ok", "error", "down", "timeout", "refused")
"""How a question to a source ended: answered, not accepted, not reached, too slow, not asked (breaker
open)."""

CACHE_RESULTS: Final = ("hit", "miss", "joined", "stale")
"""How the cache served: at once, not at all, by a question that was under way already, by an old result."""


class Cell(Protocol):
    """One series of a counter or gauge."""

    value: float


class Histogram(Protocol):
    """One series of a histogram."""

    def observe(self, value: float) -> None: ...


class Metrics(Protocol):
    """Where series are found by name and labels."""

    def cell(self, name: str, *labels: str) -> Cell: ...

    def histogram(self, name: str, *labels: str) -> Histogram: ...


class _Counter:
    """A series that nobody reads."""

    value: float = 0.0

    def observe(self, value: float) -> None:
        self.value += value


class NoMetrics:
    """For commands and tests, whose series nobody reads."""

    def cell(self, _name: str, *_labels: str) -> Cell:
        return _Counter()

    def histogram(self, _name: str, *_labels: str) -> Histogram:
        return _Counter()


class SourceMeasures:
    """The series of one source."""

    __slots__ = ("cached", "connections", "is_open", "queries", "seconds")

    def __init__(self, metrics: Metrics, source: str) -> None:
        self.queries = {
            result: metrics.cell("outrider_data_source_queries_total", source, result) for result in RESULTS
        }
        self.cached = {
            result: metrics.cell("outrider_data_source_cache_total", source, result)
            for result in CACHE_RESULTS
        }
        self.seconds = metrics.histogram("outrider_data_source_seconds", source)
        self.is_open = metrics.cell("outrider_data_source_open", source)
        self.connections = metrics.cell("outrider_data_source_connections", source)
