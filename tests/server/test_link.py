"""The link: batches arrive whole and in order, however the octets are split; after its end nothing moves."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from outrider.model.dispatch import Close, Returned, ToDispatcher, ToWorker, Want, Welcome
from outrider.server.link import FRAME_OCTETS_MAX, Link


class Ends:
    """What one end heard."""

    def __init__(self, incoming: Any = ToDispatcher) -> None:
        self.batches: list[list[Any]] = []
        self.lost = 0
        self.link: Link[Any] = Link(incoming, lambda _link, batch: self.batches.append(batch), self._gone)

    def _gone(self, _link: Link[Any]) -> None:
        self.lost += 1


class StubTransport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.is_aborted = False

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def abort(self) -> None:
        self.is_aborted = True


@contextmanager
def connected(ends: Ends) -> Iterator[StubTransport]:
    transport = StubTransport()
    ends.link.connection_made(transport)
    yield transport


def frame(*messages: Any) -> bytes:
    payload = msgspec.msgpack.encode(list(messages))
    return len(payload).to_bytes(4, "big") + payload


async def test_all_of_one_turn_is_one_frame_and_comes_out_the_same() -> None:
    sender, receiver = Ends(ToWorker), Ends()
    said = [Want(1, 2), Returned(3, (4, 5)), Want(6, 7)]
    with connected(sender) as transport, connected(receiver):
        for message in said:
            sender.link.send(message)
        assert transport.written == []
        await asyncio.sleep(0)
        assert len(transport.written) == 1
        receiver.link.data_received(transport.written[0])
    assert receiver.batches == [said]


async def test_any_split_gives_the_same_batches() -> None:
    octets = frame(Want(1, 2)) + frame(Returned(3, ()), Want(4, 5)) + frame(Want(6, 7))
    expected = [[Want(1, 2)], [Returned(3, ()), Want(4, 5)], [Want(6, 7)]]
    for cut in range(len(octets) + 1):
        ends = Ends()
        with connected(ends):
            ends.link.data_received(octets[:cut])
            ends.link.data_received(octets[cut:])
        assert ends.batches == expected
    single = Ends()
    with connected(single):
        for octet in octets:
            single.link.data_received(bytes([octet]))
    assert single.batches == expected


async def test_a_length_beyond_all_bounds_ends_the_link() -> None:
    ends = Ends()
    with connected(ends) as transport:
        ends.link.data_received((FRAME_OCTETS_MAX + 1).to_bytes(4, "big"))
        assert transport.is_aborted
    assert ends.batches == []


async def test_what_is_said_to_a_lost_link_goes_nowhere() -> None:
    ends = Ends()
    with connected(ends) as transport:
        ends.link.send(Want(1, 1))
        ends.link.connection_lost(None)
        ends.link.send(Want(2, 2))
        await asyncio.sleep(0)
        assert transport.written == []
    assert ends.lost == 1
    ends.link.close()


async def test_over_a_real_socket(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    heard: asyncio.Queue[list[Any]] = asyncio.Queue()
    gone = asyncio.Event()
    accepted: list[Link[ToDispatcher]] = []

    def make() -> Link[ToDispatcher]:
        link: Link[ToDispatcher] = Link(
            ToDispatcher, lambda _link, batch: heard.put_nowait(batch), lambda _link: None
        )
        accepted.append(link)
        return link

    server = await loop.create_unix_server(make, str(tmp_path / "link"))
    answers: asyncio.Queue[list[Any]] = asyncio.Queue()
    _, link = await loop.create_unix_connection(
        lambda: Link[ToWorker](
            ToWorker, lambda _link, batch: answers.put_nowait(batch), lambda _link: gone.set()
        ),
        str(tmp_path / "link"),
    )
    link.send(Want(1, 9))
    assert await heard.get() == [Want(1, 9)]
    accepted[0].send(Welcome(1))
    accepted[0].send(Close(1))
    assert await answers.get() == [Welcome(1), Close(1)]
    accepted[0].close()
    await gone.wait()
    server.close()


async def test_another_language_is_an_error_and_not_a_guess() -> None:
    ends = Ends()
    with connected(ends), pytest.raises(msgspec.ValidationError):
        ends.link.data_received(frame(["nonsense"]))
