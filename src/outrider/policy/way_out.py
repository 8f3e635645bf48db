"""Policy by scripts on the way out: asked before the wire, after a reply, and when a recipient ends.

In: what the worker is about to do, or what came of it. Out: what is to be done, at once where no script
waits, else something to await.

Theory: nobody of the session is there any more, so each question has a session of its own, seeded with the
notes that were stored with the message. A question keeps the scripts that it began with. What is said by a
script is taken whole when all scripts of the phase have answered, or not at all.

Invariant: a script that fails ends nothing. Before the wire the recipient stays and is tried again; after a
refusal it is tried again too, because the script may have been the one to keep it; a recipient that ends has
ended, and only what would be noted is missing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import isawaitable
from typing import Final, TypeVar

from outrider.base.errors import OutriderError
from outrider.model.changes import Stored
from outrider.model.flow import Disposition, Envelope, Submission, Verdict
from outrider.model.hooks import WAY_OUT_PHASES, HookPhase
from outrider.model.reply import Reply
from outrider.model.way_out import Departure, Ended, Leaving, Ruling, Stay
from outrider.policy.asking import Asking, Told, drive, needs_task
from outrider.policy.attempt import Attempt
from outrider.policy.bindings import Bindings
from outrider.policy.connection import Connection, configured_ends
from outrider.policy.mail import Mail
from outrider.policy.script import Script, ScriptSession
from outrider.policy.surroundings import HERE, Tap
from outrider.policy.way_out_replies import DISCARDED, SCRIPT_FAILED
from outrider.policy.way_out_sightings import Concluded, Departed, Outward, of_departures, of_notes, of_ruling
from outrider.wire.dkim.request import SignRequest
from outrider.wire.dkim.stored import unpack
from outrider.wire.smtp import replies

T = TypeVar("T")

AT_ONCE: Final = 10
# chosen: recipients who are asked about before others have a turn; some hundred microseconds


class ScriptedWayOut:
    """`model.ports.WayOutPolicy`.

    Args:
        scripts: In the order in which they are asked.
        told: Hears of calls and failures.
        wait_seconds: How long one hook may wait.
        bindings: Those that there are.
        addresses: Address and port of each listener in the configuration.
    """

    def __init__(
        self,
        scripts: Sequence[Script],
        told: Told,
        *,
        wait_seconds: float,
        bindings: Bindings,
        addresses: Mapping[str, tuple[str, int]],
    ) -> None:
        self._addresses = addresses
        self._scripts = tuple(script for script in scripts if script.phases & WAY_OUT_PHASES)
        self._told = told
        self._wait_seconds = wait_seconds
        self._bindings = bindings
        asked: frozenset[HookPhase] = frozenset().union(*(each.phases for each in self._scripts))
        self.phases = asked & WAY_OUT_PHASES

    def outbound(self, leaving: Leaving) -> Sequence[Departure] | Awaitable[Sequence[Departure]]:
        answer = drive(self._outbound(leaving))
        return _heard(answer, lambda said: Departed(leaving, of_departures(leaving.content, said)))

    def response(self, ended: Ended) -> Ruling | Awaitable[Ruling]:
        return _heard(drive(self._response(ended)), lambda said: Concluded(ended, of_ruling(said)))

    def disposal(self, ended: Ended) -> Mapping[str, str] | Awaitable[Mapping[str, str]]:
        return _heard(drive(self._disposal(ended)), lambda said: Concluded(ended, of_notes(said)))

    async def _outbound(self, leaving: Leaving) -> Sequence[Departure]:
        stored = leaving.stored
        with self._session(stored) as (asking, connection):
            submission = _submission_of(leaving)
            signing = _signing_of(stored)
            found: list[Departure] = []
            for number, granted in enumerate(leaving.group, 1):
                if not number % AT_ONCE:
                    await needs_task()
                    await asyncio.sleep(0)
                delivery = stored.deliveries[granted.index]
                mail = Mail(submission, connection, self._bindings)
                mail.resume(delivery, leaving.path.binding, signing)
                attempt = Attempt(
                    HookPhase.OUTBOUND,
                    stored,
                    granted.index,
                    leaving.path,
                    granted.attempts + 1,
                    mail.context,
                ).on(leaving)
                reply = await asking.ask(HookPhase.OUTBOUND, mail, attempt, mail=mail)
                found.append(_departure(mail, attempt, reply))
            return found

    async def _response(self, ended: Ended) -> Ruling:
        with self._session(ended.stored) as (asking, connection):
            attempt = _attempt_after(HookPhase.RESPONSE, ended, connection)
            failure = await asking.ask(HookPhase.RESPONSE, attempt)
            if failure is not None:
                return Ruling(_kept(ended.verdict))
            said = attempt.said
            return Ruling(said.verdict or ended.verdict, said.retry_seconds, said.notes)

    async def _disposal(self, ended: Ended) -> Mapping[str, str]:
        with self._session(ended.stored) as (asking, connection):
            attempt = _attempt_after(HookPhase.DISPOSAL, ended, connection)
            failure = await asking.ask(HookPhase.DISPOSAL, attempt)
            return {} if failure is not None else attempt.said.notes

    @contextmanager
    def _session(self, stored: Stored) -> Iterator[tuple[Asking, Connection]]:
        connection = Connection(stored.origin, configured_ends(self._addresses, stored.origin))
        connection.message.seed(stored.notes, are_claims=True)  # a client's are among them
        sessions = [(script, script.open(connection)) for script in self._scripts]
        hooks: dict[HookPhase, list[tuple[str, ScriptSession]]] = {}
        for script, session in sessions:
            for phase in script.phases & WAY_OUT_PHASES:
                hooks.setdefault(phase, []).append((script.name, session))
        try:
            yield Asking(connection, hooks, self._told, self._wait_seconds), connection
        finally:
            for _, session in sessions:
                session.close()


def _heard(answer: T | Awaitable[T], told: Callable[[T], Outward]) -> T | Awaitable[T]:
    """The same answer, and whoever listens (`surroundings.Tap`) hears of it."""
    tap = HERE.tap
    if tap is None or not tap.is_on:
        return answer
    if isawaitable(answer):
        return _heard_later(answer, tap, told)
    tap.outward(told(answer))
    return answer


async def _heard_later(answer: Awaitable[T], tap: Tap, told: Callable[[T], Outward]) -> T:
    found = await answer
    tap.outward(told(found))
    return found


def _departure(mail: Mail, attempt: Attempt, reply: Reply | None) -> Departure:
    if reply is not None:
        return Stay(SCRIPT_FAILED if reply is replies.POLICY_FAILED else reply)
    if mail.is_discarded:
        return Stay(DISCARDED, discard=mail.discarded)
    held = attempt.said.held
    return mail.content if held is None else Stay(held.reply, held.seconds)


def _attempt_after(phase: HookPhase, ended: Ended, connection: Connection) -> Attempt:
    attempt = Attempt(phase, ended.stored, ended.index, ended.path, ended.attempts, connection.message)
    delivery = ended.stored.deliveries[ended.index]
    connection.sender, connection.recipient = ended.stored.mail_from, delivery.recipient.address
    return attempt.after(ended)


def _kept(verdict: Verdict) -> Verdict:
    """What holds where a script failed that might have changed it."""
    if verdict.disposition != Disposition.PERMANENT:
        return verdict
    return Verdict(Disposition.TRANSIENT, verdict.bounce_class, verdict.site_trouble)


def _submission_of(leaving: Leaving) -> Submission:
    """The message as it was when it was decided upon."""
    stored = leaving.stored
    recipients = tuple([stored.deliveries[granted.index].recipient for granted in leaving.group])
    envelope = Envelope(stored.mail_from, recipients, stored.ret, stored.envid, stored.smtputf8)
    return Submission(stored.message_id, stored.received_time, stored.origin, envelope, leaving.content)


def _signing_of(stored: Stored) -> tuple[SignRequest, ...]:
    """The signatures that are asked for; what cannot be read is the guard's to say."""
    try:
        return unpack(stored.signing).signatures
    except (OutriderError, ValueError):
        return ()
