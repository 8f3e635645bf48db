"""The client of a session or request as hooks see it, and what they note about it.

Theory: notes are text, as in Momentum's contexts; a connection's last as long as it does, a message's as long
as its transaction. A key can be marked secret: what it holds is then never written anywhere.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import suppress
from typing import Any

from outrider.model.address import Address
from outrider.model.ends import Ends
from outrider.model.flow import SECRET_PREFIX, Origin

NOTES_MAX = 1_000
# chosen: far over what scripts note; a script in a loop ends here
NAME_CHARACTERS = 255
# chosen: the same
NOTES_CHARACTERS = 262_144
# chosen: the same; notes of a message are stored with it, for each variant


class Context(MutableMapping[str, str]):
    """Notes by name, both texts; another value is kept as its text.

    Names have at most 255 characters, and all names and values together 262,144. Notes whose names begin with
    `secret_` are secret, whoever makes them.
    """

    __slots__ = ("_characters", "_claimed", "_notes", "_secret")

    def __init__(self) -> None:
        self._claimed: set[str] = set()
        self._notes: dict[str, str] = {}
        self._secret: set[str] = set()
        self._characters = 0

    def __getitem__(self, name: str) -> str:
        return self._notes[name]

    def __setitem__(self, name: str, value: object) -> None:
        text = value if type(value) is str else str(value)
        if type(name) is not str:
            raise TypeError(f"the name of a note is a text, not {type(name).__name__}")
        notes = self._notes
        before = notes.get(name)
        grows = len(text) + len(name) if before is None else len(text) - len(before)
        if before is None and (not name or len(name) > NAME_CHARACTERS):
            raise ValueError(f"the name of a note has 1 to {NAME_CHARACTERS} characters")
        if self._characters + grows > NOTES_CHARACTERS:
            raise ValueError(f"the notes have more than {NOTES_CHARACTERS} characters together")
        if before is None and len(notes) >= NOTES_MAX:
            raise ValueError(f"there are {NOTES_MAX} notes already")
        if not (name.isascii() and text.isascii()):
            _check_characters(name)
            _check_characters(text)
        if before is None and name.startswith(SECRET_PREFIX):
            self.keep_secret(name)
        notes[name] = text
        self._characters += grows
        if self._claimed:
            self._claimed.discard(name)

    def __delitem__(self, name: str) -> None:
        self._characters -= len(self._notes.pop(name)) + len(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._notes)

    def __len__(self) -> int:
        return len(self._notes)

    def __repr__(self) -> str:
        return f"Context({self.public()!r})"

    def seed(self, notes: Iterable[tuple[str, str]], *, are_claims: bool = False) -> None:
        """Notes that configuration or client give; a client's are claims, which replace nothing but claims.

        What there is no room for is left out: whoever gives notes holds its own bounds, so that is little.
        """
        for name, text in notes:
            if are_claims and name in self._notes and name not in self._claimed:
                continue  # a script has said so already
            with suppress(ValueError):
                self[name] = text
                if are_claims:
                    self._claimed.add(name)

    def is_claimed(self, name: str) -> bool:
        """True for a note that the client gave and no script has set since."""
        return name in self._claimed

    def keep_secret(self, name: str) -> None:
        """Whatever `name` holds, now or later, is never written anywhere."""
        if name not in self._secret and len(self._secret) >= NOTES_MAX:
            raise ValueError(f"{NOTES_MAX} names of notes are secret already")
        self._secret.add(name)

    def is_secret(self, name: str) -> bool:
        """True for a name whose note is never written."""
        return name in self._secret

    def public(self) -> dict[str, str]:
        """The notes that may be written."""
        if not self._secret:
            return self._notes.copy()
        return {name: text for name, text in self._notes.items() if name not in self._secret}

    def public_pairs(self) -> tuple[tuple[str, str], ...]:
        """As `public`, as pairs."""
        return tuple(self.public().items()) if self._notes else ()

    def without_secrets(self, text: str) -> str:
        """`text`, as of a failure, with the notes that are never written taken out of it."""
        secrets = {self._notes.get(name, "") for name in self._secret}
        for note in sorted(secrets, key=len, reverse=True):  # a longer one may hold a shorter one
            if note:
                text = text.replace(note, "(secret)")
        return text

    def clear(self) -> None:
        """Forget all."""
        if self._notes or self._secret:
            self._notes.clear()
            self._claimed.clear()
            self._secret.clear()
            self._characters = 0

    def copy(self) -> "Context":
        """The same notes, to go on by themselves."""
        other = Context()
        other._notes = self._notes.copy()
        other._claimed = self._claimed.copy()
        other._secret = self._secret.copy()
        other._characters = self._characters
        return other


def _check_characters(text: str) -> None:
    """Refuse what cannot be written, because no encoding has it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("a note holds half of a surrogate pair, which is not a character") from error


class Connection:
    """Who is at the other end.

    Args:
        origin: What is known of it when it begins.
        ends: What the session knows besides; without it, nothing.

    Attributes:
        ends: See there.
        messages: Transactions that began, the one under way included.
        named: Recipients that were named in them.
        named_before: Those of them that were named before the transaction under way.
        sender: Reverse-path of the transaction under way; None for the null one, and outside of any.
        recipient: The recipient that was named last in it.
        list_edits: What scripts want of its recipients before there is a message, in order: to `add` or
            `remove` an address, or to `clear` the list.
    """

    __slots__ = (
        *("_context", "_message", "_noted", "_origin", "_replaced", "_shared", "_told", "ends"),
        *("list_edits", "messages", "named", "named_before", "recipient", "sender"),
    )

    def __init__(self, origin: Origin, ends: Ends | None = None) -> None:
        self._origin = origin
        self.ends = Ends() if ends is None else ends
        self._told = self.ends.notes
        self._noted = 0
        self._replaced: dict[str, str | None] = {}
        self.messages = 0
        self.named = 0
        self.named_before = 0
        self.list_edits: list[tuple[str, str]] = []
        self._context = Context()
        self._message = Context()
        self._shared: dict[Any, Any] = {}
        self.sender: Address | None = None
        self.recipient: Address | None = None

    def shared(self, owner: Any, make: Callable[[], Any]) -> Any:
        """What the scripts of one language share for this session: made once for each owner."""
        found = self._shared.get(owner)
        if found is None:
            found = self._shared[owner] = make()
        return found

    def edited(self, recipients: Iterable[str]) -> tuple[str, ...]:
        """Recipients with what scripts want of them; nobody twice."""
        found = dict.fromkeys(recipients)
        for what, address in self.list_edits:
            if what == "add":
                found.setdefault(address)
            elif what == "remove":
                found.pop(address, None)
            else:
                found.clear()
        return tuple(found)

    def update(self, origin: Origin) -> None:
        """For whoever asks the hooks: what is known of it now."""
        self._origin = origin
        notes = self.ends.notes
        if len(notes) != self._noted or notes is not self._told:
            self._take(notes)

    def _take(self, notes: list[tuple[str, str]]) -> None:
        """Note what the client noted since; another list is one of a client who begins anew with TLS."""
        context = self._context
        if notes is not self._told:
            for name, before in self._replaced.items():
                context.pop(name, None)
                context.seed([] if before is None else [(name, before)])
            self._told, self._noted, self._replaced = notes, 0, {}
        for name, text in notes[self._noted :]:
            self._replaced.setdefault(name, context.get(name))
            context.seed([(name, text)])
        self._noted = len(notes)

    @property
    def origin(self) -> Origin:
        """Listener, protocol, address, name, login, TLS, tenant and stream, as they are now."""
        return self._origin

    @property
    def context(self) -> Context:
        """Notes of this connection."""
        return self._context

    @property
    def message(self) -> Context:
        """Notes of the transaction that is under way."""
        return self._message

    @property
    def mail_from(self) -> str:
        """Reverse-path of the transaction under way; empty for the null one, and outside of any."""
        return "" if self.sender is None else str(self.sender)

    @property
    def rcpt_to(self) -> str:
        """The recipient that was named last in it; empty without."""
        return "" if self.recipient is None else str(self.recipient)

    @property
    def listener(self) -> str:
        """Name of the listener."""
        return self._origin.listener

    @property
    def client(self) -> str:
        """IP address of the client."""
        return self._origin.client

    @property
    def client_port(self) -> int:
        """Port of the client; 0 where it is not known: by HTTP, behind a load balancer, on the way out."""
        return self.ends.client_port

    @property
    def listener_address(self) -> str:
        """Our address that it reached; by HTTP that of the listener's configuration."""
        return self.ends.address

    @property
    def listener_port(self) -> int:
        """Our port that it reached."""
        return self.ends.port

    @property
    def helo(self) -> str:
        """What it calls itself; empty before EHLO."""
        return self._origin.helo

    @property
    def user(self) -> str:
        """Login or key that it proved to have; empty without."""
        return self._origin.principal or ""

    @property
    def tenant(self) -> str:
        """Tenant that its mail is sent for."""
        return self._origin.tenant

    @property
    def stream(self) -> str:
        """Stream of its mail."""
        return self._origin.stream

    @property
    def tls(self) -> str:
        """TLS version and cipher; empty without."""
        return self._origin.tls or ""


def configured_ends(addresses: Mapping[str, tuple[str, int]], origin: Origin) -> Ends:
    """What the configuration says of a connection that is not there: of a request, or of what was stored."""
    address, port = addresses.get(origin.listener, ("", 0))
    return Ends(address=address, port=port, may_relay=True)
