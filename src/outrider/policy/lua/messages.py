"""The objects behind what Momentum's hooks are given: `msg`, `vctx`, `ac`, `ec_string`.

What scripts can do with them is in `policy.lua.api`; here is what they stand for.
"""

from typing import Final, Protocol

from outrider.model.flow import Content, Traits
from outrider.model.hooks import HookPhase
from outrider.policy.connection import Connection, Context
from outrider.policy.lua.convert import kind_of
from outrider.policy.mail import Mail
from outrider.wire.message.editable import EditableMessage

_EMPTY: Final = Content(b"\r\n", Traits(0), 0)


class Exchange(Protocol):
    """What these objects are of: a session, and the hook of it that is under way; see `conversation`."""

    connection: Connection
    vctx: "Validation"
    phase: HookPhase | None
    mail: Mail | None


class EcString:
    """An `ec_string`: octets that a function may write into."""

    __slots__ = ("buffer",)

    def __init__(self, octets: bytes = b"") -> None:
        self.buffer = octets


class Accepted:
    """An `ac`: the client's connection; `mc` is the same for functions that ask for it."""

    __slots__ = ("conversation", "mc")

    def __init__(self, conversation: Exchange) -> None:
        self.conversation = conversation
        self.mc = Construct(self)


class Construct:
    """An `mc`: the message construct of an `ac`."""

    __slots__ = ("ac",)

    def __init__(self, ac: Accepted) -> None:
        self.ac = ac


class Validation:
    """A `vctx`: notes, and the answer that a hook gives.

    Attributes:
        auth: Login that was tried last, and whether it was right: `pass` or `fail`; empty before.
        code: What the hook under way says: code and text, or None.
        helo: What the client calls itself, as it said last.
        recipients: Those of the transaction, once all are known.
    """

    __slots__ = ("auth", "code", "conversation", "helo", "recipients")

    def __init__(self, conversation: Exchange) -> None:
        self.conversation = conversation
        self.auth = ("", "")
        self.code: tuple[int, str] | None = None
        self.helo = ""
        self.recipients: tuple[str, ...] = ()

    def note(self, notes: Context, name: str) -> str | None:
        """A note, or what is predefined for its name; None where there is neither.

        What a script set goes before what is predefined, and what a client claims goes behind it: who it is
        and whom the message is for is said by the session.
        """
        found = notes.get(name)
        if found is not None and not notes.is_claimed(name):
            return found
        predefined = self.predefined(name)
        return found if predefined is None else predefined

    def predefined(self, key: str) -> str | None:
        """What a key of Momentum's says of session and transaction; None for one that it does not have."""
        connection = self.conversation.connection
        mail = self.conversation.mail
        subject, _, aspect = key.partition("_")
        match subject:
            case "mailfrom":
                address = connection.mail_from if mail is None else mail.mail_from
                return _aspect("MAIL FROM", address, aspect)
            case "rcptto":
                address = connection.rcpt_to if mail is None else mail.rcpt_to
                return _aspect("RCPT TO", address, aspect)
            case "auth":
                return self._of_login(aspect)
            case _:
                return _of_connection(connection, key, self.helo or connection.helo)

    def _of_login(self, aspect: str) -> str | None:
        """The login that is valid, or is being checked in the hook under way; how it ended."""
        user, status = self.auth
        proved = self.conversation.connection.user
        is_checked = self.conversation.phase is HookPhase.AUTH
        match aspect:
            case "user" | "name":
                return user if is_checked else proved
            case "status":
                if is_checked or (status == "fail" and not proved):
                    return status
                return "pass" if proved else ""
            case _:
                return None


def _aspect(verb: str, address: str, aspect: str) -> str | None:
    match aspect:
        case "string":
            return f"{verb}:<{address}>"
        case "localpart":
            return address.rpartition("@")[0]
        case "domain":
            return address.rpartition("@")[2]
        case _:
            return None


def _of_connection(connection: Connection, key: str, helo: str) -> str | None:
    origin = connection.origin
    match key:
        case "ehlo_domain":
            return helo
        case "ehlo_string":
            return f"EHLO {helo}" if helo else ""
        case "can_relay":
            return "true" if connection.ends.may_relay else ""
        case "connection_message_count":
            return str(connection.messages)
        case "connection_rcpt_count":
            return str(connection.named)
        case "message_rcpt_count":
            return str(connection.named - connection.named_before)
        case "tls":
            return origin.tls.partition(" ")[0] if origin.tls else ""
        case "tls_cipher":
            return origin.tls.partition(" ")[2] if origin.tls else ""
        case _:
            return None


class Msg:
    """A `msg`.

    Args:
        conversation: That it belongs to.
        mail: The message; None in RCPT, before there is one, and for one that a script makes.

    Attributes:
        is_writable: Its parts may be changed.
    """

    __slots__ = ("_made", "conversation", "is_writable", "mail")

    def __init__(self, conversation: Exchange | None, mail: Mail | None) -> None:
        self.conversation = conversation
        self.mail = mail
        self.is_writable = False
        self._made: EditableMessage | None = None

    @property
    def is_made(self) -> bool:
        """A script made it."""
        return self._made is not None

    def make(self) -> "Msg":
        """Be a message of its own, with no field and no text yet."""
        self._made = EditableMessage(_EMPTY)
        self.is_writable = True
        return self

    @property
    def message(self) -> EditableMessage:
        """Header and parts. Raises ValueError: there is none yet."""
        if self.mail is not None:
            return self.mail.message
        if self._made is None:
            raise ValueError("there is no message yet, only its envelope")
        return self._made

    @property
    def notes(self) -> Context:
        """Of the message. Raises ValueError: it is one that a script made."""
        if self.mail is not None:
            return self.mail.context
        if self.conversation is None:
            raise ValueError("a message that a script makes has no notes")
        return self.conversation.connection.message

    @property
    def phase(self) -> HookPhase | None:
        """Of the hook under way."""
        return None if self.conversation is None else self.conversation.phase


def mail_behind(target: object) -> Mail:
    """The message of a `msg`. Raises ValueError: it is none, or one that a script made."""
    if not isinstance(target, Msg):
        raise ValueError(f"a message was expected, not {kind_of(target)}")  # noqa: TRY004 - scripts hear it
    if target.mail is None:
        raise ValueError("this message was not received: it is one that a script makes, or only an envelope")
    return target.mail
