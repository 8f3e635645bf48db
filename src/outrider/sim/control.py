"""The simulator's control socket: one JSON line asks, one or more lines answer.

In: `{"ask": "report"}`, `{"ask": "numbers"}` or `{"ask": "stop"}`. Out: one JSON object; `numbers` answers
one JSON array a line and ends with an empty line.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from outrider.base.errors import UnavailableError
from outrider.sim.server import PracticeInternet

_LINE_OCTETS_MAX = 16_777_216  # chosen, because a report of 10,000 providers is shorter
_ASK_SECONDS = 30.0  # chosen, because a report of millions of numbers takes some seconds


class ControlSocket:
    """Answers questions about `world` on the Unix socket `path`; `stop` is called when asked to end."""

    def __init__(self, world: PracticeInternet, path: Path, stop: Callable[[], None]) -> None:
        self._world = world
        self._path = path
        self._stop = stop
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen, replacing a socket that an earlier run has left."""
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, self._path)

    async def close(self) -> None:
        """Stop listening and remove the socket."""
        if self._server:
            self._server.close()
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ValueError):
            while line := await reader.readline():
                await self._answer(line, writer)
        writer.close()

    async def _answer(self, line: bytes, writer: asyncio.StreamWriter) -> None:
        try:
            asked = json.loads(line)["ask"]
        except (ValueError, KeyError, TypeError):
            asked = None
        if asked == "report":
            writer.write(_line(self._world.report()))
        elif asked == "numbers":
            for number in self._world.numbered():
                writer.write(_line(number))
                await writer.drain()
            writer.write(b"\n")
        elif asked == "stop":
            writer.write(_line({"stopping": True}))
            self._stop()
        else:
            writer.write(_line({"error": 'ask for "report", "numbers" or "stop"'}))
        await writer.drain()


async def ask_report(path: Path) -> dict[str, Any]:
    """The report of the simulator whose control socket is `path`.

    Raises:
        UnavailableError: Nobody answers there.
    """
    answer: dict[str, Any] = json.loads((await _ask(path, "report"))[0])
    return answer


async def ask_numbers(path: Path) -> dict[tuple[str, str], tuple[int, int]]:
    """(number, recipient) → (times taken, failure reports) of the simulator at `path`.

    Raises:
        UnavailableError: Nobody answers there.
    """
    found = {}
    for line in await _ask(path, "numbers"):
        number, recipient, taken, reported = json.loads(line)
        found[number, recipient] = (taken, reported)
    return found


async def ask_stop(path: Path) -> None:
    """Ask the simulator at `path` to end.

    Raises:
        UnavailableError: Nobody answers there.
    """
    await _ask(path, "stop")


async def _ask(path: Path, question: str) -> list[bytes]:
    try:
        async with asyncio.timeout(_ASK_SECONDS):
            reader, writer = await asyncio.open_unix_connection(path, limit=_LINE_OCTETS_MAX)
            try:
                writer.write(_line({"ask": question}))
                lines = []
                while line := (await reader.readline()).strip():
                    lines.append(line)
                    if question != "numbers":
                        break
            finally:
                writer.close()
    except (OSError, TimeoutError) as error:
        raise UnavailableError(f"no simulator answers at {path}: {error}") from error
    if question != "numbers" and not lines:
        raise UnavailableError(f"the simulator at {path} hung up")
    return lines


def _line(value: object) -> bytes:
    return json.dumps(value).encode() + b"\n"
