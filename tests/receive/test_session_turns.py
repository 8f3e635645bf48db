"""No client holds the loop: a flood of commands is answered in turns, and loses none of its replies."""

import asyncio
from collections.abc import Callable
from typing import Any

from outrider.receive.session_transport import TURN_OCTETS
from outrider.wire.smtp import replies


async def test_a_flood_of_commands_is_answered_in_turns(world: Callable[..., Any]) -> None:
    made = world()
    client = made.connect()
    client.lines("EHLO c", "MAIL FROM:<>")
    before = len(client.transport.sent)
    answer = str(replies.RECIPIENT_OK).encode()
    client.session.data_received(b"RCPT TO:<a@x.example>\r\n" * 900)
    in_one_turn = len(client.transport.sent) - before
    assert in_one_turn < TURN_OCTETS + 200
    assert client.transport.paused
    for _ in range(20):
        await asyncio.sleep(0)
    assert client.transport.sent.count(answer) == 900
    assert not client.transport.paused


async def test_what_follows_the_flood_is_not_lost_when_the_client_stops_sending(
    world: Callable[..., Any],
) -> None:
    made = world()
    client = made.connect()
    client.lines("EHLO c", "MAIL FROM:<>")
    client.session.data_received(b"RCPT TO:<a@x.example>\r\n" * 900 + b"QUIT\r\n")
    assert client.session.eof_received()
    for _ in range(20):
        await asyncio.sleep(0)
    assert client.transport.sent.count(str(replies.RECIPIENT_OK).encode()) == 900
    assert client.transport.sent.endswith(str(replies.CLOSING).encode() + b"\r\n")
    assert client.transport.closing
