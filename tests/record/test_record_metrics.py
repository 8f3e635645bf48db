"""Metrics: counted from events, bounded in series, one exposition, and no counter goes down."""

import asyncio
import socket
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from outrider.base.clock import FakeClock
from outrider.base.log import NullLog
from outrider.model.address import Address
from outrider.model.changes import ContentRef
from outrider.net.http import HttpLimits, HttpServer
from outrider.record.derive import events_of
from outrider.record.exposition import Collection, metrics_app, render
from outrider.record.metrics import DEFINITIONS, OTHER, PROMOTE_AFTER, Metrics, Snapshot
from outrider.record.redact import Redactor

ALICE = Address("alice", "example.com")
REF = ContentRef(3, 1, 64, 100)


def values_of(text: bytes) -> dict[tuple[str, tuple[str, ...]], float]:
    """What an independent reader of the format finds; label values in the order of the definition."""
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        order = (*DEFINITIONS[name].labels, "le")
        for sample in family.samples:
            labels = tuple(sample.labels[label] for label in order if label in sample.labels)
            found[sample.name, labels] = sample.value
    return found


def test_events_are_counted(make: Any) -> None:
    metrics = Metrics("worker-1", "a")
    changes = [make.stored(ALICE, ALICE), make.finished(ALICE), make.retried(ALICE)]
    metrics.count(events_of(REF, changes, Redactor()))
    for _ in range(5):
        metrics.refused("smtp", 550)
    values = values_of(render([metrics.snapshot()]))
    assert values["outrider_messages_accepted_total", ("submission", "ESMTPSA")] == 2
    assert values["outrider_accepted_bytes_total", ("submission", "ESMTPSA")] == 4096
    assert values["outrider_delivery_attempts_total", ("smtp", "delivered", OTHER)] == 1
    assert values["outrider_delivery_attempts_total", ("smtp", "transient", OTHER)] == 1
    assert values["outrider_bounces_total", ("smtp", "transient", "greylisted")] == 1
    assert values["outrider_refusals_total", ("smtp", "550")] == 5
    assert values["outrider_events_written_total", ()] == 4
    assert values["outrider_delivery_latency_seconds_count", ("smtp",)] == 1
    assert values["outrider_delivery_latency_seconds_sum", ("smtp",)] == 2.5
    assert values["outrider_delivery_latency_seconds_bucket", ("smtp", "1.0")] == 0
    assert values["outrider_delivery_latency_seconds_bucket", ("smtp", "5.0")] == 1
    assert values["outrider_delivery_latency_seconds_bucket", ("smtp", "+Inf")] == 1


def test_a_site_gets_its_series_when_it_matters() -> None:
    metrics = Metrics("worker-1", "a", sites=2)
    assert [metrics.site("big.example") for _ in range(PROMOTE_AFTER + 1)] == [
        *[OTHER] * (PROMOTE_AFTER - 1),
        "big.example",
        "big.example",
    ]
    for number in range(30_000):
        assert metrics.site(f"{number}.example") == OTHER
    assert len(metrics._candidates) <= 10_000
    for _ in range(PROMOTE_AFTER):
        metrics.site("second.example")
        metrics.site("third.example")
    assert metrics._sites == {"big.example", "second.example"}


def test_series_are_bounded_whatever_the_labels() -> None:
    metrics = Metrics("worker-1", "a")
    for number in range(2_000):
        metrics.cell("outrider_refusals_total", f"listener-{number}", "550").value += 1
    series = metrics._cells["outrider_refusals_total"]
    assert len(series) <= 501
    assert sum(cell.value for cell in series.values()) == 2_000


def test_wrong_labels_are_refused() -> None:
    metrics = Metrics("worker-1", "a")
    with pytest.raises(ValueError, match="has the labels"):
        metrics.cell("outrider_refusals_total", "smtp")
    with pytest.raises(KeyError):
        metrics.cell("outrider_nothing_total")


def snapshot_of(process: str, start: str, *, refusals: int, queued: int = 0, lag: float = 0.0) -> Snapshot:
    metrics = Metrics(process, start)
    metrics.cell("outrider_refusals_total", "smtp", "550").value = refusals
    metrics.cell("outrider_queue_messages", "due").value = queued
    metrics.cell("outrider_event_loop_lag_seconds", "all").value = lag
    metrics.histogram("outrider_spool_sync_seconds").observe(0.002)
    return metrics.snapshot()


def test_processes_are_added_up() -> None:
    text = render(
        [snapshot_of("a", "1", refusals=3, queued=5, lag=0.5), snapshot_of("b", "1", refusals=4, lag=0.1)]
    )
    values = values_of(text)
    assert values["outrider_refusals_total", ("smtp", "550")] == 7
    assert values["outrider_queue_messages", ("due",)] == 5
    assert values["outrider_event_loop_lag_seconds", ("all",)] == 0.5
    assert values["outrider_spool_sync_seconds_count", ()] == 2


def test_no_counter_goes_down_when_a_process_dies() -> None:
    collection = Collection()
    collection.update(snapshot_of("a", "1", refusals=3, queued=9))
    collection.update(snapshot_of("b", "1", refusals=4))
    collection.update(snapshot_of("a", "1", refusals=5, queued=9))
    collection.update(snapshot_of("a", "2", refusals=1))
    values = values_of(collection.render())
    assert values["outrider_refusals_total", ("smtp", "550")] == 10
    assert values["outrider_queue_messages", ("due",)] == 0
    collection.end("b")
    collection.end("b")
    assert values_of(collection.render())["outrider_refusals_total", ("smtp", "550")] == 10


def test_series_are_bounded_over_many_deaths_with_sites_of_their_own() -> None:
    collection = Collection()
    for life in range(60):
        metrics = Metrics("worker-0", str(life))
        for number in range(50):
            site = f"mx{number}.life{life}.example"
            metrics.cell("outrider_delivery_attempts_total", "smtp", "delivered", site).value += 1
        collection.update(metrics.snapshot())
    collection.end("worker-0")
    attempts = {
        key: value
        for key, value in values_of(collection.render()).items()
        if key[0] == "outrider_delivery_attempts_total"
    }
    assert len(attempts) <= 501
    assert sum(attempts.values()) == 60 * 50


def test_snapshots_travel_as_octets() -> None:
    snapshot = snapshot_of("a", "1", refusals=3)
    octets = msgspec.msgpack.encode(snapshot)
    assert msgspec.msgpack.decode(octets, type=Snapshot) == snapshot


def test_names_follow_the_conventions() -> None:
    for name, definition in DEFINITIONS.items():
        assert name.startswith("outrider_")
        assert name.endswith("_total") == (definition.kind == "counter")
        assert bool(definition.buckets) == (definition.kind == "histogram")
        assert list(definition.buckets) == sorted(definition.buckets)
        assert not {"message_id", "recipient", "mail_from", "client", "domain"} & set(definition.labels)


async def test_the_listener_serves_the_exposition() -> None:
    collection = Collection()
    collection.update(snapshot_of("a", "1", refusals=3))
    server = HttpServer(metrics_app(collection.render), HttpLimits(), FakeClock(), NullLog())
    listener = socket.create_server(("127.0.0.1", 0))
    await server.start([listener])
    try:
        found = await ask(listener.getsockname()[1], "/metrics")
        assert found.startswith(b"HTTP/1.1 200")
        body = found.partition(b"\r\n\r\n")[2]
        assert values_of(body)["outrider_refusals_total", ("smtp", "550")] == 3
        assert (await ask(listener.getsockname()[1], "/")).startswith(b"HTTP/1.1 404")
    finally:
        await server.close(1)


async def ask(port: int, path: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    found = await reader.read()
    writer.close()
    await writer.wait_closed()
    return found
