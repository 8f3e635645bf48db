"""The answer 202 to a request, and the idempotency keys that repeat it, where policy refuses some recipients.

In: what would be answered if policy took all, and whom it refuses. Out: the answer and the keys.

Theory: what is stored under a key is written with the message, so it is made when policy has decided and
before anything is written; the intake asks for it then (`ports.Keep`). It says numbers instead of addresses,
because a key is kept where no address may be.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from outrider.model.changes import Keyed
from outrider.model.flow import Recipient, RefusedRecipient
from outrider.model.last_reply import without_addresses
from outrider.receive.http_answers import encode
from outrider.receive.http_models import Accepted, RefusedRecipients

Texts = Mapping[int, str]
"""Replies by the number of the recipient in the request."""
KeysOf = Callable[[Accepted, Texts], Sequence[Sequence[Keyed]]]

_ADDED: Final = -1
# the number of recipients whom a script added


def texts_of(recipients: Sequence[Recipient], refused: Sequence[RefusedRecipient]) -> dict[int, str]:
    """Of one message: whom policy refuses, and why."""
    numbers = {each.address: number for number, each in enumerate(recipients)}
    return {
        numbers.get(each.recipient.address, _ADDED): without_addresses(each.reply, each.recipient.address)
        for each in refused
    }


def with_refused(accepted: Accepted, texts: Texts) -> Accepted:
    """The answer that says whom policy refuses."""
    numbers: dict[str, list[int]] = {}
    for number, text in sorted(texts.items()):
        found = numbers.setdefault(text, [])
        if number != _ADDED:
            found.append(number)
    return replace(accepted, refused=[RefusedRecipients(text, found) for text, found in numbers.items()])


def no_keys(_accepted: Accepted, _texts: Texts) -> Sequence[Sequence[Keyed]]:
    """Of a request without a key."""
    return ()


class Answering:
    """The answer to one request, until it is stored.

    Args:
        accepted: If nobody is refused.
        recipients: Of the one message.
        keys_of: Makes the keys that are written with the messages.
        left: Where each recipient has its own message: the numbers of those that are handed over now.
        texts: Who was refused when the others were handed over.
    """

    __slots__ = ("_keys_of", "_left", "_recipients", "_texts", "accepted")

    def __init__(
        self,
        accepted: Accepted,
        recipients: Sequence[Recipient],
        keys_of: KeysOf = no_keys,
        left: Sequence[int] = (),
        texts: Texts | None = None,
    ) -> None:
        self._recipients = recipients
        self._keys_of = keys_of
        self._left = left
        self._texts = dict(texts or {})
        self.accepted = with_refused(accepted, texts) if texts else accepted

    @property
    def octets(self) -> bytes:
        """The answer."""
        return encode(self.accepted)

    def keys(self) -> Sequence[Sequence[Keyed]]:
        """Of each message, as far as is known now."""
        return self._keys_of(self.accepted, self._texts)

    def keep(self, refused: Sequence[Sequence[RefusedRecipient]]) -> Sequence[Sequence[Keyed]]:
        """`ports.Keep`: policy has decided."""
        if self._left:
            for number, each in zip(self._left, refused, strict=True):
                if each:
                    self._texts[number] = without_addresses(each[0].reply, each[0].recipient.address)
        else:
            self._texts |= texts_of(self._recipients, refused[0])
        self.accepted = with_refused(self.accepted, self._texts)
        return self.keys()
