"""One exposition of the metrics of all processes, and the listener that serves it.

In: snapshots (`record.metrics`) as they come from the processes. Out: the text that Prometheus scrapes.

Theory: a counter must not go down, or its reader takes the whole sum for new. So what a process that ended
had counted is kept, and its successor counts on top of it.

Invariant: between two renderings no counter goes down.

Standards: Prometheus text format 0.0.4.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from outrider.record.metrics import DEFINITIONS, LABEL_SERIES, OTHER, Definition, Sample, Snapshot

_Key = tuple[str, tuple[str, ...]]
_Values = tuple[float, ...]

PATH: Final = "/metrics"


class Collection:
    """The latest snapshot of each process, and what ended processes had counted."""

    def __init__(self) -> None:
        self._latest: dict[str, Snapshot] = {}
        self._ended: dict[_Key, _Values] = {}
        self._series: Counter[str] = Counter()  # of each metric, in `_ended`

    def update(self, snapshot: Snapshot) -> None:
        """Take a process's snapshot; one with another `start` succeeds a process that ended."""
        before = self._latest.get(snapshot.process)
        if before is not None and before.start != snapshot.start:
            self._keep(before)
        self._latest[snapshot.process] = snapshot

    def end(self, process: str) -> None:
        """The process has ended and may have no successor: its gauges go, its counts stay."""
        before = self._latest.pop(process, None)
        if before is not None:
            self._keep(before)

    def render(self) -> bytes:
        """The exposition of everything."""
        return render(list(self._latest.values()), self._ended)  # a copy: this may run in a thread

    def _keep(self, snapshot: Snapshot) -> None:
        for sample in snapshot.samples:
            if DEFINITIONS[sample.name].kind != "gauge":
                self._add(sample)

    def _add(self, sample: Sample) -> None:
        """Each process bounds its labels; over many deaths they are bounded here, as sites come and go."""
        if (sample.name, sample.labels) not in self._ended:
            if self._series[sample.name] < LABEL_SERIES:
                self._series[sample.name] += 1
            else:
                sample = msgspec.structs.replace(sample, labels=(OTHER,) * len(sample.labels))
        _merge(self._ended, sample)


def render(snapshots: Iterable[Snapshot], ended: dict[_Key, _Values] | None = None) -> bytes:
    """The exposition of `snapshots`, each of another process, on top of what ended processes had counted."""
    totals = dict(ended or {})
    for snapshot in snapshots:
        for sample in snapshot.samples:
            if sample.name in DEFINITIONS:
                _merge(totals, sample)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(totals))
    return generate_latest(registry)


def _merge(totals: dict[_Key, _Values], sample: Sample) -> None:
    key = (sample.name, sample.labels)
    before = totals.get(key)
    if before is None:
        totals[key] = sample.values
    elif DEFINITIONS[sample.name].merge == "max":
        totals[key] = tuple(map(max, before, sample.values))
    else:
        totals[key] = tuple(a + b for a, b in zip(before, sample.values, strict=True))


class _Families(Collector):
    """Gives the totals to the library's writer."""

    def __init__(self, totals: dict[_Key, _Values]) -> None:
        self._totals = totals

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Any] = {}  # the library's families share no base with add_metric
        for (name, labels), values in sorted(self._totals.items()):
            definition = DEFINITIONS[name]
            if name not in families:
                families[name] = _family(name, definition)
            family = families[name]
            if definition.kind == "histogram":
                family.add_metric(labels, _buckets(definition, values), values[-1])
            else:
                family.add_metric(labels, values[0])
        return families.values()


def _family(name: str, definition: Definition) -> Any:
    kinds = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}
    return kinds[definition.kind](name, definition.help, labels=definition.labels)


def _buckets(definition: Definition, values: _Values) -> list[tuple[str, float]]:
    buckets = []
    count = 0.0
    for bound, more in zip((*map(str, definition.buckets), "+Inf"), values[:-1], strict=True):
        count += more
        buckets.append((bound, count))
    return buckets


def metrics_app(rendered: Callable[[], bytes]) -> Callable[[Any, Any, Any], Awaitable[None]]:
    """An ASGI application for `net.http.HttpServer` that serves `rendered()` at `/metrics`.

    `rendered` is called in a thread, because many series take longer than a loop may be held.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001 - ASGI's signature
        is_found = scope["path"] == PATH and scope["method"] in ("GET", "HEAD")
        body = await asyncio.to_thread(rendered) if is_found else b"Metrics are at /metrics.\n"
        kind = CONTENT_TYPE_PLAIN_0_0_4 if is_found else "text/plain; charset=utf-8"
        headers = [
            (b"content-type", kind.encode("ascii")),
            (b"content-length", str(len(body)).encode("ascii")),
        ]
        await send({"type": "http.response.start", "status": 200 if is_found else 404, "headers": headers})
        await send({"type": "http.response.body", "body": body if scope["method"] != "HEAD" else b""})

    return app
