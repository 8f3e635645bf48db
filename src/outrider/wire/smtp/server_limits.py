"""What a session of the server machine may do and is offered, with the replies that follow from it.

In: a listener's limits. Out: the same, and the octets of greeting, HELO and EHLO, made once a listener and
not once a connection.

Standards: RFC 5321 §4.1.1.1 (EHLO), RFC 5321 §4.5.3 (limits), RFC 1870 §4 (SIZE), RFC 4954 §3 (AUTH).
"""

from collections.abc import Mapping

import msgspec
from msgspec.structs import force_setattr

from outrider.model.reply import Reply, format_reply
from outrider.wire.smtp import replies, sasl
from outrider.wire.smtp.content_limits import DEFAULT_LIMITS, ContentLimits


class ServerLimits(msgspec.Struct, frozen=True):
    """See the module.

    Attributes:
        hostname: What we call ourselves.
        content: Limits of a message.
        recipients: Most recipients of a transaction.
        errors: Refusals since the last accepted message that end the session.
        idle_commands: Commands other than MAIL and RCPT since the last accepted message that end it.
        starttls: Offer STARTTLS while TLS is not active.
        auth: Offer AUTH.
        auth_without_tls: Offer it also in the clear.
        banner: What the greeting says after the host name.
        greeting: Made from the others: the octets of the greeting.
        helo: Made from the others: the octets of the reply to HELO.
        ehlo: Made from the others: the octets of the reply to EHLO in the clear.
        ehlo_tls: Made from the others: the octets of the reply to EHLO under TLS.
    """

    hostname: str
    content: ContentLimits = DEFAULT_LIMITS
    recipients: int = 1000
    errors: int = 20
    idle_commands: int = 100
    starttls: bool = False
    auth: bool = False
    auth_without_tls: bool = False
    banner: str = "Outrider"
    greeting: bytes = b""
    helo: bytes = b""
    ehlo: bytes = b""
    ehlo_tls: bytes = b""

    def __post_init__(self) -> None:
        force_setattr(self, "greeting", format_reply(replies.greeting(self.hostname, self.banner)))
        force_setattr(self, "helo", format_reply(Reply(250, None, (self.hostname,))))
        force_setattr(self, "ehlo", format_reply(self._offer(tls=False)))
        force_setattr(self, "ehlo_tls", format_reply(self._offer(tls=True)))

    def offers_auth(self, *, tls: bool) -> bool:
        """AUTH can be used."""
        return self.auth and (tls or self.auth_without_tls)

    def ehlo_with(self, offers: Mapping[str, str], *, tls: bool) -> bytes:
        """The octets of the reply to EHLO with some lines changed.

        Args:
            offers: Keywords in upper case and their lines; an empty one leaves the keyword out. What is left
                out is not announced, and works all the same for whoever uses it.
            tls: TLS is active.
        """
        lines = {line.partition(" ")[0]: line for line in self._offer(tls=tls).lines[1:]} | dict(offers)
        return format_reply(Reply(250, None, (self.hostname, *(line for line in lines.values() if line))))

    def _offer(self, *, tls: bool) -> Reply:
        lines = [self.hostname, "PIPELINING", f"SIZE {self.content.message_octets}"]
        if self.starttls and not tls:
            lines.append("STARTTLS")
        if self.offers_auth(tls=tls):
            lines.append(f"AUTH {' '.join(sasl.MECHANISMS)}")
        lines += ("ENHANCEDSTATUSCODES", "8BITMIME", "DSN", "SMTPUTF8", "CHUNKING")
        return Reply(250, None, tuple(lines))
