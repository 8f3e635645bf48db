"""Signs what leaves: the last gate's last step.

Takes a message that is about to be sent, gives the same with the signatures that were asked for before it.

Theory: signatures are made for each attempt, after the last change, and never stored. What cannot be signed
although it was asked for is not sent: a receiver would judge it by a policy that the sender did not publish
for unsigned mail. It waits, and the log says for which key.

Invariant: what leaves with a signature is octet for octet what was signed.

Standards: RFC 6376 §5 (signers).
"""

from collections.abc import Sequence

from outrider.base.clock import Clock
from outrider.base.errors import OutriderError
from outrider.base.log import Log
from outrider.model.changes import Stored
from outrider.model.flow import Content
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
            requests = unpack(stored.signing)
            fields = sign(content, requests, self._keys, self._clock.wall())
        except (OutriderError, ValueError) as error:
            why = error.message if isinstance(error, OutriderError) else str(error)
            self._log.error("guard.not_signed", message_id=stored.message_id, error=why)
            return (), content
        signed = b"".join((fields, content.wire))  # of long octets, the copy that lets other threads go on
        return entries, Content(signed, content.traits, content.header_octets + len(fields))
