"""A batch: one message a line in, one result a line out, both streamed.

In: the chunks of a body. Out: `LineResult` as JSON lines, in the order of the lines.

Theory: a line is what a request in JSON would be, and its result says what that request would have heard.
Lines are worked on as they come, a window of them at once. Most clients read nothing before they have sent
everything, so reading never waits for results to leave: they are kept, which `batch_lines` bounds, while a
second task sends them.

Invariant: each line that was read whole has exactly one result; a line that is wrong, too long or refused
costs only itself; memory is bounded by the window, one line and the results.

Standards: NDJSON (one JSON text a line, ended by LF; empty lines mean nothing).
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final

from outrider.base.log import Log
from outrider.model.changes import Keyed
from outrider.model.flow import Origin, Recipient, RefusedRecipient
from outrider.model.reply import Reply
from outrider.receive.http_answers import encode
from outrider.receive.http_inject import THREAD_OCTETS, Injector, Sender
from outrider.receive.http_models import Accepted
from outrider.receive.http_parse import Parsed, parse_request
from outrider.receive.http_refused import texts_of, with_refused
from outrider.receive.problems import Problem, problem_of
from outrider.wire.smtp import replies

WINDOW: Final = 256
"""Chosen: lines under way at once; at 2 KiB some 1 MiB, and more than one sync takes along."""

RESULT_FAULTS_MAX: Final = 10
"""Chosen: faults told of one line; bounds a result."""

RESULT_CHARACTERS_MAX: Final = 300
"""Chosen: of each text in a result."""

MEDIA_TYPE: Final = "application/x-ndjson"

_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class _Slot:
    """The place of one line's result."""

    __slots__ = ("line", "result")

    def __init__(self, line: int) -> None:
        self.line = line
        self.result = b""


class Batch:
    """One batch.

    Args:
        injector: Takes the messages.
        origin: Where they come from.
        sender: Who sends.
        log: Told when a line fails by our fault.
    """

    def __init__(self, injector: Injector, origin: Origin, sender: Sender, log: Log) -> None:
        self._injector = injector
        self._options = injector.options
        self._origin = origin
        self._sender = sender
        self._log = log
        self._composer = injector.composer()
        self._slots: deque[_Slot] = deque()
        self._under_way = 0
        self._line = 0
        self._is_read = False
        self._changed = asyncio.Event()
        self._has_room = asyncio.Event()

    async def run(self, body: AsyncIterator[bytes], send: _Send) -> None:
        """Take the lines of `body`, and send their results as the body of the response.

        `body` raises ConnectionResetError when the client goes in its midst.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send_results(send))
            try:
                await self._read(body, tasks)
            except ConnectionResetError:  # what has come of its last line is no line
                pass
            finally:
                self._is_read = True
                self._changed.set()

    async def _send_results(self, send: _Send) -> None:
        while True:
            ready: list[bytes] = []
            while self._slots and self._slots[0].result:
                ready.append(self._slots.popleft().result)
            if ready:
                await send({"type": "http.response.body", "body": b"".join(ready), "more_body": True})
            elif self._is_read and not self._slots:
                break
            else:
                self._changed.clear()
                await self._changed.wait()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _read(self, body: AsyncIterator[bytes], tasks: asyncio.TaskGroup) -> None:
        """Cut the body into lines; a line over the limit is stepped over as it comes."""
        rest = bytearray()
        size = 0
        is_too_long = False
        limit = self._options.message_octets
        async for chunk in body:
            size += len(chunk)
            if size > self._options.batch_octets:
                self._end_with(f"The batch is over {self._options.batch_octets} octets; it ends here.")
                return
            *lines, last = chunk.split(b"\n")
            for line in lines:
                if is_too_long or len(rest) + len(line) > limit:
                    self._too_long()
                else:
                    whole = bytes(rest) + line if rest else line
                    if not await self._take(whole, tasks):
                        return
                rest.clear()
                is_too_long = False
            if is_too_long or len(rest) + len(last) > limit:
                is_too_long = True
                rest.clear()
            else:
                rest += last
        if is_too_long:
            self._too_long()
        elif rest:
            await self._take(bytes(rest), tasks)

    def _too_long(self) -> None:
        self._line += 1
        self._injector.intake.refused(self._origin, "", "", replies.MESSAGE_TOO_BIG)
        what = f"The limit of a line is {self._options.message_octets} octets."
        self._finish(self._slot(), Problem("too_big", what))

    def _end_with(self, detail: str) -> None:
        """No further line is taken: say so where the first of them stood."""
        self._line += 1
        self._finish(self._slot(), Problem("too_big", detail))

    def _slot(self) -> _Slot:
        slot = _Slot(self._line)
        self._slots.append(slot)
        self._under_way += 1
        return slot

    async def _take(self, line: bytes, tasks: asyncio.TaskGroup) -> bool:
        """Begin with a line; False when it was one too many."""
        if not line.strip():
            self._line += 1
            return True
        if self._line >= self._options.batch_lines:
            self._end_with(f"The batch has over {self._options.batch_lines} lines; it ends here.")
            return False
        self._line += 1
        while self._under_way >= WINDOW:
            self._has_room.clear()
            await self._has_room.wait()
        slot = self._slot()
        try:
            parsed = (
                parse_request(line, self._options.attachments)
                if len(line) <= THREAD_OCTETS
                else await asyncio.to_thread(parse_request, line, self._options.attachments)
            )
            if parsed.key is not None or parsed.personal or len(line) > THREAD_OCTETS:
                tasks.create_task(self._take_alone(slot, parsed, line))
            else:
                pending = _Pending(self, slot, parsed.recipients)
                pending.begin(
                    self._injector.begin_json(
                        parsed, self._origin, self._sender, self._composer, pending.done, pending.keep
                    )
                )
        except Problem as problem:
            self._finish(slot, problem)
        except Exception as error:  # a fault of ours on one line must not cost the others
            self._fail(slot, error)
        return True

    async def _take_alone(self, slot: _Slot, parsed: Parsed, line: bytes) -> None:
        try:
            taken = await self._injector.take_json(parsed, line, self._origin, self._sender, None)
        except Problem as problem:
            self._finish(slot, problem)
        except Exception as error:  # as above
            self._fail(slot, error)
        else:
            self.accepted(slot, taken.answer)

    def accepted(self, slot: _Slot, answer: bytes) -> None:
        """The line's messages are stored."""
        self._set(slot, b'{"line":%d,"status":202,"answer":%b}\n' % (slot.line, answer))

    def refused(self, slot: _Slot, reply: Reply) -> None:
        """The line's message was not stored."""
        self._finish(slot, problem_of(reply))

    def _fail(self, slot: _Slot, error: Exception) -> None:
        self._log.error("http.line_failed", error=type(error).__name__, line=slot.line)
        self._finish(slot, Problem("internal"))

    def _finish(self, slot: _Slot, problem: Problem) -> None:
        members = problem.members(problem.retry_after(self._options.retry_after_seconds))
        members["errors"] = [
            {"pointer": _cut(fault.pointer), "detail": _cut(fault.detail)}
            for fault in problem.errors[:RESULT_FAULTS_MAX]
        ]
        if not members["errors"]:
            del members["errors"]
        members["detail"] = _cut(problem.detail)
        if not members["detail"]:
            del members["detail"]
        result = {"line": slot.line, "status": problem.kind.status, "problem": members}
        self._set(slot, encode(result) + b"\n")

    def _set(self, slot: _Slot, result: bytes) -> None:
        slot.result = result
        self._under_way -= 1
        self._has_room.set()
        if self._slots and self._slots[0].result:
            self._changed.set()


class _Pending:
    """A line that was handed to the intake; its reply may come before or after its answer is known."""

    __slots__ = ("_answer", "_batch", "_recipients", "_refused", "_reply", "_slot")

    def __init__(self, batch: Batch, slot: _Slot, recipients: Sequence[Recipient]) -> None:
        self._batch = batch
        self._slot = slot
        self._recipients = recipients
        self._answer: Accepted | None = None
        self._refused: Sequence[RefusedRecipient] = ()
        self._reply: Reply | None = None

    def keep(self, refused: Sequence[Sequence[RefusedRecipient]]) -> Sequence[Sequence[Keyed]]:
        """`ports.Keep`: whom of the line's recipients policy refuses."""
        self._refused = refused[0]
        return ()

    def begin(self, answer: Accepted) -> None:
        """The answer that a positive reply makes true."""
        self._answer = answer
        self._end()

    def done(self, reply: Reply) -> None:
        """The intake's reply."""
        self._reply = reply
        self._end()

    def _end(self) -> None:
        answer = self._answer
        if self._reply is None or answer is None:
            return
        if self._reply.is_positive:
            if self._refused:
                answer = with_refused(answer, texts_of(self._recipients, self._refused))
            self._batch.accepted(self._slot, encode(answer))
        else:
            self._batch.refused(self._slot, self._reply)


def _cut(text: str) -> str:
    return text if len(text) <= RESULT_CHARACTERS_MAX else text[:RESULT_CHARACTERS_MAX] + "…"
