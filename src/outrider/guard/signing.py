"""Signs what leaves: the last gate's last step.

Takes a message that is about to be sent, gives the same with the signatures that were asked for before it.

Theory: signatures are made for each attempt, after the last change, and never stored; a seal comes last, over
the signatures too, and says what was found when the message came. What cannot be signed although it was asked
for is not sent: a receiver would judge it by a policy that the sender did not publish for unsigned mail. It
waits, and the log says for which key.

Invariant: what leaves with a signature is octet for octet what was signed.

Standards: RFC 6376 §5 (signers), RFC 8617 §5.1 (sealers).
"""

from collections.abc import Sequence

from outrider.base.clock import Clock
from outrider.base.errors import OutriderError
from outrider.base.log import Log
from outrider.model.changes import Stored
from outrider.model.flow import Content
from outrider.wire.dkim.arc import make_seal
from outrider.wire.dkim.signer import Keys, sign
from outrider.wire.dkim.stored import unpack


class SigningGuard:
    """Implements `model.ports.Guard`.

    Args:
        keys: Private keys by name.
        clock: For the time of a signature.
        log: Told what could not be signed.
    """

    __slots__ = ("_clock", "_keys", "_log")

    def __init__(self, keys: Keys, clock: Clock, log: Log) -> None:
        self._keys = keys
        self._clock = clock
        self._log = log

    def goes_through(self, stored: Stored) -> bool:
        """A signature is over all of it."""
        return bool(stored.signing)

    def clear(
        self, stored: Stored, entries: Sequence[int], content: Content
    ) -> tuple[Sequence[int], Content]:
        """All entries with the signed content, or none where it cannot be signed."""
        if not stored.signing:
            return entries, content
        try:
            asked = unpack(stored.signing)
            now = self._clock.wall()
            content = _under(sign(content, asked.signatures, self._keys, now), content)
            if asked.seal is not None:
                content = _under(make_seal(content, asked.seal, self._keys, now), content)
        except (OutriderError, ValueError) as error:
            why = error.message if isinstance(error, OutriderError) else str(error)
            self._log.error("guard.not_signed", message_id=stored.message_id, error=why)
            return (), content
        return entries, content


def _under(fields: bytes, content: Content) -> Content:
    """The content with fields before it."""
    if not fields:
        return content
    wire = b"".join((fields, content.wire))  # of long octets, the copy that lets other threads go on
    return Content(wire, content.traits, content.header_octets + len(fields))
