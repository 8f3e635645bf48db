"""The octets of a chunk that is refused: they have their time, counted from when they began to come."""

from collections.abc import Callable
from typing import Any

CHUNK = 100_000


async def test_a_chunk_that_is_refused_has_the_time_of_a_message(world: Callable[..., Any]) -> None:
    made = world()
    made.clock.advance(50_000)  # the machine is up for longer than a message may take
    client = made.connect()
    client.lines("EHLO c.test", "MAIL FROM:<a@b.example>", "RCPT TO:<bad>")
    began_at = made.clock.now()
    client.send(b"BDAT %d LAST\r\n" % CHUNK)
    deadlines = made.listener.options.deadlines
    for _ in range(30):
        made.listener.sweep()
        assert not client.transport.closing
        assert client.session.deadline_at <= began_at + deadlines.message_seconds
        made.clock.advance(100)
        client.send(b"x" * 10)
    said = client.send(b"x" * (CHUNK - 300))
    assert said == b"554 5.5.1 No valid recipients\r\n"


async def test_who_drips_it_gains_nothing(world: Callable[..., Any]) -> None:
    made = world()
    client = made.connect()
    client.lines("EHLO c.test", "MAIL FROM:<a@b.example>", "RCPT TO:<bad>")
    client.send(b"BDAT %d LAST\r\n" % CHUNK)
    for _ in range(37):
        made.clock.advance(100)
        client.send(b"x")
        made.listener.sweep()
    assert client.transport.closing
