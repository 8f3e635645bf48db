"""Contents kept for delivery: in memory until the last delivery is done, within a bound, else in the log."""

import threading

import pytest

from outrider.base.errors import SpoolError
from outrider.base.long_octets import LONG_OCTETS
from outrider.model.changes import ContentRef, Stored
from outrider.server.contents import OVERHEAD_OCTETS, Contents
from tests.spool.samples import stored

WIRE = b"x" * 1000


class CountingReader:
    """A log that holds everything but what is damaged."""

    def __init__(self) -> None:
        self.reads: list[ContentRef] = []
        self.damaged: set[ContentRef] = set()

    def read(self, ref: ContentRef, entry: int) -> tuple[Stored, bytes]:
        self.reads.append(ref)
        if ref in self.damaged:
            raise SpoolError("the frame is damaged", entry=entry)
        return stored(ref.offset, WIRE), WIRE


def ref(number: int) -> ContentRef:
    return ContentRef(1, 0, number, 100)


@pytest.fixture
def reader() -> CountingReader:
    return CountingReader()


def test_what_was_kept_is_not_read(reader: CountingReader) -> None:
    contents = Contents(reader, 1_000_000)
    message = stored(1, WIRE)
    contents.keep(ref(1), message, WIRE)
    assert contents.read(ref(1), 1) == (message, WIRE)
    assert reader.reads == []


def test_it_is_kept_until_its_last_delivery_is_done(reader: CountingReader) -> None:
    contents = Contents(reader, 1_000_000)
    contents.keep(ref(1), stored(1, WIRE, ("one.example", "two.example")), WIRE)
    contents.done(ref(1))
    contents.read(ref(1), 1)
    assert reader.reads == []
    contents.done(ref(1))
    contents.read(ref(1), 1)
    assert reader.reads == [ref(1)]
    contents.done(ref(1))  # what is not kept may be done as often as it likes


def test_the_bound_holds_and_the_oldest_goes_first(reader: CountingReader) -> None:
    contents = Contents(reader, 3 * (len(WIRE) + OVERHEAD_OCTETS))
    for number in range(5):
        contents.keep(ref(number), stored(number, WIRE), WIRE)
    for number in range(5):
        contents.read(ref(number), number)
    assert reader.reads == [ref(0), ref(1)]


def test_room_that_was_given_back_is_used_again(reader: CountingReader) -> None:
    contents = Contents(reader, 2 * (len(WIRE) + OVERHEAD_OCTETS))
    for number in range(100):
        contents.keep(ref(number), stored(number, WIRE), WIRE)
        contents.read(ref(number), number)
        contents.done(ref(number))
    assert reader.reads == []


def test_one_larger_than_the_bound_is_not_kept(reader: CountingReader) -> None:
    contents = Contents(reader, 10)
    contents.keep(ref(1), stored(1, WIRE), WIRE)
    contents.read(ref(1), 1)
    assert reader.reads == [ref(1)]


def test_what_the_log_cannot_give_is_an_error(reader: CountingReader) -> None:
    reader.damaged.add(ref(1))
    with pytest.raises(SpoolError):
        Contents(reader, 1000).read(ref(1), 1)


def long_ref(number: int) -> ContentRef:
    return ContentRef(1, 0, number, LONG_OCTETS + 1)


async def test_a_long_one_that_is_not_kept_is_read_in_a_thread(reader: CountingReader) -> None:
    threads: list[bool] = []

    class LongReader(CountingReader):
        def read(self, ref: ContentRef, entry: int) -> tuple[Stored, bytes]:
            threads.append(threading.current_thread() is threading.main_thread())
            return super().read(ref, entry)

    long_reader = LongReader()
    contents = Contents(reader, 1_000_000, long_reader)
    contents.keep(long_ref(1), stored(1, WIRE), WIRE)
    assert contents.load(long_ref(1), 1) is None
    assert contents.load(ref(2), 2) is None
    assert Contents(reader, 1_000_000).load(long_ref(2), 2) is None
    futures = [contents.load(long_ref(number), number) for number in (2, 3)]
    for number, future in zip((2, 3), futures, strict=True):
        assert future is not None
        assert await future == (stored(number, WIRE), WIRE)
    assert threads == [False, False]
    assert contents.load(long_ref(2), 2) is None  # for a report on it
    assert contents.read(long_ref(2), 2) == (stored(2, WIRE), WIRE)
    contents.done(long_ref(2))
    again = contents.load(long_ref(2), 2)
    assert again is not None
    await again
    assert threads == [False, False, False]
    packed = Contents(reader, 1_000_000, long_reader, lambda ref: LONG_OCTETS + ref.offset)
    assert (contents.long_from, packed.long_from) == (LONG_OCTETS, 0)
    assert packed.load(ref(0), 0) is None
    future = packed.load(ref(1), 1)
    assert future is not None
    assert await future == (stored(1, WIRE), WIRE)
    assert reader.reads == []
    long_reader.damaged.add(long_ref(4))
    future = contents.load(long_ref(4), 4)
    assert future is not None
    with pytest.raises(SpoolError):
        await future


async def test_a_long_message_is_never_given_for_another_one_of_its_frame() -> None:
    texts = {1: b"for one", 2: b"for two"}

    class Frame:
        def read(self, ref: ContentRef, entry: int) -> tuple[Stored, bytes]:
            return stored(entry, texts[entry]), texts[entry]

    contents = Contents(Frame(), 1_000_000, Frame())
    first = contents.load(long_ref(1), 1)
    assert first is not None
    assert (await first)[1] == b"for one"
    assert contents.read(long_ref(1), 1)[1] == b"for one"
    assert contents.read(long_ref(1), 2)[1] == b"for two"
    second = contents.load(long_ref(1), 2)
    assert second is not None
    assert (await second)[1] == b"for two"
