"""What one key may do: at once and in a second, over all workers; and when it may come back."""

import asyncio

import pytest

from outrider.receive.clients import ClientCounts, shared_counts
from outrider.receive.http_limits import KeyLimits, KeyRates, shared_rates
from tests.receive.http_site import HttpSite, until

MESSAGE = {"from": "shop@sender.example", "to": ["a@example.com"], "subject": "Hi", "text": "Hello\n"}


async def test_a_key_has_so_many_requests_under_way() -> None:
    site = HttpSite(key_requests=2)
    site.intake.reply = None
    loop = asyncio.get_running_loop()
    under_way = [loop.create_task(site.post(MESSAGE)) for _ in range(2)]
    await until(lambda: len(site.intake.waiting) == 2)
    for answer in (await site.post(MESSAGE), await site.batch(MESSAGE)):
        assert (answer.status, answer.document["code"], answer.fields["retry-after"]) == (
            429,
            "too_many",
            "1",
        )
    other = loop.create_task(site.post(MESSAGE | {"from": "x@y.example"}, key="other"))
    await until(lambda: len(site.intake.waiting) == 3)
    for store in site.intake.waiting:
        store()
    assert [(await task).status for task in (*under_way, other)] == [202] * 3
    site.intake.waiting.clear()
    task = loop.create_task(site.post(MESSAGE))
    await until(lambda: site.intake.waiting)
    site.intake.waiting[0]()
    assert (await task).status == 202  # what is done is not counted


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "message/rfc822"])
async def test_a_refused_request_is_not_under_way_any_more(kind: str) -> None:
    site = HttpSite(key_requests=1)
    for _ in range(3):
        assert (await site.ask("POST", "/v1/messages", [b"{"], kind=kind)).status != 429
        assert (await site.ask("POST", "/v1/batches", [b"{"], kind=kind)).status == 415
    assert (await site.post(MESSAGE)).status == 202


async def test_recipients_a_second_are_limited() -> None:
    site = HttpSite(key_recipients_per_second=2)
    statuses = [(await site.post(MESSAGE)).status for _ in range(3)]
    assert statuses == [202, 202, 429]
    answer = await site.post(MESSAGE)
    assert answer.fields["retry-after"] == str(answer.document["retry_after"]) == "1"
    line = (await site.batch(MESSAGE)).lines[0]
    assert (line["status"], line["problem"]["retry_after"]) == (429, 1)
    assert (await site.post(MESSAGE | {"from": "x@y.example"}, key="other")).status == 202
    site.clock.advance(1.0)
    assert (await site.post(MESSAGE)).status == 202


def test_a_large_request_is_taken_and_paid_for_afterwards() -> None:
    rates = KeyRates(10)
    assert rates.take("k", 100, 0.0) == 0
    assert rates.take("k", 1, 0.0) == 9
    assert rates.take("k", 1, 8.9) == 1
    assert rates.take("k", 1, 9.1) == 0


def test_a_rate_holds_over_all_workers() -> None:
    shared = shared_rates(3)
    workers = [KeyRates(100, shared, column) for column in range(3)]
    taken = 0
    for tick in range(1000):  # ten seconds, each worker asks each 10 ms for five
        for worker in workers:
            taken += 5 if worker.take("k", 5, tick / 100) == 0 else 0
    assert 1000 <= taken <= 1000 + 100 + 3 * 5


def test_an_idle_worker_does_not_remember_what_has_drained() -> None:
    shared = shared_rates(2)
    busy, idle = (KeyRates(10, shared, column) for column in range(2))
    assert idle.take("k", 1, 0.0) == 0
    for second in range(100):
        assert busy.take("k", 9, float(second)) == 0
    assert idle.take("k", 1, 100.0) == 0


def test_a_successor_that_begins_anew_owes_nothing() -> None:
    shared = shared_rates(2)
    first, dying = (KeyRates(10, shared, column) for column in range(2))
    assert first.take("k", 1, 0.0) == 0
    assert dying.take("k", 500, 0.0) == 0
    KeyRates(10, shared, 1)
    assert first.take("k", 1, 0.1) == 0


def test_requests_at_once_hold_over_all_workers() -> None:
    shared = shared_counts(2)
    one, two = (KeyLimits(2, ClientCounts(shared, column), KeyRates(0)) for column in range(2))
    assert one.enter("k")
    assert two.enter("k")
    assert not one.enter("k")
    two.leave("k")
    assert one.enter("k")
