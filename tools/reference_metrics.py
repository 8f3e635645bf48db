"""Reads the metrics out of `record.metrics` by collecting a registry of its own."""

import importlib

from prometheus_client import CollectorRegistry


def metric_rows() -> list[tuple[object, ...]]:
    """Name, kind, labels and help of each metric, by name."""
    metrics = importlib.import_module("outrider.record.metrics")
    registry = CollectorRegistry()
    metrics.Metrics(registry)
    collectors = {id(one): one for one in registry._names_to_collectors.values()}
    rows: list[tuple[object, ...]] = []
    for collector in collectors.values():
        for family in collector.collect():
            labels = getattr(collector, "_labelnames", ())
            rows.append((f"`{family.name}`", family.type, ", ".join(labels), family.documentation))
    return sorted(rows, key=str)
