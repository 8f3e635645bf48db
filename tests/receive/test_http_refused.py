"""Recipients whom policy refuses while it takes a request: the answer lists them, also under a key."""

import json
from typing import Any

from outrider.model.reply import Reply
from tests.receive.http_site import HttpSite

NO = Reply(550, "5.7.1", ("no mail for b@example.com, said bob",))
GONE = Reply(551, "5.1.6", ("gone",))
SHARED = {
    "from": "shop@sender.example",
    "to": ["a@example.com", "b@example.com"],
    "cc": ["A@example.com", "b@example.com"],
    "bcc": ["c@example.com", "d@example.com"],
    "subject": "Hi",
    "text": "Hello\n",
}
PERSONAL = {
    "from": "shop@sender.example",
    "text": "{{n}}",
    "recipients": [{"address": f"{n}@example.com", "variables": {"n": n}} for n in "abcd"],
}
TEXT = "550 5.7.1 no mail for <address>, said bob"


def site_of(**replies: Reply) -> HttpSite:
    site = HttpSite()
    site.intake.replies = {f"{name}@example.com": reply for name, reply in replies.items()}
    return site


async def test_they_are_listed_by_reply_with_their_numbers() -> None:
    answer = await site_of(b=NO, c=GONE, d=GONE).post(SHARED)
    assert (answer.status, answer.document["recipients"]) == (202, 5)
    assert answer.document["refused"] == [
        {"smtp": TEXT, "recipients": [1]},
        {"smtp": "551 5.1.6 gone", "recipients": [3, 4]},
    ]


async def test_where_nobody_is_refused_nothing_is_said() -> None:
    assert "refused" not in (await site_of().post(SHARED)).document


async def test_the_same_request_gets_the_same_answer_without_addresses() -> None:
    site = site_of(b=NO)
    first = await site.post(SHARED, idempotency_key="k")
    site.intake.replies = {}
    again = await site.post(SHARED, idempotency_key="k")
    assert first.document["refused"] == [{"smtp": TEXT, "recipients": [1]}]
    assert (again.body, again.fields["outrider-repeated"]) == (first.body, "true")
    [keyed] = site.reservations.done.values()
    assert b"@" not in keyed.answer


async def test_of_messages_for_one_each_the_refused_ones_are_listed() -> None:
    answer = await site_of(b=NO, d=GONE).post(PERSONAL)
    assert (answer.status, len(answer.document["ids"])) == (202, 4)
    assert answer.document["refused"] == [
        {"smtp": TEXT, "recipients": [1]},
        {"smtp": "551 5.1.6 gone", "recipients": [3]},
    ]


async def test_who_was_refused_before_a_try_was_torn_is_still_listed() -> None:
    site = site_of(b=NO, d=GONE)
    site.intake.torn_after = 2
    assert (await site.post(PERSONAL, idempotency_key="k")).status == 503
    site.intake.torn_after = None
    site.intake.replies.pop("b@example.com")  # it is stored, and not asked about again
    answer = await site.post(PERSONAL, idempotency_key="k")
    assert answer.document["refused"] == [
        {"smtp": TEXT, "recipients": [1]},
        {"smtp": "551 5.1.6 gone", "recipients": [3]},
    ]
    assert len(site.intake.submitted) == 4
    assert answer.document["ids"] == [each.message_id for each in site.intake.submitted]


async def test_each_line_of_a_batch_lists_its_own() -> None:
    site = site_of(b=NO)
    lines = [SHARED, SHARED | {"to": ["x@example.com"], "cc": [], "bcc": []}, PERSONAL]
    answer = await site.batch(*[json.dumps(each).encode() for each in lines])
    found: list[Any] = [each["answer"].get("refused") for each in answer.lines]
    assert found == [[{"smtp": TEXT, "recipients": [1]}], None, [{"smtp": TEXT, "recipients": [1]}]]
