"""One AUTH exchange of the server machine: the command's arguments and the client's lines in, steps out.

A step is the 334 line to send, the `AuthRequest` that the session must answer, or the reply that refuses the
exchange.

Invariant: whatever the lines, each gives a step; after a step that is no 334 line the exchange is over.

Standards: RFC 4954 §4 (AUTH, its responses and cancelling), RFC 4954 §6 (codes).
Not here: mechanisms (wire.smtp.sasl), when AUTH is permitted (wire.smtp.server).
"""

import base64

from outrider.model.reply import Reply
from outrider.wire.smtp import replies, sasl
from outrider.wire.smtp.server_events import AuthRequest
from outrider.wire.smtp.server_lines import LONG_LINE

Step = bytes | AuthRequest | Reply


class AuthExchange:
    """See the module.

    Args:
        name: The mechanism as the client wrote it.
        mechanism: A fresh one.
    """

    __slots__ = ("_mechanism", "_name")

    def __init__(self, name: str, mechanism: sasl.Mechanism) -> None:
        self._name = name.upper()
        self._mechanism = mechanism

    def start(self, initial: str) -> Step:
        """The command itself; `initial` is the initial response as it was written, or empty."""
        if not initial:
            return self._step(None)
        if isinstance(self._mechanism, sasl.Login):
            self._mechanism.step(None)
        return self.respond(initial.encode(errors="replace"))

    def respond(self, line: bytes) -> Step:
        """One line from the client."""
        if line == b"*":
            return replies.AUTH_CANCELLED
        if line == LONG_LINE:
            return replies.AUTH_LINE_TOO_LONG
        try:
            return self._step(sasl.decode_response(line))
        except sasl.ForAnotherError:
            return replies.AUTH_FAILED  # RFC 4954 §6: valid perhaps, and insufficient
        except sasl.SaslError:
            return replies.AUTH_MALFORMED

    def _step(self, response: bytes | None) -> Step:
        step = self._mechanism.step(response)
        if isinstance(step, bytes):
            return b"334 " + base64.b64encode(step) + b"\r\n"
        return AuthRequest(self._name, step)


def maybe_exchange(name: str) -> AuthExchange | None:
    """An exchange with the mechanism of that name, or None when there is none."""
    mechanism = sasl.start(name)
    return None if mechanism is None else AuthExchange(name, mechanism)
