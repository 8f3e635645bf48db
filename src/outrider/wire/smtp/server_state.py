"""What the server machine remembers of a session, and how it says, refuses and ends.

A base of `server.Server` and what its commands (`server_commands`) work on.

Theory: at any time the machine is in one mode, which says how octets are taken off the buffer. Refusals are
counted since the last accepted message; too many end the session.

Standards: RFC 5321 §4.1.4 (state), RFC 3207 §4.2 (what STARTTLS forgets), RFC 3848 §2 (`protocol`).
"""

from collections.abc import Mapping
from typing import Final

from outrider.base.errors import LocalProtocolError
from outrider.model.flow import Recipient
from outrider.model.reply import Reply, format_reply
from outrider.wire.smtp import replies
from outrider.wire.smtp.content import ContentReader
from outrider.wire.smtp.server_auth import AuthExchange, Step
from outrider.wire.smtp.server_chunks import Chunk
from outrider.wire.smtp.server_events import Event, MailFrom, Question, Violation
from outrider.wire.smtp.server_limits import ServerLimits
from outrider.wire.smtp.server_lines import LineInput

NEW, COMMAND, DATA, CHUNK, AUTH, TLS, CLOSED = range(7)
# the modes; those from TLS on take no octets
_AS_THEY_ARE: Final[Mapping[str, str]] = {}


class ServerState(LineInput):
    """See the module.

    Attributes:
        helo: What the client called itself; empty before EHLO.
        esmtp: It said EHLO.
        tls: TLS is active.
        authenticated: AUTH succeeded.
        closed: The last reply is in the output: write it and close.
        output: Octets to send; who sends them empties it, as `take_output` does.
        waiting: The event that waits for an answer, or None.
        mail: The open transaction's MAIL, or None.
        recipients: Its accepted recipients.
        offers: Other lines of the reply to EHLO, by keyword; see `ServerLimits.ehlo_with`.
        notes: What the client noted with XSETCONTEXT, in order; None where it may not.
    """

    __slots__ = (
        "_beyond",
        "_chunk",
        "_errors",
        "_exchange",
        "_idle",
        "_limits",
        "_mode",
        "_reader",
        "_tried_recipient",
        "authenticated",
        "closed",
        "esmtp",
        "helo",
        "mail",
        "notes",
        "offers",
        "output",
        "recipients",
        "tls",
        "waiting",
    )

    def __init__(self, limits: ServerLimits, *, tls: bool = False) -> None:
        super().__init__()
        self._limits = limits
        self.output = b""
        self._mode = NEW
        self.closed = False
        self.waiting: Question | None = None
        self._errors = 0
        self._idle = 0
        self.tls = tls
        self.offers: Mapping[str, str] = _AS_THEY_ARE
        self.notes: list[tuple[str, str]] | None = None
        self._forget()

    def _forget(self) -> None:
        self.helo = ""
        self.esmtp = False
        self.authenticated = False
        self._exchange: AuthExchange | None = None
        self._reset()

    def _reset(self) -> None:
        self.mail: MailFrom | None = None
        self.recipients: list[Recipient] = []
        self._tried_recipient = False
        self._beyond = 0
        self._reader: ContentReader | None = None
        self._chunk: Chunk | None = None

    @property
    def receiving(self) -> bool:
        """Content is on its way (DATA after 354, or inside BDAT)."""
        return self._mode == DATA or self._mode == CHUNK  # noqa: PLR1714 - a set costs more

    @property
    def between_chunks(self) -> bool:
        """A message has begun, and its next chunk has not (RFC 3030 §2)."""
        return self._reader is not None and self._mode == COMMAND

    @property
    def handshaking(self) -> bool:
        """STARTTLS was accepted and TLS has not begun: nothing may be said in the clear any more."""
        return self._mode == TLS

    @property
    def offers_auth(self) -> bool:
        """AUTH can be used now."""
        return self._limits.offers_auth(tls=self.tls)

    @property
    def protocol(self) -> str:
        """`SMTP`, `ESMTP`, `ESMTPS`, `ESMTPA` or `ESMTPSA` (RFC 3848 §2)."""
        if not self.esmtp:
            return "SMTP"
        return f"ESMTP{'S' if self.tls else ''}{'A' if self.authenticated else ''}"

    def change_limits(self, limits: ServerLimits) -> None:
        """From now on these count."""
        self._limits = limits

    def tls_started(self) -> None:
        """The handshake is done: everything the client said before is forgotten (RFC 3207 §4.2)."""
        if self._mode != TLS:
            raise LocalProtocolError("no STARTTLS was accepted")
        self._mode = COMMAND
        self.tls = True
        if self.notes is not None:
            self.notes = []
        self._forget()

    # Replies and errors

    def _say(self, reply: Reply) -> None:
        self.output += format_reply(reply)

    def _close(self) -> None:
        self._mode = CLOSED
        self.closed = True
        self.waiting = None
        self._drop_input()

    def _fatal(self, reply: Reply) -> Violation:
        self._say(reply)
        self._close()
        return Violation(reply, fatal=True)

    def _refuse(self, reply: Reply) -> Violation:
        self._say(reply)
        self._count_error(reply)
        return Violation(reply, fatal=self._mode == CLOSED)

    def _count_error(self, reply: Reply) -> None:
        if reply.code < 500:
            return
        self._errors += 1
        if self._errors >= self._limits.errors:
            self._say(replies.TOO_MANY_ERRORS)
            self._close()

    def _ask(self, event: Question) -> Question:
        self.waiting = event
        return event

    def _helo_reply(self) -> bytes:
        limits = self._limits
        if not self.esmtp:
            return limits.helo
        if self.offers:
            return limits.ehlo_with(self.offers, tls=self.tls)
        return limits.ehlo_tls if self.tls else limits.ehlo

    def _auth_step(self, step: Step) -> Event | None:
        if isinstance(step, bytes):
            self.output += step
            self._mode = AUTH
            return None
        self._exchange = None
        self._mode = COMMAND
        if isinstance(step, Reply):
            return self._refuse(step)
        return self._ask(step)
