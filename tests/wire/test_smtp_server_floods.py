"""What a flood of commands or crumbs costs the server machine is bounded."""

import sys

from outrider.model.flow import Content
from outrider.wire.smtp import replies
from outrider.wire.smtp.content import SMALL_OCTETS, ContentReader
from outrider.wire.smtp.server import Server
from outrider.wire.smtp.server_events import ChunkTaken, Event
from outrider.wire.smtp.server_limits import ServerLimits

START = b"EHLO c.test\r\nMAIL FROM:<good@x.test>\r\nRCPT TO:<a@x.test>\r\n"


def events(server: Server) -> list[Event]:
    """All that happens; everything is accepted."""
    found = []
    while (event := server.next_event()) is not None:
        found.append(event)
        if server.waiting is not None:
            server.accept()
    return found


def serving(octets: bytes, *, recipients: int = 1000, idle_commands: int = 100) -> Server:
    server = Server(ServerLimits("mx.test", recipients=recipients, idle_commands=idle_commands))
    server.greet()
    server.take_output()
    server.feed(octets)
    return server


def test_empty_chunks_without_end_are_commands_without_a_message() -> None:
    server = serving(START + b"BDAT 0\r\n" * 1000, idle_commands=50)
    events(server)
    assert server.closed
    assert server.output.endswith(str(replies.TOO_MANY_COMMANDS).encode() + b"\r\n")
    assert server.output.count(str(replies.CHUNK_OK).encode()) < 50


def test_chunks_with_content_are_none() -> None:
    server = serving(START + b"BDAT 2\r\n\r\n" * 500, idle_commands=50)
    events(server)
    assert not server.closed
    assert server.output.count(str(replies.CHUNK_OK).encode()) == 500


def test_each_chunk_gives_the_session_its_turn() -> None:
    """Otherwise a machine that is fed many chunks at once would not return before the last."""
    server = serving(START + b"BDAT 2\r\n\r\n" * 10)
    assert sum(isinstance(event, ChunkTaken) for event in events(server)) == 10


def test_recipients_beyond_twice_the_limit_are_commands_without_a_message() -> None:
    server = serving(START + b"RCPT TO:<b@x.test>\r\n" * 500, recipients=100, idle_commands=50)
    events(server)
    assert server.closed
    assert server.output.count(str(replies.TOO_MANY_RECIPIENTS).encode()) in range(100, 160)


def test_recipients_just_beyond_the_limit_are_for_another_transaction() -> None:
    server = serving(START + b"RCPT TO:<b@x.test>\r\n" * 199, recipients=100, idle_commands=50)
    events(server)
    assert not server.closed
    assert server.output.count(str(replies.TOO_MANY_RECIPIENTS).encode()) == 100


def test_crumbs_cost_no_more_memory_than_their_octets() -> None:
    reader = ContentReader()
    for _ in range(100_000):
        reader.feed_chunk(b"\r\n")
    held = sum(map(sys.getsizeof, reader._blocks)) + sys.getsizeof(reader._blocks)
    assert held < 200_000 * 1.1
    reader.finish_chunks()
    content = reader.finish()
    assert isinstance(content, Content)
    assert content.wire == b"\r\n" * 100_000


def test_blocks_of_a_usual_size_are_not_copied() -> None:
    reader = ContentReader()
    block = b"x" * (SMALL_OCTETS - 2) + b"\r\n"
    for _ in range(10):
        reader.feed_chunk(block)
    assert all(each is block for each in reader._blocks)


def test_what_follows_the_end_of_data_is_no_line_of_the_message() -> None:
    """A long chunk pipelined behind a DATA: its octets are not the message's."""
    whole = ContentReader()
    octets = b"Subject: x\r\n\r\nHello\r\n.\r\n" + b"x" * 100_000
    assert whole.feed_data(octets) == octets.index(b"x" * 100)
    content = whole.finish()
    assert isinstance(content, Content)
    assert content.wire.endswith(b"Hello\r\n")
