"""A provider's moods, with time and chance in hand."""

import random

import pytest

from outrider.sim.options import ProviderOptions
from outrider.sim.temper import Answer, Temper


def temper(**options: object) -> Temper:
    provider = ProviderOptions.model_validate(
        {"name": "p", "domains": ["p.test"], "mx": [{"name": "mx.p.test", "address": "127.0.0.1"}], **options}
    )
    return Temper(provider, random.Random(1), started_at=100.0)


@pytest.mark.parametrize(
    ("now", "burst"),
    [
        (100.0, False),
        (104.9, False),
        (105.0, True),
        (106.9, True),
        (107.0, False),
        (115.0, True),
        (117.0, False),
    ],
)
def test_bursts_come_and_go(now: float, *, burst: bool) -> None:
    moody = temper(behaviour={"bursts": [{"period_seconds": 10, "length_seconds": 2, "offset_seconds": 5}]})
    assert (moody.answer("mail", (), now) is not None) == burst
    assert moody.answer("rcpt", (), now) is None


def test_pauses_add_to_the_steady_delay() -> None:
    slow = temper(behaviour={"delay": {"mail": 0.5}, "pause": [{"on": "mail", "seconds": 2, "every": 3}]})
    assert [slow.delay("mail") for _ in range(6)] == [0.5, 0.5, 2.5, 0.5, 0.5, 2.5]
    assert slow.delay("rcpt") == 0


def test_pauses_by_chance() -> None:
    slow = temper(behaviour={"pause": [{"on": "body", "seconds": 1, "probability": 0.25}]})
    waited = sum(slow.delay("body") for _ in range(400))
    assert 60 < waited < 140


def test_greylisting_is_per_pair_and_patient() -> None:
    grey = temper(behaviour={"greylist_seconds": 60})
    assert grey.limit_at_rcpt("s@a", "r@b", 0, 0.0) is not None
    assert grey.limit_at_rcpt("s@a", "r@b", 0, 59.0) is not None
    assert grey.limit_at_rcpt("s@a", "r@b", 0, 60.0) is None
    assert grey.limit_at_rcpt("s@a", "x@b", 0, 60.0) is not None
    assert grey.limit_at_rcpt("s@a", "r@b", 0, 1000.0) is None


def test_the_rate_forgets_after_a_minute() -> None:
    fast = temper(behaviour={"limits": {"max_messages_per_minute": 2}})
    for at in (0.0, 30.0):
        assert fast.limit_at_mail(0, at) is None
        fast.accepted(at)
    assert fast.limit_at_mail(0, 59.9) is not None
    assert fast.limit_at_mail(0, 60.0) is None


def test_the_first_rule_that_applies_wins() -> None:
    ruled = temper(
        rule=[
            {"on": "rcpt", "match": "a*@p.test", "times": 1, "reply": "550 5.1.1 first"},
            {"on": "rcpt", "match": "*@p.test", "reply": "451 4.0.0 second", "action": "disconnect"},
        ]
    )
    assert ruled.answer("rcpt", ("abc@p.test",), 0) == Answer("550 5.1.1 first")
    assert ruled.answer("rcpt", ("abc@p.test",), 0) == Answer("451 4.0.0 second", "disconnect")
    assert ruled.answer("rcpt", ("abc@other.test",), 0) is None
    assert ruled.answer("mail", ("abc@p.test",), 0) is None
