"""A message as hooks see it: what they may read in every phase, and what they may change in which.

In: a submission. Out: messages with their deliveries, when all phases are through.

Theory: up to `data_spool` there is one `Mail` for all recipients; then each recipient has its own, which
shares content and notes with the others until it changes them. Those that are alike in the end are one
message again, so a content that nobody changed is stored once.

Invariant: what may not be changed in a phase raises, names phase and rule, and is left as it was.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import NoReturn

from msgspec.structs import replace

from outrider.model.address import Address
from outrider.model.flow import Content, Delivery, Message, Recipient, Submission
from outrider.model.hooks import HookPhase
from outrider.model.mailbox import parse_domain, parse_mailbox
from outrider.model.route import DISCARD
from outrider.policy.bindings import Bindings
from outrider.policy.checking import Checking
from outrider.policy.connection import Connection, Context
from outrider.policy.errors import ForbiddenError
from outrider.privacy.mail_checks import MailChecks
from outrider.wire.dkim.arc import ChainState, SealRequest, ask_seal, has_sets
from outrider.wire.dkim.listing import UnsignableError
from outrider.wire.dkim.request import SignRequest
from outrider.wire.dkim.results_field import with_results
from outrider.wire.dkim.stored import pack
from outrider.wire.message.editable import EditableMessage
from outrider.wire.smtp.content import checked, unstuff_header

CONTENT_PHASES = frozenset({HookPhase.DATA, HookPhase.DATA_SPOOL, HookPhase.MSG_GEN, HookPhase.EACH_RCPT})
EDIT_PHASES = CONTENT_PHASES | {HookPhase.OUTBOUND}
LIST_PHASES = frozenset({HookPhase.DATA, HookPhase.DATA_SPOOL, HookPhase.MSG_GEN})
ADDRESS_PHASES = frozenset({HookPhase.EACH_RCPT})
ROUTING_PHASES = frozenset({HookPhase.EACH_RCPT})
BINDING_PHASES = frozenset({HookPhase.SET_BINDING})
SIGNING_PHASES = frozenset({HookPhase.FINAL_VALIDATION})

AHEAD_SECONDS_MAX = 366 * 86_400
# chosen: who means more has mistaken the unit
REASON_CHARACTERS = 200
# chosen: a line
SIGNATURES_MAX = 8
# chosen: an own domain's and a provider's, each with two algorithms, and as many again


class Mail:
    """See the module.

    Args:
        submission: As it was received.
        connection: Where it came from.
        bindings: Those that there are.
        checking: Its checks; None where nobody checks.
    """

    __slots__ = (
        "_binding",
        "_binding_group",
        "_bindings",
        "_checking",
        "_connection",
        "_content",
        "_context",
        "_discard",
        "_mail_from",
        "_message",
        "_not_before_time",
        "_phase",
        "_priority",
        "_recipients",
        "_routing_domain",
        "_seal",
        "_signing",
        "_submission",
    )

    def __init__(
        self,
        submission: Submission,
        connection: Connection,
        bindings: Bindings,
        checking: Checking | None = None,
    ) -> None:
        envelope = submission.envelope
        self._checking = checking or Checking(submission, None)
        self._submission = submission
        self._bindings = bindings
        self._mail_from = envelope.mail_from
        self._recipients: tuple[Recipient, ...] = envelope.recipients
        self._content = submission.content
        self._message: EditableMessage | None = None
        self._routing_domain = ""
        self._binding = bindings.initial
        self._binding_group = ""
        self._priority = 0
        self._not_before_time = submission.not_before_time
        self._discard = ""
        self._signing: tuple[SignRequest, ...] = ()
        self._seal: SealRequest | None = None
        self._connection = connection
        self._context: Context = connection.message
        self._phase = HookPhase.DATA

    # what can be read

    @property
    def phase(self) -> HookPhase:
        """The phase that is under way."""
        return self._phase

    @property
    def connection(self) -> Connection:
        """Where it came from."""
        return self._connection

    @property
    def context(self) -> Context:
        """Notes about this message; those of its transaction come along."""
        return self._context

    @property
    def id(self) -> str:
        """The message's id, as in its 250 and in events."""
        return str(self._submission.message_id)

    @property
    def received_time(self) -> float:
        """When it was received, Unix seconds."""
        return self._submission.received_time

    @property
    def size(self) -> int:
        """Octets of its content in wire form."""
        return len(self._content.wire)

    # sender and recipients

    @property
    def mail_from(self) -> str:
        """Its reverse-path; empty for the null one. Can be changed up to each_rcpt."""
        return "" if self._mail_from is None else str(self._mail_from)

    @mail_from.setter
    def mail_from(self, address: str) -> None:
        self._only(CONTENT_PHASES, "the sender changes")
        self._mail_from = self._parse(address) if address else None

    @property
    def recipients(self) -> tuple[str, ...]:
        """Whom it is for. Can be changed before it is split for its recipients."""
        return tuple(str(each.address) for each in self._recipients)

    @recipients.setter
    def recipients(self, addresses: Iterable[str]) -> None:
        self._only(LIST_PHASES, "recipients are added and removed")
        if isinstance(addresses, str):
            raise TypeError("recipients are a list of addresses, not one text")
        known = {str(each.address): each for each in self._recipients}
        wanted: dict[Address, Recipient] = {}
        for text in addresses:
            recipient = known.get(text) or Recipient(self._parse(text))
            wanted.setdefault(recipient.address, recipient)
        self._recipients = tuple(wanted.values())

    @property
    def rcpt_to(self) -> str:
        """Its recipient, from each_rcpt on, where it can be changed; before that the first one."""
        return str(self._recipients[0].address) if self._recipients else ""

    @rcpt_to.setter
    def rcpt_to(self, address: str) -> None:
        self._only(ADDRESS_PHASES, "the recipient changes")
        self._recipients = (replace(self._recipients[0], address=self._parse(address)),)

    @property
    def recipient(self) -> Recipient:
        """Its recipient with DSN parameters and metadata, from each_rcpt on."""
        return self._recipients[0]

    # content

    @property
    def content(self) -> Content:
        """Header and body in wire form. Can be changed up to each_rcpt, and in outbound for one attempt."""
        return self._content

    @content.setter
    def content(self, content: Content) -> None:
        self._only(EDIT_PHASES, "content changes")
        wire: object = content.wire  # no type is checked when one is made
        if not isinstance(wire, bytes):
            raise TypeError("the wire form of a content is bytes")
        if content is not self._content:
            self._content = checked(content.wire)
        self._message = None

    @property
    def message(self) -> EditableMessage:
        """Header and parts, to be read in every phase and changed up to each_rcpt and in outbound."""
        message = self._message
        if message is None:
            utf8 = self._submission.envelope.smtputf8
            message = self._message = EditableMessage(self._content, utf8=utf8)
            if self._phase not in EDIT_PHASES:
                message.freeze(_REFUSALS[self._phase])
        return message

    @property
    def header_section(self) -> bytes:
        """Its header as it stands in the message: fields with their line ends, dots not stuffed."""
        message = self._message
        return unstuff_header(self._content) if message is None else message.header.octets()

    def header(self, name: str) -> list[str]:
        """The values of all fields of a name, decoded and unfolded.

        Raises:
            MessageLimitError: The header section is beyond the limits.
        """
        return (self._message or self.message).header.get_all(name)

    # what can be found out about it

    async def check(self) -> MailChecks:
        """Its signatures (DKIM), its chain of seals (ARC), SPF and DMARC, as it came, up to each_rcpt.

        They are looked for once for a message; what DNS did not answer in time is a `temperror`.
        """
        self._only(CONTENT_PHASES, "a message is checked")
        return await self._checking.check()

    @property
    def checks(self) -> MailChecks | None:
        """What `check` found, in every later phase; None where nobody has asked."""
        return self._checking.found

    async def add_results(self, authserv_id: str = "") -> None:
        """Write what `check` finds into a field at its top, up to each_rcpt, and remove forged ones.

        Args:
            authserv_id: Who checked; empty is the server's host name. Fields that claim this name, or whose
                name cannot be read, are removed.
        """
        self._only(CONTENT_PHASES, "results are added")
        checks = await self._checking.check()
        self.settle()
        self._content = with_results(
            self._content, authserv_id or self._checking.authserv_id, checks.results()
        )
        self._message = None

    # how it goes out

    @property
    def routing_domain(self) -> str:
        """Domain whose exchangers take it: the recipient's, unless changed in each_rcpt."""
        return self._routing_domain or (self._recipients[0].address.domain if self._recipients else "")

    @routing_domain.setter
    def routing_domain(self, domain: str) -> None:
        self._only(ROUTING_PHASES, "routing changes")
        self._routing_domain = parse_domain(domain)

    @property
    def binding(self) -> str:
        """Sending identity. Assigned in set_binding; empty until then where there is no default for it."""
        return self._binding

    @binding.setter
    def binding(self, name: str) -> None:
        if not self.try_binding(name):
            raise LookupError(f"there is no binding and no group {name!r}")

    def try_binding(self, name: str) -> bool:
        """Assign a binding, or a member of a group, in set_binding; False and no change if there is none."""
        if self._phase not in BINDING_PHASES:
            self._only(BINDING_PHASES, "a binding is assigned")
        chosen = self._bindings.choose(name, self._routing_domain or self._recipients[0].address.domain)
        if chosen is None:
            return False
        self._binding, self._binding_group = chosen
        return True

    @property
    def binding_group(self) -> str:
        """The group that its binding was chosen from; empty where none was. Assigned in set_binding."""
        return self._binding_group

    @binding_group.setter
    def binding_group(self, name: str) -> None:
        if not self._bindings.is_group(name):
            raise LookupError(f"there is no group of bindings {name!r}")
        self.try_binding(name)

    @property
    def priority(self) -> int:
        """0, or 1 for what goes before all others of its path. Assigned in set_binding."""
        return self._priority

    @priority.setter
    def priority(self, priority: int) -> None:
        self._only(BINDING_PHASES, "a priority is assigned")
        if priority not in {0, 1}:
            raise ValueError(f"the priority {priority!r} is neither 0 nor 1")
        self._priority = int(priority)

    @property
    def not_before_time(self) -> float:
        """Earliest first attempt, Unix seconds; 0 is at once. Can be changed in each_rcpt."""
        return self._not_before_time

    @not_before_time.setter
    def not_before_time(self, at: float) -> None:
        self._only(ROUTING_PHASES, "the time of the first attempt changes")
        time = float(at)
        if not 0 <= time <= self._submission.received_time + AHEAD_SECONDS_MAX:
            raise ValueError(f"the first attempt is at most {AHEAD_SECONDS_MAX // 86_400} days ahead")
        self._not_before_time = time

    @property
    def signing(self) -> tuple[SignRequest, ...]:
        """The signatures that are asked for, by configuration or by `sign`; from final_validation on."""
        return self._signing

    def sign(self, request: SignRequest) -> None:
        """Ask in final_validation for a signature; it is made for each attempt, after the last change."""
        self._only(SIGNING_PHASES, "a signature is asked for")
        if not isinstance(request, SignRequest):
            raise TypeError("a signature is asked for with a SignRequest")
        if len(self._signing) >= SIGNATURES_MAX:
            raise ValueError(f"more than {SIGNATURES_MAX} signatures are asked for")
        self._signing = (*self._signing, request)

    def seal(self, request: SignRequest) -> bool:
        """Ask in final_validation for the next set of its ARC chain, made as signatures are, after them.

        It says what `check` found, which is therefore asked for in an earlier phase. False, and nothing is
        asked for, where the chain was closed by somebody who found it broken, or has 50 sets. A second call
        replaces the first.
        """
        self._only(SIGNING_PHASES, "a seal is asked for")
        if not isinstance(request, SignRequest):
            raise TypeError("a seal is asked for with a SignRequest")
        if self._checking.found is None:
            raise LookupError("a seal says what was found when it came: `await mail.check()` up to each_rcpt")
        return self._ask_seal(request, self._checking.found)

    def leave_unsigned(self) -> None:
        """Ask in final_validation for no signature and no seal, also where the configuration does."""
        self._only(SIGNING_PHASES, "signatures are asked for")
        self._signing = ()
        self._seal = None

    def discard(self, reason: str) -> None:
        """Record why, and never send it; up to each_rcpt, or in outbound for one recipient."""
        self._only(EDIT_PHASES, "a message is discarded")
        if not isinstance(reason, str):
            raise TypeError("a reason is a text")
        self._discard = (
            reason[:REASON_CHARACTERS].encode("utf-8", "replace").decode() or "discarded by policy"
        )

    @property
    def is_discarded(self) -> bool:
        """True once it was discarded."""
        return bool(self._discard)

    @property
    def discarded(self) -> str:
        """Why it was discarded; empty where it was not."""
        return self._discard

    # for whoever asks the hooks

    def enter(self, phase: HookPhase) -> None:
        """A phase begins."""
        self._phase = phase
        if self._message is not None and phase not in EDIT_PHASES:
            self._message.freeze(_REFUSALS[phase])

    def bind(self) -> bool:
        """No script assigns a binding any more: it has the default; False where there is none."""
        if self._binding:
            return True
        chosen = self._bindings.choose_default(self.routing_domain)
        if chosen is None:
            return False
        self._binding, self._binding_group = chosen
        return True

    def ask_signatures(self, requests: tuple[SignRequest, ...]) -> None:
        """What the configuration asks for."""
        self._signing = requests

    @property
    def all_requests(self) -> tuple[SignRequest, ...]:
        """Of signatures and seal."""
        return self._signing if self._seal is None else (*self._signing, self._seal.request)

    async def ask_seal(self, request: SignRequest) -> None:
        """What the configuration asks for.

        Raises:
            LocalProtocolError: The chain is not what it was.
            UnavailableError: Nobody checks.
        """
        self._ask_seal(request, await self._checking.check())

    def _ask_seal(self, request: SignRequest, checks: MailChecks) -> bool:
        asked = ask_seal(request, self._checking.authserv_id, checks.results(), checks.chain)
        if asked is not None and asked.state is ChainState.PASS and not has_sets(self._content, asked.sets):
            raise UnsignableError("the message's ARC sets were changed since it came, so its chain has ended")
        self._seal = asked
        return asked is not None

    def settle(self) -> None:
        """A hook has ended: what it changed in `message` is the content from now on.

        Raises:
            ForbiddenError: Nothing may be changed in this phase, and nothing was.
        """
        message = self._message
        if message is None or not message.is_changed:
            return
        self._message = None
        self._only(EDIT_PHASES, "content changes")
        self._content = message.content()

    @property
    def all_recipients(self) -> tuple[Recipient, ...]:
        """With DSN parameters and metadata; of one that was split, as they were then."""
        return self._recipients

    def resume(self, delivery: Delivery, binding: str, signing: tuple[SignRequest, ...]) -> None:
        """It was stored and goes out to one recipient: what was decided when it came."""
        self._recipients = (delivery.recipient,)
        self._routing_domain = delivery.routing_domain
        self._binding, self._priority = binding, delivery.priority
        self._not_before_time = delivery.not_before_time
        self._signing = signing
        self._context = self._context.copy()
        self._phase = HookPhase.OUTBOUND

    def split(self) -> "tuple[Mail, ...]":
        """One for each recipient."""
        if len(self._recipients) == 1:
            return (self,)
        mails = []
        for recipient in self._recipients:
            mail = Mail(self._submission, self._connection, self._bindings, self._checking)
            mail._mail_from = self._mail_from
            mail._recipients = (recipient,)
            mail._content = self._content
            mail._not_before_time = self._not_before_time
            mail._discard = self._discard
            mail._context = self._context.copy()
            mails.append(mail)
        return tuple(mails)

    def _parse(self, address: str) -> Address:
        return parse_mailbox(address, smtputf8=self._submission.envelope.smtputf8)

    def _only(self, phases: frozenset[HookPhase], what: str) -> None:
        if self._phase not in phases:
            _forbid(self._phase, phases, what)


def _forbid(phase: HookPhase, phases: frozenset[HookPhase], what: str) -> NoReturn:
    order = ", ".join(each for each in HookPhase if each in phases)
    raise ForbiddenError(f"{what} in {order} only, not in {phase}", phase=phase)


_REFUSALS = {
    phase: partial(_forbid, phase, EDIT_PHASES, "content changes")
    for phase in HookPhase
    if phase not in EDIT_PHASES
}
# what raises at the line of a script that changes a message too late; none of them holds the message

_Notes = tuple[tuple[str, str], ...]


def messages_of(submission: Submission, mails: Sequence[Mail]) -> tuple[Message, ...]:
    """The messages that `mails`, one for each recipient, make: those that are alike are one."""
    if len(mails) == 1:
        return (_message_of(submission, mails[0]._context.public_pairs(), mails),)
    groups: dict[tuple[object, ...], tuple[_Notes, list[Mail]]] = {}
    for mail in mails:
        notes = mail._context.public_pairs()
        alike = (id(mail._content), mail._mail_from, mail._discard, mail._signing, mail._seal, notes)
        groups.setdefault(alike, (notes, []))[1].append(mail)
    return tuple(_message_of(submission, notes, group) for notes, group in groups.values())


def _message_of(submission: Submission, notes: _Notes, alike: Sequence[Mail]) -> Message:
    first = alike[0]
    envelope = submission.envelope
    recipients = tuple([mail._recipients[0] for mail in alike]) if len(alike) > 1 else first._recipients
    if first._mail_from != envelope.mail_from or recipients != envelope.recipients:
        envelope = replace(envelope, mail_from=first._mail_from, recipients=recipients)
    if envelope is not submission.envelope or first._content is not submission.content:
        submission = replace(submission, envelope=envelope, content=first._content)
    deliveries = [
        Delivery(
            mail._recipients[0],
            mail.routing_domain,
            DISCARD if mail._discard else "smtp",
            mail._binding,
            mail._priority,
            mail._not_before_time,
        )
        for mail in alike
    ]
    asked = pack(first._signing, first._seal) if first._signing or first._seal is not None else b""
    return Message(submission, tuple(deliveries), first._discard, asked, notes)
