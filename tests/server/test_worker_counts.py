"""What a worker counts with others, over reloads that are given up."""

from types import SimpleNamespace
from typing import Any

from outrider.receive.clients import ClientCounts, shared_counts
from outrider.receive.http_limits import KeyRates, rates_name, shared_rates
from outrider.receive.http_options import HttpOptions
from outrider.server.worker import Worker

DOOR = HttpOptions(name="new", key_recipients_per_second=10)


def worker(number: int) -> Any:
    """As much of one as counts."""
    return SimpleNamespace(_counts={}, _clients={}, _rates={}, _birth=SimpleNamespace(number=number))


def prepared(own: Any, counts: dict[str, Any]) -> tuple[ClientCounts, KeyRates]:
    """What it counts with once a reload has brought a listener, as `prepare` does it."""
    Worker.add_counts(own, counts)
    return Worker._clients_of(own, DOOR.name), Worker.rates_of(own, DOOR)


def memory() -> dict[str, Any]:
    return {DOOR.name: shared_counts(2), rates_name(DOOR.name): shared_rates(2)}


def test_after_a_reload_that_was_given_up_all_workers_count_in_the_same_memory() -> None:
    first, second = worker(0), worker(1)
    prepared(first, memory())  # the second one died meanwhile
    brought = memory()
    (clients, rates), (others, other_rates) = prepared(first, brought), prepared(second, brought)
    assert clients.enter("192.0.2.1", 1)
    assert not others.enter("192.0.2.1", 1)
    assert rates.take("acme/key", 5, 0.0) == 0
    assert other_rates.take("acme/key", 5, 0.0) == 0
    assert rates.take("acme/key", 1, 0.0) > 0
