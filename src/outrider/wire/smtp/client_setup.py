"""The part of a client session before its first transaction: greeting, EHLO, STARTTLS, AUTH.

Takes one reply at a time and says what to send next and what happened.

Theory: a straight line with two turns.

- EHLO is said again inside TLS, because nothing learnt before it counts (RFC 3207 §4.2).
- A host that refuses EHLO for good is asked with HELO (RFC 5321 §3.2). Not so where TLS or AUTH is required,
  which HELO cannot offer, nor in LMTP, which knows only LHLO (RFC 2033 §4.1).

Standards: RFC 5321 §3.1, RFC 5321 §4.1.1.1, RFC 3207 §4, RFC 4954 §4, RFC 4616 §2 (PLAIN),
RFC 1870 §4 (SIZE).
"""

from base64 import b64encode
from functools import lru_cache

from msgspec.structs import replace

from outrider.base.errors import RemoteProtocolError
from outrider.model.flow import Phase
from outrider.model.reply import Reply
from outrider.wire.smtp.client_commands import checked
from outrider.wire.smtp.client_events import (
    AUTH_NEEDS_TLS,
    NO_MECHANISM,
    TLS_NOT_OFFERED,
    Credentials,
    Features,
    Ready,
    SetupFailed,
    TlsPolicy,
    TlsWanted,
)

SIZE_DIGITS_MAX = 20
# RFC 1870 §4: size-value ::= 1*20DIGIT

LINE_OCTETS = 510
# RFC 5321 §4.5.3.1.4 without CRLF; RFC 4954 §4: an initial response over it waits for 334

SetupEvent = Ready | TlsWanted | SetupFailed


@lru_cache(maxsize=256)
def parse_features(reply: Reply) -> Features:
    """The extensions in an EHLO reply; what cannot be read is not offered. Pure, so remembered."""
    keywords: dict[str, list[str]] = {}
    for line in reply.lines[1:]:
        # `AUTH=LOGIN` is an old spelling that some hosts still send besides the right one
        words = line.replace("AUTH=", "AUTH ", 1).upper().split()
        if words:
            keywords.setdefault(words[0], []).extend(words[1:])
    size = keywords.get("SIZE", [])
    octets = size[0] if size and size[0].isascii() and size[0].isdigit() else "0"
    return Features(
        pipelining="PIPELINING" in keywords,
        chunking="CHUNKING" in keywords,
        eight_bit_mime="8BITMIME" in keywords,
        smtputf8="SMTPUTF8" in keywords and "8BITMIME" in keywords,  # RFC 6531 §3.1 (8) requires both
        dsn="DSN" in keywords,
        starttls="STARTTLS" in keywords,
        has_size="SIZE" in keywords,
        size=int(octets) if len(octets) <= SIZE_DIGITS_MAX else 0,
        mechanisms=frozenset(keywords.get("AUTH", ())),
    )


class Setup:
    """See the module.

    Attributes:
        phase: What is being waited for.
        out: Octets to send, taken by the owner.
        waiting_for_tls: Nothing is read until the handshake is done.
    """

    __slots__ = (
        "_answers",
        "_credentials",
        "_ehlo_name",
        "_features",
        "_helo",
        "_lmtp",
        "_secured",
        "_tls",
        "_tls_failed",
        "out",
        "phase",
        "waiting_for_tls",
    )

    def __init__(
        self,
        ehlo_name: str,
        tls: TlsPolicy,
        credentials: Credentials | None,
        *,
        secured: bool,
        lmtp: bool = False,
        tls_failed: bool = False,
    ) -> None:
        self._ehlo_name = ehlo_name
        self._tls = tls
        self._credentials = credentials
        self._secured = secured
        self._lmtp = lmtp
        self._tls_failed = tls_failed
        self._features = Features()
        self._helo = False
        self._answers: list[bytes] = []
        self.out: list[bytes] = []
        self.phase = Phase.GREETING
        self.waiting_for_tls = False

    def take(self, reply: Reply) -> SetupEvent | None:
        """Go one reply further."""
        if self.phase is Phase.GREETING:
            if reply.code != 220:
                return self._failed(reply, "a greeting")
            self._say_ehlo()
            return None
        if self.phase is Phase.EHLO:
            return self._take_ehlo(reply)
        if self.phase is Phase.STARTTLS:
            return self._take_starttls(reply)
        return self._take_auth(reply)

    def tls_established(self) -> None:
        """The handshake is done: what was learnt before is forgotten, EHLO is said again."""
        self.waiting_for_tls = False
        self._secured = True
        self._features = Features()
        self._say_ehlo()

    def _say(self, line: str) -> None:
        self.out.append(checked(line).encode())

    def _say_ehlo(self) -> None:
        self.phase = Phase.EHLO
        self._say(f"{'LHLO' if self._lmtp else 'EHLO'} {self._ehlo_name}")

    def _failed(self, reply: Reply, what: str) -> SetupFailed:
        if reply.is_positive:
            raise RemoteProtocolError(f"the peer answered {reply.code} to {what}")
        return SetupFailed(self.phase, reply)

    def _take_ehlo(self, reply: Reply) -> SetupEvent | None:
        if reply.code == 250:
            if not self._helo:
                self._features = parse_features(reply)
            return self._after_ehlo()
        may_helo = (
            self._credentials is None and self._tls != "required" and not self._secured and not self._lmtp
        )
        if reply.is_permanent and may_helo and not self._helo:
            self._helo = True
            self._say(f"HELO {self._ehlo_name}")
            return None
        return self._failed(reply, "EHLO")

    def _after_ehlo(self) -> SetupEvent | None:
        if self._tls != "off" and not self._secured:
            if self._features.starttls:
                self.phase = Phase.STARTTLS
                self._say("STARTTLS")
                return None
            if self._tls == "required":
                return SetupFailed(Phase.STARTTLS, TLS_NOT_OFFERED, ours=True)
        return self._authenticate()

    def _take_starttls(self, reply: Reply) -> SetupEvent | None:
        if reply.code == 220:
            self.waiting_for_tls = True
            return TlsWanted()
        if self._tls == "required" or reply.is_positive or reply.code == 421:
            return self._failed(reply, "STARTTLS")
        self._tls_failed = True
        return self._authenticate()

    def _authenticate(self) -> SetupEvent | None:
        credentials = self._credentials
        if credentials is None:
            return Ready(replace(self._features, tls_failed=True) if self._tls_failed else self._features)
        self.phase = Phase.AUTH
        if not self._secured:
            return SetupFailed(Phase.AUTH, AUTH_NEEDS_TLS, ours=True)
        user, password = credentials.user.encode(), credentials.password.encode()
        if "PLAIN" in self._features.mechanisms:
            response = b64encode(b"\0" + user + b"\0" + password)
            self._answers = [response]
            line = f"AUTH PLAIN {response.decode()}"
            self._say(line if len(line) <= LINE_OCTETS else "AUTH PLAIN")
        elif "LOGIN" in self._features.mechanisms:
            self._answers = [b64encode(password), b64encode(user)]
            self._say("AUTH LOGIN")
        else:
            return SetupFailed(Phase.AUTH, NO_MECHANISM, ours=True)
        return None

    def _take_auth(self, reply: Reply) -> SetupEvent | None:
        if reply.code == 235:
            self._credentials = None
            return Ready(replace(self._features, authenticated=True))
        if reply.code == 334 and self._answers:
            self.out.append(self._answers.pop() + b"\r\n")
            return None
        return self._failed(reply, "AUTH")
