"""Messages, changes and options for the spool's tests."""

from collections.abc import Sequence

from outrider.base.ids import MessageId
from outrider.model.address import Address
from outrider.model.changes import Attempted, Entry, Finished, Retried, Stored
from outrider.model.flow import Delivery, Disposition, Origin, Outcome, Phase, Recipient, Verdict
from outrider.model.reply import Reply
from outrider.privacy.aead import RingSpoolKeys
from outrider.privacy.keyfile import KEY_OCTETS, Purpose, new_key
from outrider.privacy.keyring import KeyRing, LiveRing
from outrider.spool.options import SpoolOptions

SMALL = SpoolOptions(
    segment_octets=64 << 10, checkpoint_changes=100, open_segments=4, write_retry_seconds=0.01
)
ORIGIN = Origin("in", "ESMTP", "192.0.2.1", "client.example", None, None)
SENDER = Address("sender", "sender.example")
OK = Outcome(Reply(250, "2.0.0", ("ok",)), Phase.BODY)
LATER = Outcome(Reply(451, "4.0.0", ("later",)), Phase.BODY)
TIME = 1_790_000_000.0


def stored(
    first: int,
    content: bytes,
    domains: Sequence[str] = ("one.example",),
    *,
    number: int = 0,
    tenant: str = "t",
) -> Stored:
    """A message to one recipient at each of the domains."""
    return Stored(
        MessageId(f"{number:018d}"),
        first,
        TIME,
        Origin("in", "ESMTP", "192.0.2.1", "client.example", None, None, tenant, "s"),
        SENDER,
        tuple(Delivery(Recipient(Address("user", domain)), domain) for domain in domains),
        None,
        None,
        False,
        0,
        0,
        len(content),
    )


def attempted(outcome: Outcome = OK, attempts: int = 1) -> Attempted:
    """An attempt on some entry."""
    return Attempted(
        MessageId("0" * 18),
        Address("user", "one.example"),
        SENDER,
        "default",
        "one.example",
        "t",
        "s",
        TIME,
        TIME,
        attempts,
        10,
        outcome,
        Verdict(Disposition.DELIVERED if outcome is OK else Disposition.TRANSIENT),
    )


def finished(entry: int) -> Finished:
    """The entry was delivered."""
    return Finished(entry, "delivered", attempted())


def retried(entry: Entry, due_time: float) -> Retried:
    """The entry was tried once more and is due later."""
    attempts = entry.attempts + 1
    return Retried(entry.entry, entry.version + 1, attempts, due_time, attempted(LATER, attempts))


class FixedRing(LiveRing):
    """A ring that is not on disk."""

    def __init__(self, *versions: int) -> None:
        self.keys = {version: bytes([version]) * KEY_OCTETS for version in versions}

    @property
    def ring(self) -> KeyRing:
        return KeyRing(
            tuple(new_key(Purpose.SPOOL, version, secret, TIME) for version, secret in self.keys.items())
        )

    def refresh(self) -> bool:
        return False


def spool_keys(*versions: int) -> RingSpoolKeys:
    """Keys of these versions; the same for each call."""
    return RingSpoolKeys(FixedRing(*(versions or (1,))))


CODECS: dict[str, dict[str, str]] = {
    "plain": {},
    "zstd": {"compression": "zstd"},
    "aes": {"encryption": "aes-256-gcm"},
    "both": {"compression": "zstd", "encryption": "aes-256-gcm"},
}
"""Options of each way in which frames are stored."""


def small_as(codec: str) -> SpoolOptions:
    """`SMALL`, with frames stored in one of the ways of `CODECS`."""
    return SMALL.model_copy(update=CODECS[codec])
