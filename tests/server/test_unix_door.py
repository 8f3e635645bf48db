"""A socket whose name was removed gets it back; open connections go on."""

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from outrider.base.log import ListLog
from outrider.server import unix_door
from outrider.server.unix_door import Closable, UnixDoor
from tests.patience import PATIENCE_SECONDS


class _Echo(asyncio.Protocol):
    """Says what it hears."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


async def _listen(path: Path) -> Closable:
    return await asyncio.get_running_loop().create_unix_server(_Echo, str(path))


@asynccontextmanager
async def _watched(door: UnixDoor) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(door.watch())
        yield
        watching.cancel()
    door.close()


def _said(connection: socket.socket) -> bytes:
    connection.settimeout(PATIENCE_SECONDS)
    connection.sendall(b"hello")
    return connection.recv(100)


def _connected(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(path))
    return connection


async def _until(log: ListLog, event: str) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while event not in [each for _, each, _ in log.lines]:  # noqa: ASYNC110 - a log wakes nobody
            await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unix_door, "LOOK_SECONDS", 0.01)


@pytest.mark.parametrize("takes_directory", [True, False])
async def test_a_removed_name_is_given_again(tmp_path: Path, *, takes_directory: bool) -> None:
    path = tmp_path / "run" / "door.sock"
    path.parent.mkdir()
    path.write_text("of a process that died")
    log = ListLog()
    door = UnixDoor(path, partial(_listen, path), log)
    await door.open()
    async with _watched(door):
        with _connected(path) as before:
            assert await asyncio.to_thread(_said, before) == b"hello"
            shutil.rmtree(path.parent) if takes_directory else path.unlink()
            await _until(log, "socket.restored")
            with _connected(path) as after:
                assert await asyncio.to_thread(_said, after) == b"hello"
            assert await asyncio.to_thread(_said, before) == b"hello"
        assert not takes_directory or path.parent.stat().st_mode & 0o777 == 0o700


async def test_what_cannot_be_made_is_told_once_and_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "door.sock"
    log = ListLog()
    failures: list[OSError] = []

    async def listen() -> Closable:
        if failures:
            raise failures.pop()
        return await _listen(path)

    door = UnixDoor(path, listen, log)
    await door.open()
    failures += [PermissionError(13, "Permission denied")] * 3
    path.unlink()
    async with _watched(door):
        await _until(log, "socket.restored")
    assert [event for _, event, _ in log.lines] == ["socket.gone", "socket.restored"]


async def test_a_name_that_somebody_else_has_now_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "door.sock"
    door = UnixDoor(path, partial(_listen, path), ListLog())
    await door.open()
    path.unlink()
    path.write_text("another's")
    async with _watched(door):
        await asyncio.sleep(0.1)
    assert path.read_text() == "another's"
