"""Questions between processes of the node, each answered once, over Unix sockets.

Framing as on the link: four octets of length, then MessagePack; a request is `(number, operation,
arguments)`, an answer is `(number, result, error)`. Operations are plain coroutines registered by name. While
one is at work, which may take minutes, an answer of number `AT_WORK` says so now and then: who is silent
hangs. Its result is what the operation has changed so far (`tell_changed`), for the asker to know where it
ends in between.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final

import msgspec

from outrider.base.errors import OutriderError, UnavailableError

Operation = Callable[..., Awaitable[Any]]

HANGS: Final = "the server starts, ends or hangs just now: try again in some seconds"
"""What to do where somebody listens and says nothing; who hangs is started again by the supervisor."""
FRAME_OCTETS_MAX = 64 * 1024 * 1024
# chosen, as on the link
CONNECT_SECONDS = 5.0
AGAIN_SECONDS = 0.1
# chosen: a process is back in a second or two
ANSWER_SECONDS = 60.0
# chosen: six signs of life were missed by then
AT_WORK_SECONDS = 10.0
# chosen: a purge of a million entries works in slices and takes a minute, or several on a slow disk
AT_WORK: Final = 0


class Asked(msgspec.Struct, array_like=True):
    """One request."""

    number: int
    operation: str
    arguments: dict[str, Any]


class Answered(msgspec.Struct, array_like=True):
    """Its answer; `error` is empty when it went well, `kind` is that of a `RefusedError`."""

    number: int
    result: Any
    error: str = ""
    kind: str = ""


class RefusedError(OutriderError):
    """What was asked cannot be done, and asking again does not help.

    Args:
        message: What and why.
        kind: `absent` (there is no such thing), `conflict` (something needs it as it is) or `invalid` (the
            question is wrong in itself).
    """

    def __init__(self, message: str, kind: str = "invalid", **fields: Any) -> None:
        super().__init__(message, **fields)
        self.kind = kind


class UnfinishedError(UnavailableError):
    """Something was asked, and whoever worked on it was gone, or silent, before the answer.

    Args:
        message: What and why.
        changed: How much is known to be changed; more may be.
    """

    def __init__(self, message: str, changed: int = 0, **fields: Any) -> None:
        super().__init__(message, **fields)
        self.changed = changed


_encode = msgspec.msgpack.Encoder().encode
_telling: ContextVar["_AtWork | None"] = ContextVar("_telling", default=None)


def tell_changed(count: int) -> None:
    """Within an operation: so much is changed for good by now. The asker hears it; without one, nobody."""
    telling = _telling.get()
    if telling is not None:
        telling.tell(count)


async def _read(reader: asyncio.StreamReader) -> bytes:
    length = int.from_bytes(await reader.readexactly(4), "big")
    if length > FRAME_OCTETS_MAX:
        raise UnavailableError("a request is larger than the processes of a node send", octets=length)
    return await reader.readexactly(length)


def _framed(payload: bytes) -> bytes:
    return len(payload).to_bytes(4, "big") + payload


class RequestServer:
    """Answers requests by the operations given.

    Args:
        operations: Name to coroutine function taking keyword arguments.
    """

    def __init__(self, operations: Mapping[str, Operation]) -> None:
        self._operations = operations
        self._decoder = msgspec.msgpack.Decoder(Asked)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request after the other; for `asyncio.start_unix_server`."""
        try:
            while True:
                asked = self._decoder.decode(await _read(reader))
                telling = _AtWork(writer)
                token = _telling.set(telling)
                try:
                    answered = await self._answer(asked)
                finally:
                    _telling.reset(token)
                    telling.end()
                writer.write(_framed(_encode(answered)))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, msgspec.DecodeError, UnavailableError):
            pass  # the asker is gone or speaks another language; it has its own error
        finally:
            writer.close()

    async def _answer(self, asked: Asked) -> Answered:
        operation = self._operations.get(asked.operation)
        if operation is None:
            return Answered(asked.number, None, f"there is no operation {asked.operation}", "invalid")
        try:
            return Answered(asked.number, await operation(**asked.arguments))
        except RefusedError as error:
            return Answered(asked.number, None, error.message, error.kind)
        except OutriderError as error:
            return Answered(asked.number, None, error.message)
        except (TypeError, ValueError) as error:
            return Answered(asked.number, None, f"{asked.operation}: {error}", "invalid")


class _AtWork:
    """Tells the asker that its question is being worked on, until it is ended; who has gone hears nothing."""

    __slots__ = ("_changed", "_timer", "_writer")

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._changed: int | None = None
        self._timer = self._arm()

    def _arm(self) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(AT_WORK_SECONDS, self._tell)

    def _tell(self) -> None:
        if not self._writer.is_closing():
            self._writer.write(_framed(_encode(Answered(AT_WORK, self._changed))))
            self._timer = self._arm()

    def tell(self, changed: int) -> None:
        """So much is changed by now."""
        self._changed = changed
        self._timer.cancel()
        self._tell()

    def end(self) -> None:
        self._timer.cancel()


class _Answers:
    """What comes back for one question; `changed` is what was said to be changed so far."""

    __slots__ = ("_reader", "changed")

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self.changed: int | None = None

    async def last(self) -> Answered:
        """The answer itself."""
        while True:
            async with asyncio.timeout(ANSWER_SECONDS):
                answered = msgspec.msgpack.decode(await _read(self._reader), type=Answered)
            if answered.number != AT_WORK:
                return answered
            self.changed = self.changed if answered.result is None else int(answered.result)


async def _connect(path: Path, patience_seconds: float) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    async with asyncio.timeout(CONNECT_SECONDS + patience_seconds):
        while True:
            try:
                return await asyncio.open_unix_connection(str(path))
            except OSError:
                if not patience_seconds:
                    raise
            await asyncio.sleep(AGAIN_SECONDS)


async def ask(path: Path, operation: str, /, *, patience_seconds: float = 0.0, **arguments: Any) -> Any:
    """Ask once over a fresh connection.

    Args:
        path: The socket.
        operation: Name of the operation.
        patience_seconds: How long to wait for somebody to listen there, as while a process starts again. What
            was asked is never asked twice.
        arguments: Of the operation.

    Raises:
        UnavailableError: Nobody answers there: nothing was asked.
        UnfinishedError: It was asked, and the answer did not come, or not in time.
        RefusedError: The question is wrong, or what it is about is not there.
        OutriderError: The operation failed; the message says why, and its field `changed` how much was
            changed before.
    """
    try:
        reader, writer = await _connect(path, patience_seconds)
    except (OSError, TimeoutError) as error:
        raise UnavailableError(f"nobody answers at {path}; is the server running?") from error
    answers = _Answers(reader)
    try:
        writer.write(_framed(_encode(Asked(1, operation, arguments))))
        answered = await answers.last()
    except (asyncio.IncompleteReadError, ConnectionError, TimeoutError) as error:
        why = f"{path} gives no answer; {HANGS}"
        raise UnfinishedError(why, answers.changed or 0, operation=operation) from error
    finally:
        writer.close()
    if answered.kind:
        raise RefusedError(answered.error, answered.kind)
    if answered.error:
        raise OutriderError(answered.error, changed=answers.changed or 0)
    return answered.result
