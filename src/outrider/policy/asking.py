"""Asks the hooks of a phase, script after script, and bounds what they do.

In: a phase and its arguments. Out: a reply that refuses, or nothing.

Theory: the way of a message through its phases is written once, as a coroutine. Hooks that do not wait need
no task: the coroutine is driven by hand, and ends in the same call. The first hook that waits asks for a task
(`needs_task`), in which the rest goes on.

Invariant: however a script fails, the peer hears a transient reply, the failure is told with script, line
and phase but without what it noted as secret, and nothing else is raised.
"""

import asyncio
from collections.abc import Awaitable, Coroutine, Generator, Mapping, Sequence
from contextlib import suppress
from inspect import isawaitable
from types import coroutine
from typing import Any, Final, Protocol, TypeVar, cast

from outrider.model.hooks import HookPhase
from outrider.model.reply import Reply
from outrider.policy.answers import DONE, Code, Refuse
from outrider.policy.connection import Connection
from outrider.policy.declare import HOOKS
from outrider.policy.errors import ForbiddenError, HookError, ScriptError, TooSlowError
from outrider.policy.mail import Mail
from outrider.policy.script import Placed, ScriptSession
from outrider.store.sources.failures import CONTEXT_KEY, SourceError
from outrider.wire.smtp import replies

T = TypeVar("T")


class Told(Protocol):
    """Hears what scripts do; implementations record and count it."""

    def asked(self, phase: HookPhase) -> None:
        """A hook was asked."""
        ...

    def failed(self, error: HookError) -> None:
        """A hook failed."""
        ...


class Asking:
    """The hooks of one session.

    Args:
        connection: Where it is noted which data source failed.
        hooks: For each phase those who have a hook for it, in order, with their names.
        told: Hears of calls and failures.
        wait_seconds: How long one hook may wait.
    """

    __slots__ = ("_connection", "_hooks", "_told", "_wait_seconds")

    def __init__(
        self,
        connection: Connection,
        hooks: Mapping[HookPhase, Sequence[tuple[str, ScriptSession]]],
        told: Told,
        wait_seconds: float,
    ) -> None:
        self._connection = connection
        self._hooks = hooks
        self._told = told
        self._wait_seconds = wait_seconds

    async def ask(self, phase: HookPhase, *arguments: Any, mail: Mail | None = None) -> Reply | None:
        """Ask all hooks of a phase; `mail` is what they may change. Drive it with `drive`."""
        refusal: Reply | None = None
        for name, session in self._hooks.get(phase, ()):
            self._told.asked(phase)
            try:
                answer = session.call(phase, *arguments)
                if answer is not None and isawaitable(answer):
                    answer = await self._wait(name, session, phase, answer)
                if mail is not None:
                    mail.settle()
            except HookError as error:
                return self._failed(error.of(name, phase), mail)
            except Exception as error:  # what a script left in a message cannot be written
                reason = f"{type(error).__name__}: {error}"
                failure = ScriptError(reason, script=name, line=_line_of(session, phase), phase=phase)
                failure.__cause__ = error
                return self._failed(failure, mail)
            if answer is None:
                continue
            if answer is DONE:
                break
            if isinstance(answer, Refuse | Code):
                refusal = answer.reply
                if refusal is not None and not HOOKS[phase].can_refuse:
                    reason = "nothing can be refused in this phase"
                    line = _line_of(session, phase)
                    return self._failed(ForbiddenError(reason, script=name, line=line, phase=phase), mail)
                if answer.is_last:
                    break
        return refusal

    def _failed(self, error: HookError, mail: Mail | None) -> Reply:
        connection = self._connection
        note_source(connection, error.__cause__)
        reason = connection.message.without_secrets(connection.context.without_secrets(error.reason))
        if mail is not None:
            reason = mail.context.without_secrets(reason)
        self._told.failed(error if reason == error.reason else error.saying(reason))
        return replies.POLICY_SLOW if isinstance(error, TooSlowError) else replies.POLICY_FAILED

    async def _wait(self, name: str, session: ScriptSession, phase: HookPhase, answer: Awaitable[T]) -> T:
        try:
            await needs_task()
        except GeneratorExit:  # nobody goes on with it
            close = getattr(answer, "close", None)
            if close is not None:
                close()
            raise
        try:
            async with asyncio.timeout(self._wait_seconds) as limit:
                return await answer
        except TimeoutError as error:
            if not limit.expired():
                raise ScriptError(f"TimeoutError: {error}", script=name, phase=phase) from error
            reason = f"it waited longer than {self._wait_seconds:g} s"
            ended = error.__cause__ or error.__context__ or error  # the first from Python 3.12 on
            line = session.waited_at(phase, ended) if isinstance(session, Placed) else 0
            raise TooSlowError(reason, script=name, line=line, phase=phase) from None


def note_source(connection: Connection | None, error: BaseException | None) -> None:
    """Note in a connection's context which data source failed, where one did and there is room for it."""
    if connection is not None and isinstance(error, SourceError):
        with suppress(ValueError):
            connection.context[CONTEXT_KEY] = str(error.fields.get("source", ""))


def _line_of(session: ScriptSession, phase: HookPhase) -> int:
    """Where its hook begins: the line of a failure that shows once the hook is through."""
    return session.line_of(phase) if isinstance(session, Placed) else 0


class _NeedsTask:
    """What a coroutine that is driven by hand gives when it cannot go on without a task."""


_NEEDS_TASK: Final = _NeedsTask()


@coroutine
def needs_task() -> Generator[_NeedsTask, None, None]:
    """What follows waits: ask for a task, in whose turn it goes on."""
    yield _NEEDS_TASK


def drive(work: Coroutine[Any, Any, T]) -> T | Awaitable[T]:
    """What `work` gives, at once where nothing in it waits, else something to await."""
    try:
        work.send(None)
    except StopIteration as stop:
        return cast("T", stop.value)
    return _go_on(work)


async def _go_on(work: Coroutine[Any, Any, T]) -> T:
    return await _rest(work)


@coroutine
def _rest(work: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    """The rest of `work`, in a task: from now on it has what it asks for."""
    value: Any = None
    error: BaseException | None = None
    while True:
        try:
            waited = work.send(value) if error is None else work.throw(error)
        except StopIteration as stop:
            return cast("T", stop.value)
        value = error = None
        if waited is _NEEDS_TASK:
            continue
        try:
            value = yield waited
        except BaseException as raised:
            error = raised
