"""Messages that scripts decide about are handed in together, each once, whatever becomes of its client."""

import asyncio
from collections.abc import Callable
from typing import Any

from outrider.receive.turn import Turn

LINES = ("EHLO c", "MAIL FROM:<>", "RCPT TO:<a@x.example>", "DATA")
CONTENT = b"Subject: one\r\n\r\ntext\r\n.\r\n"


class Silent:
    """Scripts of one session that have nothing to say; `asked` are its calls."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def open(self, *_origin: Any) -> "Silent":
        return self

    def __getattr__(self, name: str) -> Callable[..., None]:
        def call(*_values: Any, **_more: Any) -> None:
            self.asked.append(name)

        return call


def begin(made: Any) -> Any:
    client = made.connect()
    client.lines(*LINES)
    return client


async def test_messages_of_one_turn_are_handed_in_behind_each_other(world: Callable[..., Any]) -> None:
    made = world(scripts=Silent())
    clients = [begin(made) for _ in range(3)]
    assert [client.send(CONTENT) for client in clients] == [b"", b"", b""]
    assert made.intake.submissions == []
    await asyncio.sleep(0)
    assert len(made.intake.submissions) == 3
    assert all(client.take().startswith(b"250 ") for client in clients)


async def test_without_scripts_a_message_is_handed_in_at_once(world: Callable[..., Any]) -> None:
    made = world()
    assert begin(made).send(CONTENT).startswith(b"250 ")


async def test_a_message_that_came_whole_is_handed_in_before_its_session_ends(
    world: Callable[..., Any],
) -> None:
    scripts = Silent()
    made = world(scripts=scripts)
    client = begin(made)
    client.send(CONTENT)
    handed_in: list[int] = []
    scripts.close = lambda: handed_in.append(len(made.intake.submissions))  # type: ignore[attr-defined]
    client.session.connection_lost(None)
    assert handed_in == [1]
    await asyncio.sleep(0)
    assert len(made.intake.submissions) == 1
    assert client.take() == b""


async def test_what_follows_a_message_waits_for_its_reply(world: Callable[..., Any]) -> None:
    made = world(scripts=Silent())
    client = begin(made)
    assert client.send(CONTENT + b"NOOP\r\nQUIT\r\n") == b""
    await asyncio.sleep(0)
    assert [line[:3] for line in client.take().split(b"\r\n")[:-1]] == [b"250", b"250", b"221"]


async def test_an_intake_that_fails_ends_the_session_and_no_other(world: Callable[..., Any]) -> None:
    made = world(scripts=Silent())
    first, second = begin(made), begin(made)
    made.intake.fail = True
    first.send(CONTENT)
    second.send(CONTENT)
    await asyncio.sleep(0)
    assert first.take().startswith(b"421 ")
    assert second.take().startswith(b"421 ")
    assert [line[1] for line in made.log.lines] == ["receive.session_failed"] * 2


async def test_work_behind_what_raises_is_done() -> None:
    loop = asyncio.get_running_loop()
    told: list[Any] = []
    loop.set_exception_handler(lambda _loop, context: told.append(context["exception"]))
    turn, done = Turn(), []
    wrong = ValueError("wrong")

    def fail() -> None:
        raise wrong

    for work in (lambda: done.append(1), fail, lambda: done.append(2)):
        turn.add(work)
    for _ in range(2):
        await asyncio.sleep(0)
    assert (done, told) == ([1, 2], [wrong])
