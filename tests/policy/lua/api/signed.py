"""A message with two signatures: one that passes, one whose key is nowhere."""

from dataclasses import dataclass

from outrider.base.clock import FakeClock
from outrider.wire.dkim.record import format_record
from outrider.wire.dkim.request import SignRequest
from outrider.wire.dkim.signer import sign
from outrider.wire.smtp.content import stuff_plain
from tests.policy.acting import PLAIN
from tests.wire.dkim.signing import KEYS, key_of


@dataclass(frozen=True)
class Signed:
    """See the module."""

    plain: bytes
    records: dict[str, str]


def _signed() -> Signed:
    requests = (
        SignRequest("sender.test", "one", "ed25519"),
        SignRequest("other.test", "two", "ed25519"),
    )
    fields = sign(stuff_plain(PLAIN), requests, KEYS, FakeClock().wall())
    return Signed(fields + PLAIN, {"one._domainkey.sender.test": format_record(key_of("ed25519"))})


SIGNED = _signed()
