"""The same request under the same key is done once; that workers agree is tests/server/test_idempotency."""

import asyncio
from typing import Any

import pytest

from outrider.receive.http_keys import key_digest, start_digest
from outrider.wire.smtp import replies
from tests.receive.http_site import HttpSite, until

MESSAGE = {"from": "shop@sender.example", "to": ["a@example.com"], "subject": "Hi", "text": "Hello\n"}
RAW = [b"From: shop@sender.example\r\nSubject: x\r\n\r\nHello\r\n"]
PERSONAL = {
    "from": "shop@sender.example",
    "text": "{{n}}",
    "recipients": [{"address": f"{n}@example.com", "variables": {"n": n}} for n in range(5)],
}


async def test_the_answer_is_given_again() -> None:
    site = HttpSite()
    first = await site.post(MESSAGE, idempotency_key='"order-1"')
    second = await site.post(MESSAGE, idempotency_key="order-1")
    assert (first.status, second.status, second.body) == (202, 202, first.body)
    assert (first.fields.get("outrider-repeated"), second.fields["outrider-repeated"]) == (None, "true")
    assert second.fields["location"] == first.fields["location"]
    assert len(site.intake.submitted) == 1


async def test_another_request_under_the_key_is_refused() -> None:
    site = HttpSite()
    await site.post(MESSAGE, idempotency_key="k")
    answer = await site.post(MESSAGE | {"subject": "Other"}, idempotency_key="k")
    assert (answer.status, answer.document["code"]) == (422, "key_reused")
    query = "/v1/messages?from=shop@sender.example&to=a@example.com"
    raw = await site.ask("POST", query, RAW, kind="message/rfc822", idempotency_key="k")
    assert raw.status == 422
    assert len(site.intake.submitted) == 1


async def test_the_envelope_of_a_raw_message_is_part_of_the_request() -> None:
    site = HttpSite()
    for to, status in (("a@example.com", 202), ("a@example.com", 202), ("b@example.com", 422)):
        query = f"/v1/messages?from=shop@sender.example&to={to}"
        answer = await site.ask("POST", query, RAW, kind="message/rfc822", idempotency_key="k")
        assert answer.status == status
    assert len(site.intake.submitted) == 1


async def test_a_key_belongs_to_its_tenant() -> None:
    site = HttpSite()
    assert (await site.post(MESSAGE, idempotency_key="k")).status == 202
    assert (await site.post(MESSAGE | {"subject": "x"}, key="other", idempotency_key="k")).status == 202
    assert len(site.intake.submitted) == 2


async def test_while_the_first_is_under_way_the_second_is_told_to_wait() -> None:
    site = HttpSite()
    site.intake.reply = None
    first = asyncio.get_running_loop().create_task(site.post(MESSAGE, idempotency_key="k"))
    await until(lambda: site.intake.waiting)
    second = await site.post(MESSAGE, idempotency_key="k")
    assert (second.status, second.document["code"], second.fields["retry-after"]) == (409, "in_flight", "1")
    assert (await site.post(MESSAGE | {"subject": "x"}, idempotency_key="k")).status == 422
    site.intake.waiting.pop()()
    assert (await first).status == 202
    assert (await site.post(MESSAGE, idempotency_key="k")).status == 202
    assert len(site.intake.submitted) == 1


@pytest.mark.parametrize(
    "fault",
    [
        {"from": "x@bank.example"},
        {"subject": "a\nb"},
        {"stream": "private"},
        {"send_at": "2036-01-01T00:00:00Z"},
    ],
)
async def test_a_request_that_is_refused_leaves_the_key_free(fault: Any) -> None:
    site = HttpSite()
    assert (await site.post(MESSAGE | fault, idempotency_key="k")).status in (403, 422)
    assert (await site.post(MESSAGE, idempotency_key="k")).status == 202


async def test_a_request_that_is_not_stored_leaves_the_key_free() -> None:
    site = HttpSite()
    site.intake.reply = replies.SPOOL_FAILED
    assert (await site.post(MESSAGE, idempotency_key="k")).status == 503
    site.intake.reply = replies.queued("x")
    assert (await site.post(MESSAGE, idempotency_key="k")).status == 202
    assert len(site.intake.submitted) == 1


async def test_a_request_given_up_in_the_middle_leaves_the_key_free() -> None:
    site = HttpSite()
    task = asyncio.get_running_loop().create_task(
        site.post(PERSONAL | {"recipients": PERSONAL["recipients"] * 100}, idempotency_key="k")  # type: ignore[operator]
    )
    await until(lambda: site.reservations.held)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert site.reservations.held == {}


async def test_where_keys_cannot_be_told_nothing_is_stored() -> None:
    site = HttpSite()
    site.reservations.is_away = True
    answer = await site.post(MESSAGE, idempotency_key="k")
    assert (answer.status, answer.fields["retry-after"]) == (503, "30")
    assert site.intake.submitted == []


@pytest.mark.parametrize("stored", range(6))
async def test_personal_messages_are_stored_once_each_wherever_the_first_try_was_torn(stored: int) -> None:
    site = HttpSite()
    site.intake.torn_after = stored
    first = await site.post(PERSONAL, idempotency_key="k")
    assert first.status == (202 if stored == 5 else 503)
    site.intake.torn_after = None
    second = await site.post(PERSONAL, idempotency_key="k")
    third = await site.post(PERSONAL, idempotency_key="k")
    assert (second.status, third.body) == (202, second.body)
    assert second.document["recipients"] == 5
    assert [str(each.envelope.recipients[0].address) for each in site.intake.submitted] == [
        f"{n}@example.com" for n in range(5)
    ]
    assert second.document["ids"] == [each.message_id for each in site.intake.submitted]
    assert site.reservations.held == {}


@pytest.mark.parametrize("key", ["", '""', "a b", "ü", "x" * 256, "a\x7fb", '"a'])
async def test_what_is_no_key_is_refused(key: str) -> None:
    site = HttpSite()
    answer = await site.post(MESSAGE, idempotency_key=key)
    if key == '"a':  # a token may hold a quote
        assert answer.status == 202
        return
    assert (answer.status, answer.pointers) == (400, ["idempotency-key"])
    line = await site.batch(MESSAGE | {"idempotency_key": key})
    assert line.lines[0]["status"] in (400, 422)


async def test_the_field_and_the_line_are_one_too_many() -> None:
    answer = await HttpSite().post(MESSAGE | {"idempotency_key": "a"}, idempotency_key="a")
    assert (answer.status, answer.pointers) == (422, ["/idempotency_key"])


def test_digests_tell_apart_what_differs() -> None:
    assert key_digest("a", "bc") != key_digest("ab", "c")
    assert start_digest("raw", ("a", "b")).digest() != start_digest("raw", ("ab",)).digest()
    raw, json, envelope = start_digest("raw"), start_digest("json"), start_digest("raw", ("x",))
    for digest in (raw, json):
        digest.update(b"x")
    assert len({raw.digest(), json.digest(), envelope.digest(), start_digest("raw").digest()}) == 4
