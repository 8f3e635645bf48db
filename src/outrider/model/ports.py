"""The ports: what each stage asks of its surroundings, and the obligations of whoever answers.

A stage imports these Protocols and never another stage; `server` joins them.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from outrider.model.address import Address
from outrider.model.changes import Change, ContentRef, Keyed, Stored
from outrider.model.dispatch import Reserved
from outrider.model.ends import Ends
from outrider.model.flow import (
    Content,
    Decided,
    Message,
    Origin,
    Recipient,
    Refusal,
    RefusedRecipient,
    Submission,
)
from outrider.model.hooks import HookPhase
from outrider.model.reply import Reply
from outrider.model.route import Route, RouteFailure
from outrider.model.way_out import Departure, Ended, Leaving, Ruling

CommitDone = Callable[[ContentRef | None], None]


class Log(Protocol):
    """The writing side of the spool in one process: an append-only log with group commit."""

    def reserve(self, count: int) -> int:
        """The first of `count` consecutive entry ids of this log, never given twice, also across restarts."""
        ...

    def commit(
        self,
        changes: Sequence[Change],
        contents: Sequence[Sequence[bytes]],
        done: CommitDone | None,
        *,
        follows: bool = False,
    ) -> None:
        """Write one atomic frame and call `done` once it is synced.

        Args:
            changes: The change set, in order.
            contents: For each `Stored` or `Moved` in `changes`, in order, its content as chunks.
            done: Called in the loop, in the order of commits, with the frame's place; with None when the
                frame is *not* durable and never will be (failed write or sync, spool full): the caller
                then answers 451. May be None where nobody waits.
            follows: It belongs to what was committed just before, in this turn: while the process lives,
                both are stored or neither is.
        """
        ...


class Cipher(Protocol):
    """Authenticated encryption under one key, for one context; safe from any thread."""

    def seal(self, nonce: bytes, plain: bytes, associated: bytes) -> bytes:
        """`plain` encrypted, 16 octets longer. A nonce must never be used twice with one cipher's context."""
        ...

    def open(self, nonce: bytes, sealed: bytes, associated: bytes) -> bytes:
        """What `seal` was given.

        Raises:
            NotAuthenticError: Any of the three is not what it was when it was sealed.
        """
        ...


class SpoolKeys(Protocol):
    """The spool's keys; safe from any thread."""

    def newest(self) -> int:
        """Version to seal with now.

        Raises:
            KeyAbsentError: There is none.
        """
        ...

    def cipher(self, version: int, salt: bytes, context: bytes) -> Cipher:
        """The cipher of one context, under a key derived from that version, `salt` and `context`.

        Raises:
            KeyAbsentError: That version is not there; the message says whether it was destroyed.
        """
        ...


class Reader(Protocol):
    """The reading side: any process can read any frame."""

    def read(self, ref: ContentRef, entry: int) -> tuple[Stored, bytes]:
        """The message that holds `entry` in the frame at `ref`, and its content in wire form.

        Raises:
            SpoolError: The frame is damaged or gone.
        """
        ...


class Intake(Protocol):
    """Where `receive` hands a complete submission; the rest of the server seen from a listener."""

    def submit(
        self,
        submission: Submission,
        done: Callable[[Reply], None],
        session: "PolicySession | None" = None,
    ) -> None:
        """Take responsibility for `submission` or refuse it; `session` is what policy knows of its session.

        `done` is called exactly once, possibly before `submit` returns: with a 250 only after the message is
        durable, else with a 4xx or 5xx. The reply is what the peer hears; HTTP maps it to a status.
        """
        ...

    def refusal(self) -> Reply | None:
        """A transient reply while nothing new is taken (disk low, memory high, draining), else None."""
        ...

    def refused(self, origin: Origin, mail_from: str, recipient: str, reply: Reply) -> None:
        """Tell the record that a listener refused something (a command, a recipient, a content)."""
        ...


class Reservations(Protocol):
    """Idempotency keys, exact over all workers."""

    async def reserve(self, key: bytes, body: bytes) -> Reserved:
        """Ask for a key (a digest of tenant and key) for the request whose digest is `body`.

        After FREE nobody else gets it until it is durable with its messages or given back by `release`.
        """
        ...

    def release(self, key: bytes) -> None:
        """The request came to nothing: the key is free again."""
        ...


Keep = Callable[[Sequence[Sequence[RefusedRecipient]]], Sequence[Sequence[Keyed]]]
"""Hears of recipients who are refused, and gives the keys that say so; see `InjectionIntake`."""


class InjectionIntake(Intake, Protocol):
    """What HTTP injection asks of the rest of the server."""

    def submit_all(
        self,
        submissions: Sequence[Submission],
        keys: Sequence[Sequence[Keyed]],
        done: Callable[[Reply], None],
        keep: Keep | None = None,
    ) -> None:
        """As `submit`, for the messages of one request.

        Where policy refuses some recipients for good and takes the message for others, `done` hears 250, and
        each of them has its end in the frame of the others. Any transient reply refuses the whole.

        Args:
            submissions: At least one.
            keys: For each of them the idempotency keys that become durable in its frame; empty without any.
                The last one's become durable only after all other messages. Those that do not are given back.
            done: Called once, with a 250 only when all are durable.
            keep: Called once before anything is written, where recipients are refused: those of each
                submission, in order. It gives the keys that are written instead of `keys`.
        """
        ...


class Policy(Protocol):
    """Decides how each recipient of a submission goes out."""

    def decide(self, submission: Submission) -> Message | Refusal:
        """One delivery for each recipient, in the order of the envelope, or a refusal of the whole."""
        ...


Answer = Reply | None
"""What policy says in a session: a reply that refuses, of which a 421 ends the session, or nothing."""


class PolicySession(Protocol):
    """What scripts decide in one SMTP session or HTTP request. No call raises; an awaitable may take long.

    A session keeps the scripts that it began with. Its calls never overlap.
    """

    def connect(self, origin: Origin) -> Answer | Awaitable[Answer]:
        """A client is there; no reply was sent yet."""
        ...

    def ehlo(self, origin: Origin, name: str) -> Answer | Awaitable[Answer]:
        """It said EHLO or HELO; `name` is what it calls itself."""
        ...

    def auth(self, origin: Origin, user: str, *, is_valid: bool) -> Answer | Awaitable[Answer]:
        """Its credentials were looked at; scripts may refuse valid ones, and never accept others."""
        ...

    def mail_from(self, origin: Origin, sender: Address | None) -> Answer | Awaitable[Answer]:
        """A transaction begins; our own rules have passed the sender."""
        ...

    def rcpt_to(self, origin: Origin, recipient: Recipient) -> Answer | Awaitable[Answer]:
        """One recipient, which our own rules have passed."""
        ...

    def rcpt_list(self, origin: Origin, recipients: Sequence[Recipient]) -> Answer | Awaitable[Answer]:
        """All recipients are known, the content is to come."""
        ...

    def decide(self, submission: Submission) -> Decided | Refusal | Awaitable[Decided | Refusal]:
        """The message is whole: how each recipient goes out."""
        ...

    def reset(self) -> None:
        """The transaction is over: what scripts noted about its message is gone."""
        ...

    def close(self) -> None:
        """The session is over."""
        ...


class PolicyDoor(Protocol):
    """Scripts, seen from whoever takes messages in."""

    @property
    def way_out(self) -> "WayOutPolicy | None":
        """What is asked on the way out; None where nobody can be."""
        ...

    def open(self, origin: Origin, ends: Ends | None = None) -> PolicySession:
        """For a session or request that begins; `ends` is shared with a session by SMTP."""
        ...


class WayOutPolicy(Protocol):
    """Scripts, seen from whoever sends. No call raises; an awaitable may take long.

    What fails in them never ends mail: what was to go stays and is tried again, and what a host refused is
    kept too.
    """

    @property
    def phases(self) -> frozenset[HookPhase]:
        """Those of the way out in which anybody is asked."""
        ...

    def outbound(self, leaving: Leaving) -> Sequence[Departure] | Awaitable[Sequence[Departure]]:
        """One departure for each recipient that is about to go, in their order."""
        ...

    def response(self, ended: Ended) -> Ruling | Awaitable[Ruling]:
        """A reply has come, or a failure of ours; of a delivery nothing can be changed."""
        ...

    def disposal(self, ended: Ended) -> Mapping[str, str] | Awaitable[Mapping[str, str]]:
        """A recipient ends undelivered: what is noted with its event."""
        ...


class Guard(Protocol):
    """The last gate before the wire; `clear` may be called in any thread, some seconds before the attempt."""

    def goes_through(self, stored: Stored) -> bool:
        """True when `clear` goes through the whole content of this message."""
        ...

    def clear(
        self, stored: Stored, entries: Sequence[int], content: Content
    ) -> tuple[Sequence[int], Content]:
        """The entries that may be sent and the content to send to them; the rest is held by the caller."""
        ...


class Principal(Protocol):
    """An authenticated submitter."""

    @property
    def name(self) -> str: ...

    @property
    def tenant(self) -> str: ...

    @property
    def sender_domains(self) -> frozenset[str]:
        """A-label domains that MAIL FROM may use; `*` allows all; a leading dot allows subdomains.

        Unless it is `*`, the header's From is held to them too.
        """
        ...

    @property
    def pending_domains(self) -> frozenset[str]:
        """Domains that it will be able to use once they are verified; for a reply that says so."""
        ...

    @property
    def streams(self) -> frozenset[str]:
        """Streams of its tenant that a message may name; `*` is any."""
        ...

    @property
    def stream(self) -> str:
        """Stream of a message that names none; empty is the listener's."""
        ...

    @property
    def scopes(self) -> frozenset[str]:
        """What it may do: `inject` messages, ask for their `status`."""
        ...

    @property
    def is_sandbox(self) -> bool:
        """Its messages are accepted and recorded, and never sent."""
        ...

    @property
    def is_valid(self) -> bool:
        """False once it was revoked or changed; whoever holds it then lets it go and asks again."""
        ...


class Authenticator(Protocol):
    """Checks credentials. Equal work and equal answers for unknown users and wrong secrets.

    `client` is the address that the peer comes from: a credential may be bound to networks. It raises
    `UnavailableError` when it cannot tell.
    """

    async def password(self, user: str, password: str, client: str = "") -> Principal | None: ...

    async def api_key(self, key: str, client: str = "") -> Principal | None: ...

    def is_shut(self, tenant: str) -> bool:
        """True while nothing of this tenant is accepted, whoever hands it in; a look into memory."""
        ...


class MailResolver(Protocol):
    """Finds where a domain's mail goes. A failure is a value; only bugs raise."""

    async def route(self, domain: str) -> Route | RouteFailure: ...
