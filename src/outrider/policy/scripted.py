"""Policy by scripts: one session's hooks, from its connection to what becomes of its messages.

In: what `receive` and the intake ask. Out: `Decided`, a refusal, or something to await.

Theory: a session keeps the scripts that it began with, so a reload changes no transaction that is under way.
Scripts open their part of a session when it begins; whoever takes an HTTP request opens one for it.

Who is refused in his own phases is told apart from the others when the reply is permanent. A transient one is
the whole message's: its client tries again, and nobody has got it yet (docs/decisions/0042).

Invariant: every recipient that scripts leave goes out exactly once, in one of the messages, or is refused.
"""

from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from typing import Any, NamedTuple

from outrider.base.errors import ConfigError, OutriderError
from outrider.model.address import Address
from outrider.model.ends import Ends
from outrider.model.flow import HTTP, Decided, Origin, Recipient, Refusal, RefusedRecipient, Submission
from outrider.model.hooks import RECIPIENT_PHASES, WHOLE_PHASES, HookPhase
from outrider.model.ports import Answer, PolicySession
from outrider.model.reply import Reply
from outrider.policy.asking import Asking, Told, drive, needs_task
from outrider.policy.audit import Audit
from outrider.policy.author import has_one_author
from outrider.policy.bindings import Bindings
from outrider.policy.checking import NO_CHECKS, Checking, Checks
from outrider.policy.connection import Connection, configured_ends
from outrider.policy.mail import Mail, messages_of
from outrider.policy.script import Script, ScriptSession
from outrider.policy.signing import ConfiguredSigning
from outrider.policy.surroundings import HERE
from outrider.policy.way_out import ScriptedWayOut
from outrider.wire.smtp import replies


class _Plan(NamedTuple):
    """The phases from DATA on that some script has a hook for, in order.

    Attributes:
        whole: Of a message that came by SMTP.
        generated: Of one that came by HTTP.
        each: Of each recipient's own message, before its signatures are asked for.
        final: Behind that.
    """

    whole: tuple[HookPhase, ...]
    generated: tuple[HookPhase, ...]
    each: tuple[HookPhase, ...]
    final: tuple[HookPhase, ...]


def _plan(phases: frozenset[HookPhase]) -> _Plan:
    *each, final = RECIPIENT_PHASES
    ways = WHOLE_PHASES, (HookPhase.MSG_GEN,), each, (final,)
    return _Plan(*(tuple(phase for phase in way if phase in phases) for way in ways))


class Scripts:
    """`model.ports.PolicyDoor` of all scripts of a configuration.

    Args:
        scripts: In the order in which they are asked.
        told: Hears of calls and failures.
        wait_seconds: How long one hook may wait.
        bindings: Those that there are.
        signing: What the configuration says of signatures; scripts see it and may change it.
        notes: For each listener the notes that its connections begin with.
        checks: What it says of checks of messages.
        addresses: Address and port of each listener in the configuration, for what has no connection.
        audit: Counts connections, or None where no monitor is configured.

    Attributes:
        audit: See there.
        way_out: The same scripts, asked about what goes out.
    """

    def __init__(
        self,
        scripts: Sequence[Script],
        told: Told,
        *,
        wait_seconds: float,
        bindings: Bindings,
        signing: ConfiguredSigning | None = None,
        notes: Mapping[str, Mapping[str, str]] | None = None,
        checks: Checks = NO_CHECKS,
        addresses: Mapping[str, tuple[str, int]] | None = None,
        audit: Audit | None = None,
    ) -> None:
        self.audit = audit
        self._notes = notes or {}
        self._addresses = addresses or {}
        self._scripts = tuple(scripts)
        self._told = told
        self._wait_seconds = wait_seconds
        self._bindings = bindings
        self._signing = signing
        self._checks = checks
        self.phases = frozenset().union(*(script.phases for script in scripts))
        self._plan = _plan(self.phases)
        self.way_out = ScriptedWayOut(
            self._scripts, told, wait_seconds=wait_seconds, bindings=bindings, addresses=self._addresses
        )

    def open(self, origin: Origin, ends: Ends | None = None) -> PolicySession:
        """For a session or request that begins; whoever listens (`surroundings.Tap`) hears of it."""
        session = self._session(origin, ends)
        if self.audit is not None and ends is not None:  # a connection: requests have none
            session.count_in(self.audit)
        tap = HERE.tap
        return session if tap is None or not tap.is_on else tap.session(session, origin)

    def _session(self, origin: Origin, ends: Ends | None) -> "ScriptedSession":
        connection = Connection(origin, ends or configured_ends(self._addresses, origin))
        if origin.listener in self._notes:
            connection.context.seed(self._notes[origin.listener].items())
        sessions = [(script, script.open(connection)) for script in self._scripts]
        hooks: dict[HookPhase, list[tuple[str, ScriptSession]]] = {}
        for script, session in sessions:
            for phase in script.phases:
                hooks.setdefault(phase, []).append((script.name, session))
        return ScriptedSession(
            connection,
            [session for _, session in sessions],
            self.phases,
            self._plan,
            Asking(connection, hooks, self._told, self._wait_seconds),
            self._bindings,
            self._signing,
            self._checks,
        )

    def close(self) -> None:
        """They are not asked by new sessions any more; those that are open go on."""
        for script in self._scripts:
            script.close()


class ScriptedSession:
    """`model.ports.PolicySession`."""

    __slots__ = (
        *("_asking", "_audit", "_bindings", "_checks", "_connection", "_phases", "_plan", "_sessions"),
        "_signing",
    )

    def __init__(
        self,
        connection: Connection,
        sessions: Sequence[ScriptSession],
        phases: frozenset[HookPhase],
        plan: _Plan,
        asking: Asking,
        bindings: Bindings,
        signing: ConfiguredSigning | None,
        checks: Checks,
    ) -> None:
        self._signing = signing
        self._checks = checks
        self._connection = connection
        self._sessions = sessions
        self._phases = phases
        self._plan = plan
        self._asking = asking
        self._bindings = bindings
        self._audit: Audit | None = None

    def count_in(self, audit: Audit) -> None:
        """Its connection counts until it is closed."""
        self._audit = audit
        audit.connected(self._connection.client)

    def _ask(self, phase: HookPhase, origin: Origin, *arguments: object) -> Answer | Awaitable[Answer]:
        self._connection.update(origin)
        return drive(self._asking.ask(phase, self._connection, *arguments))

    def connect(self, origin: Origin) -> Answer | Awaitable[Answer]:
        return self._ask(HookPhase.CONNECT, origin) if HookPhase.CONNECT in self._phases else None

    def ehlo(self, origin: Origin, name: str) -> Answer | Awaitable[Answer]:
        return self._ask(HookPhase.EHLO, origin, name) if HookPhase.EHLO in self._phases else None

    def auth(self, origin: Origin, user: str, *, is_valid: bool) -> Answer | Awaitable[Answer]:
        return self._ask(HookPhase.AUTH, origin, user, is_valid) if HookPhase.AUTH in self._phases else None

    def mail_from(self, origin: Origin, sender: Address | None) -> Answer | Awaitable[Answer]:
        connection = self._connection
        connection.message.clear()
        connection.list_edits.clear()
        connection.messages += 1
        connection.named_before = connection.named
        connection.sender, connection.recipient = sender, None
        if HookPhase.MAILFROM not in self._phases:
            return None
        return self._ask(HookPhase.MAILFROM, origin, connection.mail_from)

    def rcpt_to(self, origin: Origin, recipient: Recipient) -> Answer | Awaitable[Answer]:
        connection = self._connection
        connection.recipient = recipient.address
        connection.named += 1
        if HookPhase.RCPTTO not in self._phases:
            return None
        return self._ask(HookPhase.RCPTTO, origin, connection.rcpt_to)

    def rcpt_list(self, origin: Origin, recipients: Sequence[Recipient]) -> Answer | Awaitable[Answer]:
        if HookPhase.RCPTTO_LIST not in self._phases:
            return None
        known = self._connection.edited(str(each.address) for each in recipients)
        return self._ask(HookPhase.RCPTTO_LIST, origin, known)

    def decide(self, submission: Submission) -> Decided | Refusal | Awaitable[Decided | Refusal]:
        self._connection.update(submission.origin)
        return drive(self._decide(submission))

    async def _decide(self, submission: Submission) -> Decided | Refusal:
        origin = submission.origin
        mail = Mail(submission, self._connection, self._bindings, Checking(submission, self._checks.checker))
        is_http = origin.protocol == HTTP
        if submission.notes or is_http or self._connection.list_edits:
            _note(mail, submission)
        if origin.listener in self._checks.marked:
            await needs_task()
            await mail.add_results()
        whole, generated, early, final = self._plan
        first = generated if is_http else whole
        refusal = await self._through(mail, first) if first else None
        if refusal is not None:
            return Refusal(refusal, "policy")
        mails = mail.split()
        replies_at: dict[int, Reply] = {}
        for at, each in enumerate(mails):
            refusal = await self._through(each, early) if early and not each.is_discarded else None
            if refusal is None and not each.is_discarded and not each.bind():
                return Refusal(replies.NO_BINDING, "no binding")
            if refusal is None and self._signing is not None:
                failure = await _ask_signatures(each, self._signing, origin.tenant)
                if failure is not None:
                    return failure
            if refusal is None and final and not each.is_discarded:
                refusal = await self._through(each, final)
            if refusal is not None:
                if not refusal.is_permanent:
                    return Refusal(refusal, "policy")
                replies_at[at] = refusal
        if replies_at or not mails:
            return await _without(submission, mail, mails, replies_at)
        return await _failure_to_sign(mails) or Decided(messages_of(submission, mails))

    def _through(self, mail: Mail, phases: Sequence[HookPhase]) -> Coroutine[Any, Any, Reply | None]:
        """Ask the hooks of these phases about a message that is not discarded."""
        if len(phases) > 1:
            return self._through_all(mail, phases)
        [phase] = phases
        mail.enter(phase)
        return self._asking.ask(phase, mail, mail=mail)

    async def _through_all(self, mail: Mail, phases: Sequence[HookPhase]) -> Reply | None:
        for phase in phases:
            if not mail.is_discarded:
                mail.enter(phase)
                refusal = await self._asking.ask(phase, mail, mail=mail)
                if refusal is not None:
                    return refusal
        return None

    def reset(self) -> None:
        self._connection.message.clear()
        self._connection.list_edits.clear()

    def close(self) -> None:
        if self._audit is not None:
            audit, self._audit = self._audit, None
            audit.left(self._connection.client)
        for session in self._sessions:
            session.close()


def _note(mail: Mail, submission: Submission) -> None:
    """Note what came with a message, and what was said of its recipients before it came."""
    if mail.connection.list_edits:
        mail.recipients = mail.connection.edited(mail.recipients)
    mail.context.seed(submission.notes, are_claims=True)
    if submission.origin.protocol == HTTP:
        metadata = submission.envelope.recipients[0].metadata  # of the request: all have the same
        mail.context.seed(metadata, are_claims=True)


async def _without(
    submission: Submission, mail: Mail, mails: Sequence[Mail], replies_at: Mapping[int, Reply]
) -> Decided | Refusal:
    """What is decided where some of `mail`'s recipients are refused, or nobody is left."""
    kept = tuple([each for at, each in enumerate(mails) if at not in replies_at])
    if not kept:
        return Refusal(replies_at.get(0, replies.NO_RECIPIENTS_LEFT), "policy")
    recipients = mail.all_recipients
    refused = tuple([RefusedRecipient(recipients[at], reply) for at, reply in replies_at.items()])
    return await _failure_to_sign(kept) or Decided(messages_of(submission, kept), refused)


async def _failure_to_sign(mails: Sequence[Mail]) -> Refusal | None:
    """Wait for keys that scripts brought and that are new; a refusal where a message cannot be signed."""
    names = []
    for mail in mails:
        if mail.signing and not has_one_author(mail.content):
            return Refusal(replies.UNSIGNABLE, "not one From")
        names += [request.key for request in mail.all_requests]
    waiting = HERE.keys.unwritten(names) if names and HERE.keys is not None else None
    if waiting is not None:
        await needs_task()
        try:
            await waiting
        except ConfigError as error:
            return Refusal(replies.POLICY_FAILED, error.message)
    return None


async def _ask_signatures(mail: Mail, signing: ConfiguredSigning, tenant: str) -> Refusal | None:
    """Ask for the signatures and the seal that the configuration says; a refusal where that cannot be."""
    if mail.is_discarded:
        return None
    try:
        mail.ask_signatures(signing.requests_for(mail.content, tenant))
        seal = signing.seal_for(mail.content, tenant) if signing.has_seals else None
        if seal is not None:
            await needs_task()
            await mail.ask_seal(seal)
    except OutriderError as error:
        return Refusal(replies.POLICY_FAILED, error.message)
    return None
