"""The demo: its account waits for what the server says of its queue, and its ports are no other demo's."""

from contextlib import ExitStack
from typing import Any, cast

import pytest

from outrider.base.clock import SystemClock
from outrider.cli import demo
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
