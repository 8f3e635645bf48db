"""From a request's body to the answer: what a single request and each line of a batch have in common.

In: bodies with who sends them. Out: the octets of the answer 202, or a `Problem`.

Theory: an injected message goes the way of SMTP mail: the same checks of sender and header, the same trace
fields, the same intake. A key is reserved after the form of the request is known to be right, and before
anything is made of it; from the hand-over on it belongs to the intake, which stores it with the messages or
gives it back.

Invariant: an answer is given only after the intake has said 250; a reserved key is stored or given back on
every way out, cancellation included.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from hashlib import blake2b
from typing import Final, NamedTuple

from msgspec.structs import replace

from outrider.base.clock import Clock
from outrider.base.ids import IdSource
from outrider.base.log import Log
from outrider.base.long_octets import LONG_OCTETS
from outrider.model.address import Address
from outrider.model.changes import Keyed
from outrider.model.dispatch import KeyState
from outrider.model.flow import Content, Envelope, Origin, Recipient, Submission, Traits
from outrider.model.ports import InjectionIntake, Keep, Principal, Reservations
from outrider.model.reply import Reply
from outrider.receive.access import refuse_domain
from outrider.receive.http_answers import encode
from outrider.receive.http_compose import Composer, Made
from outrider.receive.http_keys import DIGEST_OCTETS, key_digest, parse_key, start_digest
from outrider.receive.http_limits import KeyLimits
from outrider.receive.http_models import Accepted
from outrider.receive.http_options import HttpOptions
from outrider.receive.http_parse import Parsed
from outrider.receive.http_refused import Answering, KeysOf, Texts, no_keys
from outrider.receive.nesting import is_nested_deeper
from outrider.receive.problems import Fault, Problem, challenge, problem_of
from outrider.receive.submitter import Submitter
from outrider.receive.trace import Tracer, format_peer, refuse_header
from outrider.wire.smtp import replies
from outrider.wire.smtp.long_content import LongContent

THREAD_OCTETS: Final = LONG_OCTETS
"""A body over this is worked on in a thread."""

PAST_SECONDS: Final = 86_400.0
"""Chosen: a `send_at` up to a day ago is at once (a request may be repeated so long); before it is a slip."""

IN_FLIGHT_SECONDS: Final = 1
"""Chosen: a message is stored in milliseconds; Retry-After has whole seconds."""


_HEADER_UTF8: Final = int(Traits.HEADER_UTF8)
# a plain integer: operators of IntFlag cost half a microsecond each


class Transaction(NamedTuple):
    """Who sends what to whom, before there is a content; and what is noted for policy."""

    origin: Origin
    mail_from: Address | None
    recipients: tuple[Recipient, ...]
    notes: tuple[tuple[str, str], ...] = ()


class Sender(NamedTuple):
    """Who asks, and what a submitter of its kind may write.

    Attributes:
        principal: The key.
        submitter: Its rules.
    """

    principal: Principal
    submitter: Submitter

    @property
    def counted(self) -> str:
        """The name under which the limits of a key are counted."""
        return f"{self.principal.tenant}/{self.principal.name}"

    def refuse(self, domain: str) -> Reply | None:
        """The refusal of a sender's domain, as SMTP would say it, or None."""
        allowed = self.principal.sender_domains
        if domain in allowed:  # the usual
            return None
        return refuse_domain(domain, allowed, self.principal.pending_domains)


class Taken(NamedTuple):
    """An answer 202: its octets, and whether it is that of an earlier request."""

    answer: bytes
    is_repeated: bool


class Injector:
    """What takes requests in on one listener.

    Args:
        options: Of the listener.
        hostname: Name of the server in Received and Message-ID.
        intake: Takes the submissions.
        reservations: Knows the idempotency keys.
        limits: What one key may do.
        ids: Makes message ids.
        clock: Gives the times.
        log: Told what took too long.
    """

    def __init__(
        self,
        options: HttpOptions,
        hostname: str,
        intake: InjectionIntake,
        reservations: Reservations,
        limits: KeyLimits,
        ids: IdSource,
        clock: Clock,
        log: Log,
    ) -> None:
        self.options = options
        self.intake = intake
        self.limits = limits
        self._hostname = hostname
        self._reservations = reservations
        self._ids = ids
        self._clock = clock
        self._log = log
        self._checks = options.receive_limits
        self._eight_bit = options.text_encoding == "8bit"
        self._tracer = Tracer(
            hostname, clock, add_message_id=options.add_message_id, add_date=options.add_date
        )

    # -- JSON --

    async def take_json(
        self, parsed: Parsed, body: bytes, origin: Origin, sender: Sender, field_key: str | None
    ) -> Taken:
        """The answer to a request or a line in JSON."""
        if field_key is not None and parsed.key is not None:
            raise _invalid("/idempotency_key", "stands in the field Idempotency-Key too; use one")
        key = field_key if parsed.key is None else parse_key(parsed.key, "/idempotency_key")
        make = partial(self._make, parsed, len(body), origin, sender)
        if key is None:
            submissions = await make()
            return await self._stored(submissions, _answering(submissions))
        digest = start_digest("json")
        if len(body) > THREAD_OCTETS:
            await asyncio.to_thread(digest.update, body)
        else:
            digest.update(body)
        return await self._once(key_digest(origin.tenant, key), digest.digest(), make)

    def begin_json(
        self,
        parsed: Parsed,
        origin: Origin,
        sender: Sender,
        composer: Composer,
        done: Callable[[Reply], None],
        keep: Keep,
    ) -> Accepted:
        """As `take_json` for one small message without a key: the answer that `done` decides on.

        `keep` hears before that whom policy refuses, as `InjectionIntake` says. Nothing is waited for: the
        lines of a batch that come together share a sync, and cost no task each.
        """
        origin = self._check_json(parsed, origin, sender)
        transaction = Transaction(origin, parsed.mail_from, parsed.recipients)
        now = self._clock.wall()
        made = composer.shared(parsed, self._ids.next(), now).joined()  # of a line that is not long
        submission = self.complete(transaction, made, sender, now, parsed.send_at_time)
        self.intake.submit_all((submission,), (), done, keep)
        return _accepted((submission,))

    def composer(self) -> Composer:
        """What writes the messages of one request or batch."""
        options = self.options
        return Composer(self._hostname, self._ids.next(), options.message_octets, eight_bit=self._eight_bit)

    async def _make(self, parsed: Parsed, size: int, origin: Origin, sender: Sender) -> Sequence[Submission]:
        """The messages of a request."""
        origin = self._check_json(parsed, origin, sender)
        is_large = size > THREAD_OCTETS
        if parsed.personal:
            return await self._personal(parsed, origin, sender, is_large=is_large)
        transaction = Transaction(origin, parsed.mail_from, parsed.recipients)
        now = self._clock.wall()
        write = partial(self.composer().shared, parsed, self._ids.next(), now)
        made = await asyncio.to_thread(write) if is_large else write()
        return (await self.completed(transaction, made, sender, now, parsed.send_at_time),)

    async def _personal(
        self, parsed: Parsed, origin: Origin, sender: Sender, *, is_large: bool
    ) -> Sequence[Submission]:
        """One message for each recipient; between two turns the loop serves others."""
        now = self._clock.wall()
        ids = [self._ids.next() for _ in parsed.personal]
        turns = self.composer().personal(parsed, ids, now)
        limit = self.options.request_content_octets
        submissions: list[Submission] = []
        octets = 0
        while True:
            turn = await asyncio.to_thread(next, turns, None) if is_large else next(turns, None)
            if turn is None:
                return submissions
            for made in turn:
                octets += made.octets
                if octets > limit and submissions:
                    raise Problem("too_big", f"The messages of one request are over {limit} octets together.")
                assert made.personal is not None  # noqa: S101 - the composer says so
                recipient = Recipient(made.personal.mailbox.address, metadata=made.personal.metadata)
                transaction = Transaction(origin, parsed.mail_from, (recipient,))
                submissions.append(
                    self.complete(transaction, made, sender, now, parsed.send_at_time)
                    if isinstance(made.content, Content)
                    else await self.completed(transaction, made, sender, now, parsed.send_at_time)
                )
            await asyncio.sleep(0)

    def _check_json(self, parsed: Parsed, origin: Origin, sender: Sender) -> Origin:
        """The rules for who sends what when; the origin with its stream."""
        places = ("/from", "/recipients" if parsed.personal else "/to")
        first = parsed.first_recipient
        self.check(origin, sender, parsed.mail_from, parsed.recipient_count, first, places)
        author = parsed.draft.author
        if "@" in author.name and sender.submitter.is_bound:
            # encoded, the name would be read by people only, so it is looked at as it was given
            value = f"{author.name} <{author.address}>".encode("utf-8", "replace")
            refusal = sender.submitter.refuse_author(b"From: %b\r\n" % value, b"from: %b\r\n" % value.lower())
            if refusal is not None:
                raise _invalid("/from/name", "looks like an address that the key may not send as")
        if parsed.send_at_time:
            ahead = parsed.send_at_time - self._clock.wall()
            if ahead > self.options.send_at_seconds:
                raise _invalid("/send_at", f"is more than {self.options.send_at_seconds} seconds ahead")
            if ahead < -PAST_SECONDS:
                raise _invalid("/send_at", "is more than a day ago")
        return self.with_stream(origin, sender, parsed.stream, "/stream")

    # -- what all forms share --

    def check(
        self,
        origin: Origin,
        sender: Sender,
        mail_from: Address | None,
        count: int,
        first: Address,
        places: tuple[str, str],
    ) -> None:
        """Who may send as whom, to how many, how often; `places` are where faults point to.

        The rule of SMTP: a principal sends as its own domains, or with the null reverse-path.
        """
        refusal = None if mail_from is None else sender.refuse(mail_from.domain)
        if refusal is not None:
            self.intake.refused(origin, str(mail_from), "", refusal)
            raise Problem("sender_denied", refusal.text, (Fault(places[0], refusal.text),), refusal)
        if count > self.options.recipients:
            path = "<>" if mail_from is None else str(mail_from)
            self.intake.refused(origin, path, str(first), replies.TOO_MANY_RECIPIENTS)
            raise _invalid(places[1], f"more than {self.options.recipients} recipients")
        seconds = self.limits.take(sender.counted, count, self._clock.now())
        if seconds:
            what = f"The key may hand in {self.options.key_recipients_per_second} recipients a second."
            raise Problem("too_many", what, retry_after_seconds=seconds)

    def with_stream(self, origin: Origin, sender: Sender, stream: str | None, place: str) -> Origin:
        """The origin with the stream that was asked for, within the key's list."""
        if stream is None:
            return origin
        refusal = sender.submitter.refuse_stream(stream)
        if refusal is not None:
            self.intake.refused(origin, "", "", refusal)
            raise Problem("stream_denied", errors=(Fault(place, "is not one of the key's streams"),))
        return replace(origin, stream=stream)

    async def completed(
        self,
        transaction: Transaction,
        made: Made,
        sender: Sender,
        now: float,
        send_at_time: float = 0.0,
    ) -> Submission:
        """As `complete`; a long content is joined and looked through in a thread."""
        content = made.content
        if isinstance(content, Content):
            return self.complete(transaction, made, sender, now, send_at_time)
        submission = self.complete(transaction, made, sender, now, send_at_time)
        head = content.head
        lower = head.wire[: head.header_octets].lower()
        depth = self.options.mime_depth
        start = len(submission.content.wire) - len(head.wire)

        def joined() -> Content | None:
            whole = content._replace(head=submission.content).joined()
            return None if is_nested_deeper(whole.wire, lower, depth, start) else whole

        whole = await asyncio.to_thread(joined)
        if whole is None:
            raise self.refused(transaction, replies.TOO_COMPLEX)
        return replace(submission, content=whole)

    def complete(
        self,
        transaction: Transaction,
        made: Made,
        sender: Sender,
        now: float,
        send_at_time: float = 0.0,
    ) -> Submission:
        """The submission, after the checks of its header and size; of a long content it has the head."""
        if not sender.principal.is_valid:  # a batch and a long body take their time
            self.refused(transaction, replies.AUTH_FAILED)
            what = "The key was revoked or changed meanwhile."
            raise Problem("no_key", what, fields=challenge("invalid_token"))
        origin, mail_from, recipients, notes = transaction
        message_id = made.message_id
        content = made.head
        header = content.wire[: content.header_octets]
        lower = header.lower()
        reply = refuse_header(header, lower, self._checks)
        if reply is None and made.octets > self.options.message_octets:
            reply = replies.MESSAGE_TOO_BIG
        if reply is None:
            reply = sender.submitter.refuse_author(header, lower)
        if reply is not None:
            raise self.refused(transaction, reply)
        smtputf8 = (
            bool(int(content.traits) & _HEADER_UTF8)
            or (mail_from is not None and mail_from.needs_smtputf8)
            or any(each.address.needs_smtputf8 for each in recipients)
        )
        peer = format_peer(origin.helo, origin.client, origin.tls)
        traced = self._tracer.add(content, lower, origin, message_id, smtputf8=False, peer=peer)
        envelope = Envelope(mail_from, recipients, smtputf8=smtputf8)
        at = send_at_time if send_at_time > now else 0.0
        return Submission(message_id, now, origin, envelope, traced, at, notes)

    def refused(self, transaction: Transaction, reply: Reply) -> Problem:
        """The problem of a refusal, which is told to the record."""
        mail_from = transaction.mail_from
        sender = "<>" if mail_from is None else str(mail_from)
        self.intake.refused(transaction.origin, sender, str(transaction.recipients[0].address), reply)
        return problem_of(reply)

    # -- storing --

    async def take_raw(
        self,
        transaction: Transaction,
        content: Content | LongContent,
        sender: Sender,
        key: str | None,
        digest: bytes,
    ) -> Taken:
        """The answer to a raw message."""

        async def make() -> Sequence[Submission]:
            made = Made(self._ids.next(), content)
            return (await self.completed(transaction, made, sender, self._clock.wall()),)

        if key is None:
            submissions = await make()
            return await self._stored(submissions, _answering(submissions))
        return await self._once(key_digest(transaction.origin.tenant, key), digest, make)

    async def _once(
        self, key: bytes, digest: bytes, make: Callable[[], Awaitable[Sequence[Submission]]]
    ) -> Taken:
        """The answer, given before or now, to what is done once only."""
        found = await self._reservations.reserve(key, digest)
        match found.state:
            case KeyState.DONE:
                return Taken(found.answer, is_repeated=True)
            case KeyState.BUSY:
                raise Problem("in_flight", retry_after_seconds=IN_FLIGHT_SECONDS)
            case KeyState.OTHER:
                raise Problem("key_reused")
            case KeyState.FREE:
                pass
            case _:
                raise Problem("unavailable", "It cannot be told now whether the key was used.")
        held = [key]
        try:
            submissions = await make()
            if len(submissions) == 1:
                answering = _answering(
                    submissions, lambda accepted, _: [[self._keyed(key, digest, encode(accepted))]]
                )
            else:
                answering, submissions = await self._resume(key, digest, submissions, held)
        except BaseException:
            for each in held:
                self._reservations.release(each)
            raise
        return await self._stored(submissions, answering)

    async def _resume(
        self, key: bytes, digest: bytes, submissions: Sequence[Submission], held: list[bytes]
    ) -> tuple[Answering, Sequence[Submission]]:
        """The answer to a request of several messages, and those of them that are not stored yet.

        Each message has a frame, and so a key of its own, made of the request's; a process that dies in the
        middle leaves the first of them stored. The key of the request becomes durable with the last one.
        """
        ids = [str(each.message_id) for each in submissions]
        before: dict[int, str] = {}
        own = [blake2b(b"%b%d" % (key, at), digest_size=DIGEST_OCTETS).digest() for at in range(len(ids))]
        left = list(range(len(ids)))
        for at, each in enumerate(own):
            told = await self._stored_before(each, digest, held)
            if told is None and at == 0:  # then none of them is
                break
            if told is not None:
                left.remove(at)
                ids[at], _, text = told.partition(" ")
                if text:
                    before[at] = text
        if ids[0] != submissions[0].message_id:
            self._log.info("http.resumed", message_id=ids[0], stored=len(ids) - len(left), of=len(ids))

        def keys_of(accepted: Accepted, texts: Texts) -> list[list[Keyed]]:
            keys = [
                [self._keyed(own[at], digest, f"{ids[at]} {texts.get(at, '')}".rstrip().encode())]
                for at in left
            ]
            keys[-1].append(self._keyed(key, digest, encode(accepted)))
            return keys

        accepted = Accepted(ids[0], len(ids), replies.DURABLE, ids)
        return Answering(accepted, (), keys_of, left, before), [submissions[at] for at in left]

    async def _stored_before(self, key: bytes, digest: bytes, held: list[bytes]) -> str | None:
        """The id of the message that is stored under a key, and the reply where its recipient was refused."""
        found = await self._reservations.reserve(key, digest)
        if found.state == KeyState.FREE:
            held.append(key)
            return None
        if found.state != KeyState.DONE:
            raise Problem("unavailable", "It cannot be told now which of the messages were stored.")
        return found.answer.decode()

    def _keyed(self, key: bytes, digest: bytes, answer: bytes) -> Keyed:
        return Keyed(key, digest, answer, self._clock.wall() + self.options.idempotency_seconds)

    async def _stored(self, submissions: Sequence[Submission], answering: Answering) -> Taken:
        """The answer, once all is durable; from here on the keys are the intake's."""
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.intake.submit_all(submissions, answering.keys(), partial(_settle, future), answering.keep)
        if not future.done():
            try:
                async with asyncio.timeout(self.options.answer_seconds):
                    await future
            except TimeoutError:
                self._log.error("http.not_stored_in_time", message_id=submissions[0].message_id)
                raise Problem("not_in_time") from None
        reply = future.result()
        if not reply.is_positive:
            raise problem_of(reply)
        return Taken(answering.octets, is_repeated=False)


def _answering(submissions: Sequence[Submission], keys_of: KeysOf = no_keys) -> Answering:
    """Of messages that are handed over together for the first time."""
    is_personal = len(submissions) > 1
    recipients = () if is_personal else submissions[0].envelope.recipients
    left = range(len(submissions)) if is_personal else ()
    return Answering(_accepted(submissions), recipients, keys_of, left)


def _accepted(submissions: Sequence[Submission]) -> Accepted:
    first = submissions[0]
    count = sum(len(each.envelope.recipients) for each in submissions)
    ids: list[str] = [each.message_id for each in submissions] if len(submissions) > 1 else []
    return Accepted(first.message_id, count, replies.DURABLE, ids)


def _invalid(pointer: str, detail: str) -> Problem:
    return Problem("invalid", errors=(Fault(pointer, detail),))


def _settle(future: asyncio.Future[Reply], reply: Reply) -> None:
    if not future.done():  # the client may have gone, or we have given up waiting
        future.set_result(reply)
