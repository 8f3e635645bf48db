"""The demo: its account waits for what the server says of its queue, its ports are no other demo's, and what
it shows has room on a terminal of 80 columns.
"""

import io
from contextlib import ExitStack
from typing import Any, cast

import pytest
from rich.console import Console

from outrider.base.clock import FakeClock, SystemClock
from outrider.cli import demo
from outrider.sim.demo import demo_load
from outrider.sim.live import Live, Sample, SiteNumbers
from outrider.sim.load import Load
from tests.peers.processes import free_port


def answering(monkeypatch: pytest.MonkeyPatch, *answers: int | None) -> None:
    left = list(answers)

    async def queued(_stage: Any) -> int | None:
        return left.pop(0) if len(left) > 1 else left[0]

    monkeypatch.setattr(demo, "_queued", queued)


async def test_a_server_that_does_not_answer_at_first_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, None, None, 7)
    assert await demo._left(cast("Any", None), SystemClock()) == 7


async def test_one_that_never_does_has_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, None)
    monkeypatch.setattr(demo, "ANSWER_SECONDS", 0.01)
    assert await demo._left(cast("Any", None), SystemClock()) == 0


def test_a_port_that_another_demo_is_about_to_take_is_not_taken() -> None:
    wanted = free_port()
    with ExitStack() as one, ExitStack() as other:
        assert demo._port(wanted, one) == wanted
        assert demo._port(wanted, other) == 0
        one.close()
        assert demo._port(wanted, other) == wanted


@pytest.mark.parametrize("width", [80, 200])
def test_numbers_and_replies_can_be_read_and_leave_room_for_an_interrupt(width: int) -> None:
    site = SiteNumbers(234_567, 123_456, 98_765, 4_321, 12, "451 4.7.1 Greylisted, please try again later")
    live = Live()
    for at in (0.0, 3600.0):
        live.add(Sample(at, 1_234_567, queued=98_765, sites={"greymail": site, "bigmail": site}))
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(demo._panel(live, width))
    shown = cast("io.StringIO", console.file).getvalue()
    assert max(map(len, shown.splitlines())) <= width - len("^C")
    assert "451 4.7.1 Grey" in shown
    assert all(str(number) in shown for number in (123_456, 98_765, 4_321, 1_234_567))
    for part in live.parts():
        assert part.strip() in shown


def test_what_was_accepted_is_counted_for_whoever_takes_it() -> None:
    loads = [Load(demo_load(via, 25, rate=1.0), remember=True, clock=FakeClock()) for via in ("smtp", "http")]
    for load in loads:
        load.tally.fate("acknowledged", "1", ["a@bigmail.test", "b@bigmail.example", "c@d7.hoster.test"])
        load.tally.fate("refused", "2", ["a@bigmail.test"])
        load.tally.fate("unknown", "3", ["a@moody.test"])
    assert demo._by_provider(loads) == {"bigmail": 4, "hoster": 2}
