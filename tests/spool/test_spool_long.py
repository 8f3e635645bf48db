"""Long messages: the log's thread does what goes through all of their octets, and they read back the same."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from outrider.base.long_octets import LONG_OCTETS
from outrider.spool import frames
from outrider.spool.await_commit import begin_commit
from tests.spool.samples import CODECS
from tests.spool.test_spool_writer import CONTENT, Desk

LONG = b"".join(b"%062d\r\n" % number for number in range(3 * LONG_OCTETS // 64))


@pytest.mark.parametrize("codec", CODECS)
async def test_a_long_message_reads_back_as_it_was_between_short_ones(tmp_path: Path, codec: str) -> None:
    desk = Desk(tmp_path, codec=codec)
    contents = [CONTENT, LONG, CONTENT, LONG]
    messages = [desk.message(content) for content in contents]
    pairs = list(zip(messages, contents, strict=True))
    refs = await asyncio.gather(
        *(begin_commit(desk.writer, [message], [[content]]) for message, content in pairs)
    )
    for ref, (message, content) in zip(refs, pairs, strict=True):
        assert ref is not None
        assert desk.reader.read(ref, message.first_entry) == (message, content)
        assert (desk.reader.plain_length(ref) > LONG_OCTETS) == (content is LONG)  # however well it packs
    await desk.writer.close()
    changes, damage = desk.found()
    assert changes == messages
    assert damage == []


async def test_the_length_of_a_frame_that_cannot_be_read_is_left_to_who_reads_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path, codec="zstd")
    ref = await desk.one(CONTENT)
    await desk.writer.close()
    assert desk.reader.plain_length(replace(ref, segment=ref.segment + 7)) == 0
    assert desk.reader.plain_length(replace(ref, offset=ref.offset + (1 << 20))) == ref.length


async def test_the_checksum_of_a_long_message_is_made_in_the_logs_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[bool, int]] = []
    extend: Callable[[int, bytes], int] = vars(frames)["extend"]

    def noted(crc: int, octets: bytes) -> int:
        made.append((threading.current_thread() is threading.main_thread(), len(octets)))
        return extend(crc, octets)

    monkeypatch.setattr(frames, "extend", noted)
    desk = Desk(tmp_path)
    await desk.one(LONG)
    await desk.one(CONTENT)
    await desk.writer.close()
    assert made == [(False, len(LONG)), (True, len(CONTENT))]
