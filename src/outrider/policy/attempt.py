"""One attempt on one recipient as hooks of the way out see it: what is known, and what may be changed when.

In: the recipient's message, its path and connection, and, once there is one, the reply. Out: how long it is
held back, or what is made of the reply.

Theory: a host's reply is a fact and stays as it is; what policy may change is what follows from it. So a
deferral may end a recipient, a refusal may be tried again, and a delivery is only read: nothing takes back
what a host has taken. Notes go into the event of this attempt, and nowhere else.

Invariant: what may not be changed in a phase raises, names phase and rule, and is left as it was.
"""

import re
from typing import Final, NamedTuple

from outrider.model.changes import Stored
from outrider.model.flow import SECRET_PREFIX, Disposition, Outcome, Path, Phase, Verdict
from outrider.model.hooks import HookPhase
from outrider.model.reply import Reply
from outrider.model.way_out import Ended, Leaving
from outrider.policy.answers import reply_of
from outrider.policy.connection import Context
from outrider.policy.errors import ForbiddenError
from outrider.policy.way_out_replies import HELD_BACK

SECONDS_MIN: Final = 1.0
# chosen: below it a message turns in the queue for nothing
SECONDS_MAX: Final = 7 * 86_400.0
# chosen: what waits longer has ended by `message_expiration_seconds`, whose default is five days
NOTES_MAX: Final = 32
# chosen, as for metadata by HTTP: bounds what is repeated in an event
NOTE_CHARACTERS: Final = 512
# chosen, as for metadata by HTTP: an identifier or two
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
# as of metadata by HTTP

_WORDS: Final = {
    Disposition.DELIVERED: "delivered",
    Disposition.TRANSIENT: "transient",
    Disposition.PERMANENT: "permanent",
}
_WHERE: Final = {int(phase): phase.name.lower() for phase in Phase}


class Hold(NamedTuple):
    """A recipient that is held back."""

    seconds: float
    reply: Reply


class Said(NamedTuple):
    """What policy said of an attempt.

    Attributes:
        held: How long it is held back, or None.
        verdict: What holds; None before there is a reply.
        retry_seconds: When it is tried again; None is as the back-off says.
        notes: For the event.
    """

    held: Hold | None
    verdict: Verdict | None
    retry_seconds: float | None
    notes: dict[str, str]


class Attempt:
    """See the module.

    Args:
        phase: In which it is asked about.
        stored: The message.
        index: Of the recipient's delivery.
        path: Its queue.
        attempts: How many were made, this one included.
        context: Notes about the message.
    """

    __slots__ = (
        "_attempts",
        "_context",
        "_delivery",
        "_held",
        "_host",
        "_kind",
        "_notes",
        "_outcome",
        "_path",
        "_peer",
        "_phase",
        "_retry",
        "_source",
        "_stored",
        "_tls",
        "_verdict",
    )

    def __init__(
        self, phase: HookPhase, stored: Stored, index: int, path: Path, attempts: int, context: Context
    ) -> None:
        self._phase = phase
        self._stored = stored
        self._delivery = stored.deliveries[index]
        self._path = path
        self._attempts = attempts
        self._context = context
        self._host = self._peer = self._source = self._tls = self._kind = ""
        self._outcome: Outcome | None = None
        self._verdict: Verdict | None = None
        self._held: Hold | None = None
        self._retry: float | None = None
        self._notes: dict[str, str] = {}

    # what is known of it

    @property
    def phase(self) -> HookPhase:
        """The phase of policy that is under way."""
        return self._phase

    @property
    def id(self) -> str:
        """The message's id, as in its 250 and in events."""
        return str(self._stored.message_id)

    @property
    def mail_from(self) -> str:
        """The message's reverse-path; empty for the null one."""
        return "" if self._stored.mail_from is None else str(self._stored.mail_from)

    @property
    def rcpt_to(self) -> str:
        """The recipient."""
        return str(self._delivery.recipient.address)

    @property
    def metadata(self) -> dict[str, str]:
        """What the sender wants to find again in the recipient's events."""
        return dict(self._delivery.recipient.metadata)

    @property
    def context(self) -> Context:
        """Notes about the message, as they were stored with it; what is changed here is kept nowhere."""
        return self._context

    @property
    def tenant(self) -> str:
        """Tenant that sends it."""
        return self._stored.origin.tenant

    @property
    def stream(self) -> str:
        """Stream that it belongs to."""
        return self._stored.origin.stream

    @property
    def received_time(self) -> float:
        """When it was received, Unix seconds."""
        return self._stored.received_time

    @property
    def channel(self) -> str:
        """Channel of its path: `smtp`."""
        return self._path.channel

    @property
    def binding(self) -> str:
        """Sending identity of its path."""
        return self._path.binding

    @property
    def site(self) -> str:
        """Site of its path; empty where no route was found."""
        return self._path.site

    @property
    def routing_domain(self) -> str:
        """Domain whose exchangers take it."""
        return self._delivery.routing_domain

    @property
    def attempts(self) -> int:
        """How many attempts were made, this one included."""
        return self._attempts

    @property
    def host(self) -> str:
        """Name of the exchanger; empty where none was reached."""
        return self._host

    @property
    def peer(self) -> str:
        """`address:port` of the exchanger; empty where none was reached."""
        return self._peer

    @property
    def source(self) -> str:
        """Our address of the connection; empty without one."""
        return self._source

    @property
    def tls(self) -> str:
        """TLS version and cipher; empty without."""
        return self._tls

    # what came of it

    @property
    def code(self) -> int:
        """Code of the reply; 0 before there is one."""
        return 0 if self._outcome is None else self._outcome.reply.code

    @property
    def enhanced(self) -> str:
        """Enhanced code of the reply, as 5.1.1; empty where it has none."""
        return "" if self._outcome is None else self._outcome.reply.enhanced or ""

    @property
    def text(self) -> str:
        """Text of the reply, its lines joined by a space."""
        return "" if self._outcome is None else self._outcome.reply.text

    @property
    def where(self) -> str:
        """Where the attempt came to its end: resolve, connect, …, rcpt, data, body, or queue; see events."""
        return "" if self._outcome is None else _WHERE.get(self._outcome.phase, "")

    @property
    def is_ours(self) -> bool:
        """True where we failed and the reply is our own."""
        return self._outcome is not None and self._outcome.ours

    @property
    def seconds(self) -> float:
        """How long the transaction took."""
        return 0.0 if self._outcome is None else self._outcome.seconds

    @property
    def bounce_class(self) -> str:
        """Class of the failure, from the table of classes; empty for a delivery."""
        return "" if self._verdict is None else self._verdict.bounce_class

    @property
    def ending(self) -> str:
        """How the recipient ends, in disposal: bounced, expired or discarded."""
        return self._kind

    @property
    def disposition(self) -> str:
        """What follows: delivered, transient or permanent. In response, one failure can become the other."""
        return "" if self._verdict is None else _WORDS[Disposition(self._verdict.disposition)]

    @disposition.setter
    def disposition(self, word: str) -> None:
        verdict = self._changeable("what follows from a reply changes")
        if word not in {"transient", "permanent"}:
            raise ValueError(f"a failure is transient or permanent, not {word!r}")
        is_transient = word == "transient"
        self._verdict = Verdict(
            Disposition.TRANSIENT if is_transient else Disposition.PERMANENT,
            verdict.bounce_class,
            verdict.site_trouble,
        )
        if not is_transient:
            self._retry = None

    # what policy says

    def retry_after(self, seconds: float) -> None:
        """Try a transient failure again in so many seconds, 1 to 604,800, instead of by the back-off.

        The last attempt is made when the message's time is over, however far ahead this is.
        """
        verdict = self._changeable("the time of the next attempt changes")
        if verdict.disposition != Disposition.TRANSIENT:
            raise ValueError("a permanent failure is not tried again: make it transient first")
        self._retry = _seconds(seconds)

    def hold_back(self, seconds: float, text: str = "") -> None:
        """Send it no earlier than in so many seconds, 1 to 604,800, with a text for the event.

        That is no attempt: the back-off does not grow. Of several calls the longest time holds.
        """
        self._only(HookPhase.OUTBOUND, "a recipient is held back")
        reply = reply_of(451, text or f"{HELD_BACK.enhanced} {HELD_BACK.text}")
        wanted = _seconds(seconds)
        if self._held is None or wanted > self._held.seconds:
            self._held = Hold(wanted, reply)

    def note(self, name: str, text: str) -> None:
        """Write a note into the event of this attempt, beside the recipient's metadata, as short as that.

        In response, of a failure, and in disposal.
        """
        if self._phase is HookPhase.RESPONSE:
            self._changeable("an attempt is noted")
        else:
            self._only(HookPhase.DISPOSAL, "an attempt is noted")
        given: tuple[object, object] = (name, text)  # no type is checked when it is called
        if not all(isinstance(each, str) for each in given):
            raise TypeError("a note's name and its text are texts")
        if _NAME.fullmatch(name) is None:
            raise ValueError(f"{name!r} is no name of a note: letters, digits and _ . - , at most 64")
        if name.startswith(SECRET_PREFIX):
            raise ValueError(f"{name!r} is the name of a secret, and events hold none")
        if len(text) > NOTE_CHARACTERS:
            raise ValueError(f"a note has at most {NOTE_CHARACTERS} characters")
        if name not in self._notes and len(self._notes) >= NOTES_MAX:
            raise ValueError(f"there are {NOTES_MAX} notes already")
        text.encode()  # half of a surrogate pair could not be written
        self._notes[name] = text

    def route_on(self, channel: str) -> None:
        """Have another channel try it, in disposal. There is none yet: it raises."""
        self._only(HookPhase.DISPOSAL, "a recipient is routed on")
        raise ValueError(f"channel not available: {channel}")

    # for whoever asks the hooks

    def on(self, leaving: Leaving) -> "Attempt":
        """It is about to begin on a connection."""
        self._host, self._peer, self._source = leaving.host, leaving.peer, leaving.source
        self._tls = leaving.tls or ""
        return self

    def after(self, ended: Ended) -> "Attempt":
        """It has come to an end."""
        outcome = self._outcome = ended.outcome
        self._verdict = ended.verdict
        self._kind = ended.kind
        self._host, self._peer, self._source = outcome.host, outcome.peer, outcome.source
        self._tls = outcome.tls or ""
        return self

    @property
    def said(self) -> Said:
        """What policy said of it."""
        return Said(self._held, self._verdict, self._retry, self._notes)

    def shown(self) -> dict[str, str]:
        """What hooks may have changed of it, as texts by name."""
        found = {"disposition": self.disposition}
        if self._held is not None:
            found["held back"] = f"{self._held.seconds:g} s: {self._held.reply}"
        if self._retry is not None:
            found["tried again"] = f"after {self._retry:g} s"
        return found | {f"event note {name}": text for name, text in self._notes.items()}

    def _only(self, phase: HookPhase, what: str) -> None:
        if self._phase is not phase:
            raise ForbiddenError(f"{what} in {phase} only, not in {self._phase}", phase=self._phase)

    def _changeable(self, what: str) -> Verdict:
        """The verdict, where it may be changed."""
        self._only(HookPhase.RESPONSE, what)
        verdict = self._verdict
        if verdict is None or verdict.disposition == Disposition.DELIVERED:
            raise ForbiddenError("a delivered recipient is only read", phase=self._phase)
        return verdict


def _seconds(seconds: float) -> float:
    found = float(seconds)
    if not SECONDS_MIN <= found <= SECONDS_MAX:
        raise ValueError(f"a time to wait is {SECONDS_MIN:g} to {SECONDS_MAX:,.0f} seconds, not {seconds}")
    return found
