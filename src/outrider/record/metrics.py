"""Metrics of one process: cells that are counted up, and a snapshot of them all.

A series is a *cell* that its user binds once and then counts with a plain addition. The control process
collects snapshots of all processes and renders one exposition (`record.exposition`).

Theory: a labelled counter of the usual library costs a lock and a look-up per event, and rendering ten
thousand series blocks a loop for 174 ms (measured); cells cost an addition. The only label that the outside
world can fill, the site, is bounded: a site gets a series of its own after `PROMOTE_AFTER` attempts, as long
as there is room; before that, and for all others, it is `other`. A site keeps its series until the process
ends, so no counter ever goes down.

Invariant: the number of series is bounded, and no label holds an id or an address.

Standards: Prometheus text format 0.0.4; names in base units with the prefix `outrider_`.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, TypeVar

import msgspec

from outrider.record.events import (
    Attempt,
    Bounced,
    Deferred,
    Delivered,
    Discarded,
    Event,
    Expired,
    Purged,
    Received,
    Simulated,
)

S = TypeVar("S")

OTHER: Final = "other"

PROMOTE_AFTER: Final = 20
"""Chosen, because a site with fewer attempts tells nothing in a graph."""

_CANDIDATES: Final = 10_000
# Chosen: sites whose attempts are counted towards a series; about 1 MiB

LABEL_SERIES: Final = 500
# Chosen: series of one metric beyond which further label values count as `other`

_SECONDS: Final = (
    0.005,
    0.025,
    0.1,
    0.5,
    1.0,
    5.0,
    30.0,
    120.0,
    600.0,
    3_600.0,
    14_400.0,
    86_400.0,
    432_000.0,
)
# Chosen: from a delivery at once to the five days of RFC 5321 §4.5.4.1

_SHORT_SECONDS: Final = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
# Chosen: syncs and loop lag, from a fast disk to a stall


class Definition(NamedTuple):
    """A metric.

    Attributes:
        kind: `counter`, `gauge` or `histogram`.
        help: What it counts.
        labels: Names of its labels.
        buckets: Upper bounds of a histogram.
        merge: How gauges of several processes become one: `sum` or `max`.
    """

    kind: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    merge: str = "sum"


DEFINITIONS: Final[dict[str, Definition]] = {
    "outrider_messages_accepted_total": Definition(
        "counter", "Recipients of accepted messages.", ("listener", "protocol")
    ),
    "outrider_accepted_bytes_total": Definition(
        "counter", "Octets of accepted content, once for each recipient.", ("listener", "protocol")
    ),
    "outrider_refusals_total": Definition(
        "counter", "What listeners refused, by reply code.", ("listener", "code")
    ),
    "outrider_delivery_attempts_total": Definition(
        "counter", "Attempts and decisions of the queue, by result.", ("channel", "result", "site")
    ),
    "outrider_bounces_total": Definition(
        "counter", "Failures for good and for now, by class.", ("channel", "result", "bounce_class")
    ),
    "outrider_delivery_latency_seconds": Definition(
        "histogram", "From reception to delivery.", ("channel",), _SECONDS
    ),
    "outrider_transaction_seconds": Definition(
        "histogram", "Duration of a delivery's transaction.", ("channel",), _SECONDS
    ),
    "outrider_queue_messages": Definition("gauge", "Recipients in the queue.", ("state",)),
    "outrider_spool_messages_missing": Definition(
        "gauge", "Queued recipients whose message is in a spool file that was removed."
    ),
    "outrider_connections": Definition("gauge", "Open connections.", ("direction",)),
    "outrider_listener_stressed": Definition("gauge", "Processes whose limits are tight.", ("listener",)),
    "outrider_spool_sync_seconds": Definition(
        "histogram", "Duration of a group commit's sync.", (), _SHORT_SECONDS
    ),
    "outrider_event_loop_lag_seconds": Definition(
        "gauge", "How late the event loop was at worst in the last interval.", ("process",), (), "max"
    ),
    "outrider_clock_steps_seconds": Definition(
        "gauge", "By how much the machine's calendar was set ahead since the server began.", (), (), "max"
    ),
    "outrider_resident_bytes": Definition("gauge", "Resident memory.", ("process",)),
    "outrider_events_written_total": Definition("counter", "Events written of what the log holds."),
    "outrider_policy_hooks_total": Definition("counter", "Calls of policy hooks.", ("phase",)),
    "outrider_policy_failures_total": Definition(
        "counter", "Policy hooks that failed, by script and kind of failure.", ("script", "kind")
    ),
    "outrider_data_source_queries_total": Definition(
        "counter", "Questions to data sources that the cache did not answer.", ("source", "result")
    ),
    "outrider_data_source_cache_total": Definition(
        "counter", "How the caches of data sources served.", ("source", "result")
    ),
    "outrider_data_source_seconds": Definition(
        "histogram", "Duration of a question to a data source.", ("source",), _SHORT_SECONDS
    ),
    "outrider_data_source_open": Definition(
        "gauge", "Processes that leave a data source alone because it does not answer.", ("source",)
    ),
    "outrider_data_source_connections": Definition("gauge", "Open connections to data sources.", ("source",)),
    "outrider_restarts_total": Definition("counter", "Processes that were started again.", ("process",)),
}
"""All metrics; the manual's page is generated from here."""


class Cell:
    """One series of a counter or gauge: add to `value`, or set it."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0


class Histogram:
    """One series of a histogram."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """A series; `values` is one number, or the counts of a histogram's buckets and then its sum."""

    name: str
    labels: tuple[str, ...]
    values: tuple[float, ...]


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """All series of a process at one moment.

    Attributes:
        process: Name, such as `worker-1`; the successor of a dead process has the same.
        start: Differs between a process and its successor.
        samples: The series.
    """

    process: str
    start: str
    samples: tuple[Sample, ...]


_RESULTS: Final[dict[type[Event], str]] = {
    Delivered: "delivered",
    Deferred: "transient",
    Bounced: "bounced",
    Expired: "expired",
    Purged: "purged",
    Discarded: "discarded",
    Simulated: "simulated",
}


class Metrics:
    """The series of one process.

    Args:
        process: See `Snapshot`.
        start: See `Snapshot`.
        sites: How many sites have series of their own.
    """

    def __init__(self, process: str, start: str, sites: int = 50) -> None:
        self._process = process
        self._start = start
        self._cells: dict[str, dict[tuple[str, ...], Cell]] = {}
        self._histograms: dict[str, dict[tuple[str, ...], Histogram]] = {}
        self._room = sites
        self._sites: set[str] = set()
        self._candidates: dict[str, int] = {}
        self._written = self.cell("outrider_events_written_total")
        self._attempts = self._cells.setdefault("outrider_delivery_attempts_total", {})

    def cell(self, name: str, *labels: str) -> Cell:
        """The series of a counter or gauge; bind it once where it is counted often.

        Raises:
            KeyError: No such metric.
            ValueError: Labels do not fit the metric.
        """
        return _series_of(self._cells, name, labels, Cell)

    def histogram(self, name: str, *labels: str) -> Histogram:
        """The series of a histogram; raises as `cell` does."""
        bounds = DEFINITIONS[name].buckets
        return _series_of(self._histograms, name, labels, lambda: Histogram(bounds))

    def site(self, site: str) -> str:
        """The label for an attempt at `site`: its name, or `other`."""
        if site in self._sites:
            return site
        if self._room <= 0:
            return OTHER
        count = self._candidates.get(site, 0) + 1
        if count < PROMOTE_AFTER:
            if count > 1 or len(self._candidates) < _CANDIDATES:
                self._candidates[site] = count
            else:
                self._candidates.clear()  # so that a flood of sites does not shut out those that come later
            return OTHER
        del self._candidates[site]
        self._sites.add(site)
        self._room -= 1
        return site

    def count(self, events: Iterable[Event]) -> None:
        """Count events as they are written."""
        for event in events:
            self._written.value += 1
            if isinstance(event, Attempt):
                self._count_attempt(event)
            elif isinstance(event, Received):
                labels = (event.listener, event.protocol)
                self.cell("outrider_messages_accepted_total", *labels).value += 1
                self.cell("outrider_accepted_bytes_total", *labels).value += event.size

    def refused(self, listener: str, code: int) -> None:
        """Count something that a listener refused; also what the record has no room for."""
        self.cell("outrider_refusals_total", listener, str(code)).value += 1

    def snapshot(self) -> Snapshot:
        """All series now."""
        samples = [
            Sample(name, labels, (cell.value,))
            for name, series in self._cells.items()
            for labels, cell in series.items()
        ]
        samples += [
            Sample(name, labels, (*histogram.counts, histogram.total))
            for name, histograms in self._histograms.items()
            for labels, histogram in histograms.items()
        ]
        return Snapshot(self._process, self._start, tuple(samples))

    def _count_attempt(self, event: Attempt) -> None:
        result = _RESULTS.get(type(event), OTHER)
        channel = event.channel
        key = (channel, result, self.site(event.site))
        cell = self._attempts.get(key)
        if cell is None:
            cell = self.cell("outrider_delivery_attempts_total", *key)
        cell.value += 1
        if result == "delivered":
            self.histogram("outrider_delivery_latency_seconds", channel).observe(event.queued_seconds)
            self.histogram("outrider_transaction_seconds", channel).observe(event.seconds)
        elif event.bounce_class:
            self.cell("outrider_bounces_total", channel, result, event.bounce_class).value += 1


def _series_of(
    store: dict[str, dict[tuple[str, ...], S]], name: str, labels: tuple[str, ...], make: Callable[[], S]
) -> S:
    series = store.get(name)
    if series is None:
        series = store[name] = {}
    found = series.get(labels)
    if found is None:
        expected = DEFINITIONS[name].labels
        if len(labels) != len(expected):
            raise ValueError(f"{name} has the labels {expected}")
        if len(series) >= LABEL_SERIES:
            labels = (OTHER,) * len(labels)
            found = series.get(labels)
        if found is None:
            found = series[labels] = make()
    return found
