"""The messages of a load: numbers, recipients, contents.

In: `LoadOptions`. Out: one `Ticket` after the other, and the octets of its content.

Invariant: the same options give the same messages, so two runs can be compared.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from outrider.sim.numbered import NUMBER_FIELD
from outrider.sim.options import LoadOptions

_LINE = b"The quick brown fox jumps over the lazy dog, and then it rests a while.\r\n"
_CHOICES = 4096  # chosen, because drawing in batches is ten times cheaper than one by one


@dataclass(frozen=True, slots=True)
class Ticket:
    """One message to be handed in."""

    number: str
    recipients: tuple[str, ...]


class Tickets:
    """Makes the messages of one run."""

    def __init__(self, options: LoadOptions) -> None:
        self._options = options
        self._chance = random.Random(options.seed)  # noqa: S311 - repeatable on purpose
        self._domains = [domain for domain, _ in options.domains]
        self._weights = [weight for _, weight in options.domains]
        self._next = self._addresses()
        self._padding = _LINE * (options.size // len(_LINE) + 1)
        self.issued = 0

    @property
    def all_issued(self) -> bool:
        """True when every message has been given out."""
        return bool(self._options.count) and self.issued >= self._options.count

    def next(self) -> Ticket | None:
        """The next message, or None when all have been given out."""
        options = self._options
        if self.all_issued:
            return None
        self.issued += 1
        if options.recipients == 1:
            recipients: tuple[str, ...] = (next(self._next),)
        else:
            chosen: dict[str, None] = {}
            while len(chosen) < options.recipients:
                chosen[next(self._next)] = None
            recipients = tuple(chosen)
        return Ticket(f"{options.run}-{self.issued}", recipients)

    def content(self, ticket: Ticket) -> bytes:
        """The message of `ticket`, of the size asked for; it has no line that begins with a dot."""
        options = self._options
        head = (
            f"From: <{options.sender}>\r\nTo: <{ticket.recipients[0]}>\r\n"
            f"Subject: Practice {ticket.number}\r\nDate: Thu, 01 Jan 2026 00:00:00 +0000\r\n"
            f"Message-ID: <{ticket.number}@practice.test>\r\n{NUMBER_FIELD.decode()} {ticket.number}\r\n\r\n"
        ).encode()
        return head + self.text(len(head))

    def text(self, used: int = 0) -> bytes:
        """A body that fills a message up to its size after `used` octets, ending in CRLF."""
        length = max(self._options.size - used, len(b"x\r\n"))
        return self._padding[: length - 2].rstrip(b"\r\n") + b"\r\n"

    def _addresses(self) -> Iterator[str]:
        users = self._options.users
        while True:
            for domain in self._chance.choices(self._domains, self._weights, k=_CHOICES):
                yield f"user{self._chance.randrange(users)}@{domain}"
