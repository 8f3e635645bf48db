"""Templates and bounds of reports are checked at the start; the rate of reports is bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from outrider.classify.options import ClassifyOptions, DsnOptions, DsnRateOptions
from outrider.classify.rate import DsnRate


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"failed": {"subject": "x {sender}", "intro": "y"}}, "unknown placeholder {sender}"),
        ({"failed": {"subject": "x", "intro": "{hostname!r}"}}, "without formats"),
        ({"failed": {"subject": "x", "intro": "{hostname:>999999999}"}}, "without formats"),
        ({"failed": {"subject": "x", "intro": "{hostname.__class__}"}}, "unknown placeholder"),
        ({"failed": {"subject": "x", "intro": "{}"}}, "unknown placeholder"),
        ({"failed": {"subject": "x", "intro": "open {"}}, "braces"),
        ({"failed": {"subject": "x\nBcc: y", "intro": "y"}}, "one line"),
        ({"failed": {"subject": "x\r", "intro": "y"}}, "control characters"),
        ({"failed": {"subject": "x", "intro": "a\r\nb"}}, "control characters"),
        ({"failed": {"subject": "x\x85", "intro": "y"}}, "control characters"),
        ({"failed": {"subject": "x", "intro": "a\u2028b"}}, "control characters"),
        ({"from_name": "a\x7fb"}, "control characters"),
        ({"failed": {"subject": "", "intro": "y"}}, "at least 1 character"),
        ({"from_name": "a\nb"}, "one line"),
        ({"from_address": "nobody"}, "plain ASCII address"),
        ({"from_address": "a@b.example>\r\nBcc: <c@d.example"}, "plain ASCII address"),
        ({"max_returned_octets": -1}, "greater than or equal"),
        ({"unknown": 1}, "Extra inputs"),
    ],
)
def test_mistakes_are_found_before_the_start(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError) as raised:
        DsnOptions.model_validate(wrong)
    assert says in str(raised.value)


def test_defaults_are_within_their_own_bounds() -> None:
    options = ClassifyOptions()
    assert ClassifyOptions.model_validate(options.model_dump()) == options


def test_burst_then_rate() -> None:
    rate = DsnRate(DsnRateOptions(per_hour=60, burst=3))
    assert [rate.allow("d.example", 0.0) for _ in range(5)] == [True, True, True, False, False]
    assert rate.allow("e.example", 0.0), "each domain has a bucket of its own"
    assert not rate.allow("d.example", 59.0)
    assert rate.allow("d.example", 60.0)
    assert not rate.allow("d.example", 60.0)
    assert rate.refused == 4


def test_long_silence_saves_up_no_more_than_the_burst() -> None:
    rate = DsnRate(DsnRateOptions(per_hour=3_600, burst=2))
    assert rate.allow("d.example", 0.0)
    assert [rate.allow("d.example", 100_000.0) for _ in range(3)] == [True, True, False]


def test_clock_that_runs_backwards_gives_nothing() -> None:
    rate = DsnRate(DsnRateOptions(per_hour=3_600, burst=1))
    assert rate.allow("d.example", 100.0)
    assert not rate.allow("d.example", 0.0)
    assert rate.allow("d.example", 1.0), "and takes nothing away"


def test_memory_is_bounded() -> None:
    rate = DsnRate(DsnRateOptions(domains_max=10))
    for number in range(1_000):
        rate.allow(f"d{number}.example", float(number))
    assert len(rate._buckets) == 10


@given(st.lists(st.floats(0, 600), max_size=200), st.integers(1, 20), st.integers(1, 10_000))
def test_no_span_gets_more_than_burst_and_rate(gaps: list[float], burst: int, per_hour: int) -> None:
    rate = DsnRate(DsnRateOptions(per_hour=per_hour, burst=burst))
    now, sent = 0.0, 0
    for gap in gaps:
        now += gap
        sent += rate.allow("d.example", now)
    assert sent <= burst + now * per_hour / 3600 + 1e-6
