"""What scripts decide, seen from outside: a script that tells each of its decisions and does nothing else.

In: a script. Out: the same, whose every call is also a `Decision` for whoever observes it: what it answered,
what it changed in the message and in the notes, how long it took, how it failed.

Theory: a decision is the difference between a message before a hook and after it, so it is seen whatever
language the hook is in. `policy test`, `policy run-trace` and the shadow run are made of it.

Invariant: notes that are secret are shown by their names alone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import isawaitable
from typing import Any, Final, Protocol, runtime_checkable

from outrider.model.flow import Content
from outrider.model.hooks import RECIPIENT_PHASES, HookPhase
from outrider.policy.answers import DONE, Answer, Code, Refuse
from outrider.policy.attempt import Attempt
from outrider.policy.connection import Connection, Context
from outrider.policy.errors import HookError, TooSlowError
from outrider.policy.mail import Mail
from outrider.policy.script import Placed, Script, ScriptSession
from outrider.wire.dkim.request import SignRequest
from outrider.wire.smtp.content import unstuff_header

SHOWN_CHARACTERS: Final = 200
# chosen: a line of a value; the rest is cut

_ATTRIBUTES: Final = ("mail_from", "recipients", "routing_domain", "binding", "priority", "not_before_time")
# of a message, that a hook may change


@dataclass(frozen=True, slots=True)
class Change:
    """Something that a hook changed.

    Attributes:
        what: `binding`, `note NAME`, `header`, `body`, …
        before: As text; empty for what was not there.
        after: As text; empty for what is no longer there.
        line: Where in the script; 0 where that is not known.
    """

    what: str
    before: str
    after: str
    line: int = 0


@dataclass(frozen=True, slots=True)
class Decision:
    """What one hook decided.

    Attributes:
        script: Its script's name.
        phase: When.
        line: Where it ended, or began where that is not known; 0 for neither.
        recipient: Whose message it was, from each_rcpt on.
        answer: `continue`, `done`, or the reply that refuses.
        failure: Why it failed; empty otherwise.
        changes: What it changed.
        seconds: How long it took, waits included.
    """

    script: str
    phase: HookPhase
    line: int
    recipient: str
    answer: str
    failure: str
    changes: tuple[Change, ...]
    seconds: float


Observer = Callable[[Decision], None]


class Lines(Protocol):
    """Knows the script's own lines, where somebody watched; see `lines`."""

    def begin(self) -> None:
        """A hook is called."""
        ...

    def ended(self, phase: HookPhase) -> int:
        """Line in which it ended; 0 where that is not known."""
        ...

    def changed(self, what: str) -> int:
        """Line in which it changed something; 0 where that is not known."""
        ...


@runtime_checkable
class _Beginning(Protocol):
    """A script that knows where its hooks begin."""

    def line_of(self, phase: HookPhase) -> int: ...


class Observed:
    """`Script` that tells what another one decides.

    Args:
        script: The other one.
        observer: Hears each decision.
        now: Monotonic seconds.
        lines: Knows lines, or None.
    """

    def __init__(
        self, script: Script, observer: Observer, now: Callable[[], float], lines: Lines | None = None
    ) -> None:
        self._script = script
        self._observer = observer
        self._now = now
        self._lines = lines

    @property
    def name(self) -> str:
        return self._script.name

    @property
    def phases(self) -> frozenset[HookPhase]:
        return self._script.phases

    def open(self, connection: Connection) -> ScriptSession:
        return _ObservedSession(self, connection, self._script.open(connection))

    def close(self) -> None:
        self._script.close()

    def begin(self) -> float:
        """A hook is called; when."""
        if self._lines is not None:
            self._lines.begin()
        return self._now()

    def tell(self, phase: HookPhase, before: "_State", after: "_State", begun_at: float, end: object) -> None:
        """A hook has ended with an answer, or with how it failed."""
        lines = self._lines
        failed = end if isinstance(end, Exception) else None
        reason, line = "", 0
        if isinstance(failed, HookError):
            reason, line = failed.reason, failed.line
        elif failed is not None:  # what a script left in a message cannot be written
            reason = f"{type(failed).__name__}: {failed}"
        if not line and lines is not None:
            line = lines.ended(phase)
        if not line and isinstance(self._script, _Beginning):
            line = self._script.line_of(phase)
        changes = after.since(before, lines)
        seconds = self._now() - begun_at
        answer = "" if failed is not None else told(end)
        self._observer(
            Decision(
                self.name,
                phase,
                line,
                after.recipient,
                answer,
                after.without_secrets(reason),
                changes,
                seconds,
            )
        )


def told(answer: object) -> str:
    """An answer in a word, or the reply that it is."""
    if isinstance(answer, Refuse | Code) and answer.reply is not None:
        return str(answer.reply)
    return "done" if answer is DONE or (isinstance(answer, Code) and answer.is_last) else "continue"


class _ObservedSession:
    """`ScriptSession` of the same."""

    def __init__(self, owner: Observed, connection: Connection, session: ScriptSession) -> None:
        self._owner = owner
        self._connection = connection
        self._session = session

    def call(self, phase: HookPhase, *arguments: Any) -> Answer | Awaitable[Answer]:
        mail = arguments[0] if isinstance(arguments[0], Mail) else None
        attempt = arguments[-1] if isinstance(arguments[-1], Attempt) else None
        state = partial(_State, self._connection, mail, attempt)
        before = state()
        begun_at = self._owner.begin()
        try:
            answer = self._session.call(phase, *arguments)
            if isawaitable(answer):
                return self._wait(phase, answer, mail, state, begun_at, before)
            if mail is not None:
                mail.settle()
        except Exception as error:
            self._owner.tell(phase, before, state(), begun_at, error)
            raise
        self._owner.tell(phase, before, state(), begun_at, answer)
        return answer

    async def _wait(
        self,
        phase: HookPhase,
        waiting: Awaitable[Answer],
        mail: Mail | None,
        state: "Callable[[], _State]",
        at: float,
        before: "_State",
    ) -> Answer:
        try:
            answer = await waiting
            if mail is not None:
                mail.settle()
        except asyncio.CancelledError as error:
            slow = TooSlowError("it waited longer than it may", line=self.waited_at(phase, error))
            self._owner.tell(phase, before, state(), at, slow)
            raise
        except Exception as error:
            self._owner.tell(phase, before, state(), at, error)
            raise
        self._owner.tell(phase, before, state(), at, answer)
        return answer

    def line_of(self, phase: HookPhase) -> int:
        """See `script.Placed`."""
        return self._session.line_of(phase) if isinstance(self._session, Placed) else 0

    def waited_at(self, phase: HookPhase, error: BaseException) -> int:
        """See `script.Placed`."""
        return self._session.waited_at(phase, error) if isinstance(self._session, Placed) else 0

    def close(self) -> None:
        self._session.close()


class _State:
    """A message, an attempt, and the notes, at one moment."""

    __slots__ = ("_attempt", "_connection", "_content", "_contexts", "_mail", "_notes", "_values")

    def __init__(self, connection: Connection, mail: Mail | None, attempt: Attempt | None) -> None:
        self._mail = mail
        self._attempt = attempt
        self._connection = connection
        message = connection.message if mail is None else mail.context
        self._contexts = (connection.context, message)
        self._notes = (_notes(connection.context), _notes(message))
        self._values: dict[str, str] = {}
        self._content: Content | None = None
        if mail is not None:
            self._content = mail.content
            self._values = {name: _text(getattr(mail, name)) for name in _ATTRIBUTES}
            self._values["signatures"] = _keys(mail.signing)
            self._values["seal"] = _keys(mail.all_requests[len(mail.signing) :])
            self._values["discarded"] = "yes" if mail.is_discarded else ""
        if attempt is not None:
            self._values |= attempt.shown()

    @property
    def recipient(self) -> str:
        """Whose message it is, from each_rcpt on."""
        if self._attempt is not None:
            return self._attempt.rcpt_to
        mail = self._mail
        return mail.rcpt_to if mail is not None and mail.phase in RECIPIENT_PHASES else ""

    def without_secrets(self, text: str) -> str:
        """A text about it that may be shown."""
        for context in self._contexts:
            text = context.without_secrets(text)
        return text

    def since(self, before: "_State", lines: Lines | None) -> tuple[Change, ...]:
        """What is not as it was."""
        found: list[Change] = []

        def differs(what: str, old: str, new: str, place: str) -> None:
            if old != new:
                line = 0 if lines is None else lines.changed(place)
                found.append(Change(what, _cut(old), _cut(new), line))

        for name, value in self._values.items():
            # a seal that is gone went with the signatures
            place = "signatures" if name == "seal" and not value else name
            differs(name, before._values.get(name, ""), value, place)
        if self._content is not None and before._content is not None and self._content is not before._content:
            for what, old, new in content_changes(before._content, self._content):
                differs(what, old, new, "content")
        for kind, old_notes, new_notes in zip(
            ("connection note", "note"), before._notes, self._notes, strict=True
        ):
            for name in {**old_notes, **new_notes}:
                differs(f"{kind} {name}", old_notes.get(name, ""), new_notes.get(name, ""), f"note {name}")
        return tuple(found)


def _keys(requests: Sequence[SignRequest]) -> str:
    return " ".join(f"{each.selector}.{each.domain}" for each in requests)


def _notes(context: Context) -> Mapping[str, str]:
    return {name: "(secret)" if context.is_secret(name) else text for name, text in context.items()}


def _text(value: object) -> str:
    return " ".join(value) if isinstance(value, tuple) else str(value)


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"


def content_changes(before: Content, after: Content) -> list[tuple[str, str, str]]:
    """What differs between two contents: fields of the header, and the size of the body."""
    old, new = _fields(before), _fields(after)
    gone, come = list(old), list(new)
    for field in old:
        if field in come:
            gone.remove(field)
            come.remove(field)
    found = []
    for field in gone:
        name = field.partition(":")[0].lower()
        same = next((each for each in come if each.partition(":")[0].lower() == name), "")
        if same:
            come.remove(same)
        found.append(("header", field, same))
    found += [("header", "", field) for field in come]
    old_body, new_body = before.wire[before.header_octets :], after.wire[after.header_octets :]
    if old_body != new_body:
        found.append(("body", f"{len(old_body)} octets", f"{len(new_body)} octets, others"))
    return found


def _fields(content: Content) -> list[str]:
    """The fields of a header, each on one line."""
    text = unstuff_header(content).decode("utf-8", "replace")
    return text.replace("\r\n ", " ").replace("\r\n\t", " ").split("\r\n")[:-1]
