"""Questions between processes: one answer each, faults as text, nothing that hangs."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from outrider.base.errors import OutriderError, SpoolError, UnavailableError
from outrider.server.requests import FRAME_OCTETS_MAX, RequestServer, ask, tell_changed


async def double(value: int) -> int:
    return value * 2


async def fail() -> None:
    raise SpoolError("the spool is busy")


async def choke() -> None:
    raise ValueError("that is no filter")


@pytest.fixture
async def socket(tmp_path: Path) -> AsyncIterator[Path]:
    path = tmp_path / "requests"
    requests = RequestServer({"double": double, "fail": fail, "choke": choke})
    server = await asyncio.start_unix_server(requests.serve, str(path))
    yield path
    server.close()
    await server.wait_closed()


async def test_an_operation_is_answered(socket: Path) -> None:
    assert await ask(socket, "double", value=21) == 42


@pytest.mark.parametrize(
    ("operation", "arguments", "words"),
    [
        ("fail", {}, "the spool is busy"),
        ("choke", {}, "choke: that is no filter"),
        ("triple", {}, "there is no operation triple"),
        ("double", {"values": 1}, "unexpected keyword argument"),
    ],
)
async def test_what_goes_wrong_is_told(
    socket: Path, operation: str, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(OutriderError) as told:
        await ask(socket, operation, **arguments)
    assert words in told.value.message


async def test_who_has_patience_is_answered_by_the_one_who_starts_later(tmp_path: Path) -> None:
    path = tmp_path / "requests"
    path.touch()  # what a dead process leaves: a name, and nobody behind it
    asking = asyncio.create_task(ask(path, "double", patience_seconds=20, value=21))  # noqa: TID251 - awaited below
    await asyncio.sleep(0)
    path.unlink()
    server = await asyncio.start_unix_server(RequestServer({"double": double}).serve, str(path))
    assert await asking == 42
    server.close()
    await server.wait_closed()


async def test_patience_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outrider.server.requests.CONNECT_SECONDS", 0.01)
    with pytest.raises(UnavailableError, match="is the server running"):
        await ask(tmp_path / "nothing", "double", patience_seconds=0.2, value=1)


async def test_nobody_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="is the server running"):
        await ask(tmp_path / "nothing", "double", value=1)


async def test_what_takes_long_is_waited_for_as_long_as_it_is_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outrider.server.requests.AT_WORK_SECONDS", 0.01)
    monkeypatch.setattr("outrider.server.requests.ANSWER_SECONDS", 5.0)
    heard = asyncio.Event()
    signs = 0

    async def purge() -> int:
        await heard.wait()
        return 1_000_000

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Between asker and server: lets the work end only when it was told twice that it goes on."""
        nonlocal signs
        back, forth = await asyncio.open_unix_connection(str(tmp_path / "behind"))
        forth.write(await reader.read(65_536))
        with contextlib.closing(writer), contextlib.closing(forth):
            while octets := await back.read(65_536):
                signs += 1
                if signs == 2:
                    heard.set()
                writer.write(octets)
                if b"\xce\x00\x0fB@" in octets:  # a million: the answer is there
                    return

    behind = await asyncio.start_unix_server(RequestServer({"purge": purge}).serve, str(tmp_path / "behind"))
    front = await asyncio.start_unix_server(relay, str(tmp_path / "front"))
    assert await ask(tmp_path / "front", "purge") == 1_000_000
    assert signs >= 2
    for server in (front, behind):
        server.close()
        await server.wait_closed()


async def test_what_was_changed_before_a_failure_is_told(tmp_path: Path) -> None:
    """Work goes in slices that stay done, whatever becomes of the rest."""

    async def fill_up() -> None:
        tell_changed(500)
        tell_changed(1000)
        raise SpoolError("the disk is full")

    path = tmp_path / "requests"
    server = await asyncio.start_unix_server(RequestServer({"fill": fill_up}).serve, str(path))
    with pytest.raises(OutriderError, match="the disk is full") as told:
        await ask(path, "fill")
    assert told.value.fields["changed"] == 1000
    server.close()
    await server.wait_closed()


async def test_who_is_silent_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outrider.server.requests.ANSWER_SECONDS", 0.01)
    path = tmp_path / "requests"
    ended = asyncio.Event()

    async def hang() -> None:
        await ended.wait()

    server = await asyncio.start_unix_server(RequestServer({"hang": hang}).serve, str(path))
    with pytest.raises(UnavailableError, match="gives no answer"):
        await ask(path, "hang")
    ended.set()
    server.close()
    await server.wait_closed()


async def test_many_questions_on_one_connection_are_answered_in_order(socket: Path) -> None:
    answers = await asyncio.gather(*(ask(socket, "double", value=value) for value in range(50)))
    assert answers == [value * 2 for value in range(50)]


@pytest.mark.parametrize(
    "octets", [b"\0\0\0\x05hello", (FRAME_OCTETS_MAX + 1).to_bytes(4, "big"), b"\0\0\0\x10abc"]
)
async def test_another_language_ends_the_connection_and_hurts_nobody(socket: Path, octets: bytes) -> None:
    reader, writer = await asyncio.open_unix_connection(str(socket))
    writer.write(octets)
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    assert await ask(socket, "double", value=1) == 2


async def test_a_server_that_hangs_up_is_told(tmp_path: Path) -> None:
    async def hang_up_at_once(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_unix_server(hang_up_at_once, str(tmp_path / "rude"))
    with pytest.raises(UnavailableError, match="no answer"):
        await ask(tmp_path / "rude", "double", value=1)
    server.close()
