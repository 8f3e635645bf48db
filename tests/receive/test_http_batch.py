"""A batch: each line has its result, in order, whatever the others are and however the body is cut."""

import asyncio
import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider.model.reply import Reply
from outrider.receive.http_batch import RESULT_CHARACTERS_MAX, WINDOW
from outrider.wire.smtp import replies
from tests.receive.http_site import KEYS, HttpSite

MESSAGE = {"from": "shop@sender.example", "to": ["a@example.com"], "subject": "Hi", "text": "Hello\n"}
GOOD = json.dumps(MESSAGE).encode()
KINDS = {
    GOOD: 202,
    b"{": 400,
    b"[]": 422,
    b"\xff": 400,
    json.dumps(MESSAGE | {"from": "x@bank.example"}).encode(): 403,
    json.dumps(MESSAGE | {"stream": "private"}).encode(): 403,
    json.dumps(MESSAGE | {"subject": "a\r\nb"}).encode(): 422,
    GOOD + b"\r": 202,
    b"": 0,
    b" \t": 0,
}


async def test_each_line_has_its_own_result() -> None:
    site = HttpSite()
    answer = await site.batch(*KINDS)
    expected = [(number, status) for number, status in enumerate(KINDS.values(), 1) if status]
    assert (answer.status, answer.fields["content-type"]) == (200, "application/x-ndjson")
    assert [(each["line"], each["status"]) for each in answer.lines] == expected
    assert [each["answer"]["id"] for each in answer.lines if each["status"] == 202] == [
        submission.message_id for submission in site.intake.submitted
    ]
    assert answer.lines[1]["problem"]["code"] == "bad_json"
    assert answer.lines[6]["problem"]["errors"][0]["pointer"] == "/subject"


@given(
    lines=st.lists(st.sampled_from(list(KINDS)), max_size=12),
    cuts=st.lists(st.integers(0, 2_000), max_size=8),
    ends=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_how_the_body_is_cut_changes_nothing(lines: list[bytes], cuts: list[int], *, ends: bool) -> None:
    body = b"\n".join(lines) + (b"\n" if ends else b"")
    places = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    chunks = [body[start:end] for start, end in pairwise(places)]
    answer = asyncio.run(HttpSite().ask("POST", "/v1/batches", chunks, kind="application/x-ndjson"))
    expected = [(n, KINDS[line]) for n, line in enumerate(lines, 1) if KINDS[line]]
    assert [(each["line"], each["status"]) for each in answer.lines] == expected


async def test_who_waits_for_each_result_before_the_next_line_gets_them_all() -> None:
    site = HttpSite()
    answer = await site.ask(
        "POST", "/v1/batches", [GOOD + b"\n"] * 3, kind="application/x-ndjson", paced=True
    )
    assert [each["status"] for each in answer.lines] == [202, 202, 202]


async def test_a_key_that_is_revoked_meanwhile_ends_with_the_next_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site = HttpSite()
    key = replace(KEYS["k"])
    monkeypatch.setitem(KEYS, "k", key)
    submit_all = site.intake.submit_all

    def revoking(*arguments: Any) -> None:
        submit_all(*arguments)
        key.is_valid = False

    monkeypatch.setattr(site.intake, "submit_all", revoking)
    own_key = json.dumps(MESSAGE | {"idempotency_key": "mine"}).encode()
    answer = await site.batch(GOOD, GOOD, own_key)
    assert [each["status"] for each in answer.lines] == [202, 401, 401]
    assert answer.lines[1]["problem"]["detail"] == "The key was revoked or changed meanwhile."
    assert len(site.intake.submitted) == 1
    assert site.intake.refusals == [replies.AUTH_FAILED] * 2
    assert not site.reservations.held


async def test_when_the_client_goes_its_last_line_is_none() -> None:
    site = HttpSite()
    chunks = [GOOD + b"\n" + GOOD[:20], GOOD[20:]]
    answer = await site.ask("POST", "/v1/batches", chunks, kind="application/x-ndjson", leaves=True)
    assert [each["line"] for each in answer.lines] == [1]
    assert len(site.intake.submitted) == 1
    assert (await site.ask("POST", "/v1/messages", [GOOD[:20]], leaves=True)).status == 400  # and no error
    assert site.log.lines == []


async def test_a_line_that_is_too_long_costs_only_itself() -> None:
    site = HttpSite(message_octets=65_536)
    long = b'{"text": "' + b"x" * 200_000
    chunks = [GOOD + b"\n" + long[:70_000], long[70_000:], b"\n" + GOOD + b"\n", long]
    answer = await site.ask("POST", "/v1/batches", chunks, kind="application/x-ndjson")
    assert [each["status"] for each in answer.lines] == [202, 413, 202, 413]
    assert site.intake.refusals == [replies.MESSAGE_TOO_BIG] * 2


async def test_a_batch_ends_at_its_limits_and_says_so() -> None:
    site = HttpSite(batch_lines=3)
    answer = await site.batch(GOOD, GOOD, GOOD, GOOD, GOOD)
    assert [(each["line"], each["status"]) for each in answer.lines] == [
        (1, 202),
        (2, 202),
        (3, 202),
        (4, 413),
    ]
    assert len(site.intake.submitted) == 3
    large = HttpSite(batch_octets=65_536)
    chunks = [(GOOD + b"\n") * 300] * 4
    answer = await large.ask("POST", "/v1/batches", chunks, kind="application/x-ndjson")
    assert {each["status"] for each in answer.lines[:-1]} <= {202}
    assert answer.lines[-1]["status"] == 413


async def test_results_wait_for_the_disk_and_keep_their_order() -> None:
    site = HttpSite()
    site.intake.reply = None
    task = asyncio.get_running_loop().create_task(site.batch(GOOD, b"{", *[GOOD] * 400))
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(site.intake.waiting) == WINDOW  # no more are under way at once
    while not task.done():
        waiting, site.intake.waiting = site.intake.waiting, []
        for store in reversed(waiting):
            store()
        await asyncio.sleep(0)
    lines = task.result().lines
    assert [each["line"] for each in lines] == list(range(1, 403))
    assert {each["status"] for each in lines} == {202, 400}


@pytest.mark.parametrize(
    "reply", [replies.SPOOL_FAILED, replies.DISK_LOW, Reply(550, "5.7.1", ("Not this",))]
)
async def test_what_was_not_stored_is_not_acknowledged(reply: Reply) -> None:
    site = HttpSite()
    site.intake.reply = reply
    (result,) = (await site.batch(GOOD)).lines
    assert "answer" not in result
    assert result["problem"]["smtp"] == str(reply)
    assert result["problem"].get("retry_after") == (30 if reply.is_transient else None)


async def test_a_failure_of_ours_on_one_line_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    site = HttpSite()

    def broken(*_: Any) -> None:
        raise RuntimeError("about alice@example.com")

    monkeypatch.setattr(site.intake, "submit_all", broken)
    answer = await site.batch(GOOD, b"{", MESSAGE | {"idempotency_key": "k"})
    assert [each["status"] for each in answer.lines] == [500, 400, 500]
    assert "alice" not in str(site.log.lines)
    assert {line[1] for line in site.log.lines} == {"http.line_failed"}


async def test_a_result_is_bounded() -> None:
    line = json.dumps({**MESSAGE, "x" * 50_000: 1}).encode()
    many = json.dumps({**MESSAGE, "to": ["@" + "y" * 5_000] * 500}).encode()
    answer = await HttpSite().batch(line, many)
    assert len(answer.body) < 20 * (RESULT_CHARACTERS_MAX + 100) * 2


async def test_a_batch_is_named_as_such() -> None:
    site = HttpSite()
    assert (await site.ask("POST", "/v1/batches", [GOOD])).status == 415
    keyed = await site.batch(GOOD, idempotency_key="x")
    assert (keyed.status, keyed.pointers) == (400, ["idempotency-key"])
    assert (await site.batch(GOOD, key="nobody")).status == 401
    assert (await site.batch(GOOD, key="reader")).status == 403


async def test_lines_with_keys_and_recipients_of_their_own() -> None:
    site = HttpSite()
    personal = {
        "from": "shop@sender.example",
        "text": "{{n}}",
        "recipients": [{"address": f"{n}@example.com", "variables": {"n": n}} for n in range(3)],
    }
    keyed = MESSAGE | {"idempotency_key": "order-1"}
    first = await site.batch(keyed, personal, GOOD)
    assert [each["answer"]["recipients"] for each in first.lines] == [1, 3, 1]
    second = await site.batch(keyed, MESSAGE | {"idempotency_key": "order-1", "subject": "x"})
    assert second.lines[0]["answer"] == first.lines[0]["answer"]
    assert (second.lines[1]["status"], second.lines[1]["problem"]["code"]) == (422, "key_reused")
