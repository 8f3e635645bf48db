"""The client of a session or request as hooks see it, and what they note about it.

Theory: notes are text, as in Momentum's contexts; a connection's last as long as it does, a message's as long
as its transaction. A key can be marked secret: what it holds is then never written anywhere.
"""

from collections.abc import Iterator, MutableMapping

from outrider.model.flow import Origin

NOTES_MAX = 1_000
# chosen: far over what scripts note; a script in a loop ends here
NOTE_OCTETS = 65_536
# chosen: the same


class Context(MutableMapping[str, str]):
    """Notes by name. Numbers are kept as their text."""

    __slots__ = ("_notes", "_secret")

    def __init__(self) -> None:
        self._notes: dict[str, str] = {}
        self._secret: set[str] = set()

    def __getitem__(self, name: str) -> str:
        return self._notes[name]

    def __setitem__(self, name: str, value: object) -> None:
        text = value if type(value) is str else str(value)
        if len(text) > NOTE_OCTETS:
            raise ValueError(f"the note {name!r} has more than {NOTE_OCTETS} characters")
        if len(self._notes) >= NOTES_MAX and name not in self._notes:
            raise ValueError(f"there are {NOTES_MAX} notes already")
        self._notes[name] = text

    def __delitem__(self, name: str) -> None:
        del self._notes[name]
        self._secret.discard(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._notes)

    def __len__(self) -> int:
        return len(self._notes)

    def keep_secret(self, name: str) -> None:
        """Whatever `name` holds is never written anywhere."""
        self._secret.add(name)

    def public(self) -> dict[str, str]:
        """The notes that may be written."""
        return {name: text for name, text in self._notes.items() if name not in self._secret}

    def clear(self) -> None:
        """Forget all."""
        self._notes.clear()
        self._secret.clear()

    def copy(self) -> "Context":
        """The same notes, to go on by themselves."""
        other = Context()
        other._notes = dict(self._notes)
        other._secret = set(self._secret)
        return other


class Connection:
    """Who is at the other end.

    Attributes:
        origin: Listener, protocol, address, name, login, TLS, tenant and stream, as they are now.
        context: Notes of this connection.
        message: Notes of the transaction that is under way.
    """

    __slots__ = ("context", "message", "origin")

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.context = Context()
        self.message = Context()

    @property
    def listener(self) -> str:
        """Name of the listener."""
        return self.origin.listener

    @property
    def client(self) -> str:
        """IP address of the client."""
        return self.origin.client

    @property
    def helo(self) -> str:
        """What it calls itself; empty before EHLO."""
        return self.origin.helo

    @property
    def user(self) -> str:
        """Login or key that it proved to have; empty without."""
        return self.origin.principal or ""

    @property
    def tenant(self) -> str:
        """Tenant that its mail is sent for."""
        return self.origin.tenant

    @property
    def stream(self) -> str:
        """Stream of its mail."""
        return self.origin.stream

    @property
    def tls(self) -> str:
        """TLS version and cipher; empty without."""
        return self.origin.tls or ""
