"""The server end of two SASL mechanisms: responses in, challenges or credentials out.

A mechanism is started with the initial response (or None) and stepped with each further response until it
gives `Credentials`. Octets here are already base64-decoded.

Invariant: whatever the responses, a step returns or raises SaslError, and at most two steps are needed.

Standards: RFC 4616 §2 (PLAIN), RFC 4422 §3.1 (identities); LOGIN has only an expired draft
(draft-murchison-sasl-login-00), and clients that speak nothing else.
"""

import base64
import binascii

import msgspec

from outrider.base.errors import RemoteProtocolError

MECHANISMS = ("PLAIN", "LOGIN")

IDENTITY_OCTETS = 255
"""RFC 4616 §2 allows up to 255 octets of authcid and of passwd."""


class SaslError(RemoteProtocolError):
    """The exchange is malformed."""


class ForAnotherError(SaslError):
    """The client asks to act for somebody else, which nobody may (RFC 4422 §3.1)."""


class Credentials(msgspec.Struct, frozen=True, gc=False):
    """What the client claims and how it proves it. Its `repr` shows neither."""

    user: str
    password: str

    def __repr__(self) -> str:
        return "Credentials(…)"


def decode_response(line: bytes) -> bytes:
    """One base64 line of the exchange; a single `=` is the empty response (RFC 4954 §4)."""
    if line == b"=":
        return b""
    try:
        return base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError) as error:
        raise SaslError("the response is not base64") from error


def _identity(octets: bytes) -> str:
    if not octets or len(octets) > IDENTITY_OCTETS or b"\0" in octets:
        raise SaslError("an identity or a password is empty, too long or holds NUL")
    try:
        return octets.decode()
    except UnicodeDecodeError as error:
        raise SaslError("an identity or a password is not UTF-8") from error


class Plain:
    """RFC 4616 §2: `authzid NUL authcid NUL passwd` in one response."""

    __slots__ = ()

    def step(self, response: bytes | None) -> bytes | Credentials:
        """The challenge to send, or the credentials."""
        if response is None:
            return b""
        parts = response.split(b"\0")
        if len(parts) != 3:
            raise SaslError("PLAIN needs three fields")
        user = _identity(parts[1])
        if parts[0] and parts[0] != parts[1]:
            raise ForAnotherError("nobody may act for another here")
        return Credentials(user, _identity(parts[2]))


class Login:
    """User name and password in two responses."""

    __slots__ = ("_user",)

    def __init__(self) -> None:
        self._user: str | None = None

    def step(self, response: bytes | None) -> bytes | Credentials:
        """The challenge to send, or the credentials."""
        if response is None:
            return b"Username:"
        if self._user is None:
            self._user = _identity(response)
            return b"Password:"
        return Credentials(self._user, _identity(response))


Mechanism = Plain | Login


def start(name: str) -> Mechanism | None:
    """The mechanism of that name, or None when there is none."""
    match name.upper():
        case "PLAIN":
            return Plain()
        case "LOGIN":
            return Login()
        case _:
            return None
