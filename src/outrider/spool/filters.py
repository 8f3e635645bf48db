"""Which entries an administrator means."""

import msgspec

from outrider.model.changes import Entry


class QueueFilter(msgspec.Struct, frozen=True):
    """All that is given must hold; an empty filter means every entry.

    Attributes:
        tenant: Tenant.
        stream: Stream.
        channel: Channel.
        binding: Binding.
        routing_domains: Any of these; the caller turns a site into its domains.
        received_before_time: Received before, Unix seconds: age.
        attempts_min: At least so many attempts made.
        attempts_max: At most so many.
        held: On hold or not.
        message_ids: Any of these messages.
        entries: Any of these entries.
    """

    tenant: str | None = None
    stream: str | None = None
    channel: str | None = None
    binding: str | None = None
    routing_domains: tuple[str, ...] = ()
    received_before_time: float | None = None
    attempts_min: int | None = None
    attempts_max: int | None = None
    held: bool | None = None
    message_ids: tuple[str, ...] = ()
    entries: tuple[int, ...] = ()

    def matches(self, entry: Entry) -> bool:
        """True when `entry` is meant."""
        return (
            (self.tenant is None or entry.tenant == self.tenant)
            and (self.stream is None or entry.stream == self.stream)
            and (self.channel is None or entry.channel == self.channel)
            and (self.binding is None or entry.binding == self.binding)
            and (not self.routing_domains or entry.routing_domain in self.routing_domains)
            and self._matches_history(entry)
            and (not self.message_ids or entry.message_id in self.message_ids)
            and (not self.entries or entry.entry in self.entries)
        )

    def _matches_history(self, entry: Entry) -> bool:
        return (
            (self.received_before_time is None or entry.received_time < self.received_before_time)
            and (self.attempts_min is None or entry.attempts >= self.attempts_min)
            and (self.attempts_max is None or entry.attempts <= self.attempts_max)
            and (self.held is None or bool(entry.held) == self.held)
        )

    def sql(self) -> tuple[str, list[str | int | float]]:
        """The same as a condition on the checkpoint's rows, with its arguments."""
        terms: list[str] = []
        arguments: list[str | int | float] = []
        single = (
            ("tenant = ?", self.tenant),
            ("stream = ?", self.stream),
            ("channel = ?", self.channel),
            ("binding = ?", self.binding),
            ("received < ?", self.received_before_time),
            ("attempts >= ?", self.attempts_min),
            ("attempts <= ?", self.attempts_max),
        )
        for term, argument in single:
            if argument is not None:
                terms.append(term)
                arguments.append(argument)
        if self.held is not None:
            terms.append("held <> ''" if self.held else "held = ''")
        several = (
            ("routing_domain", self.routing_domains),
            ("message_id", self.message_ids),
            ("entry", self.entries),
        )
        for column, values in several:
            if values:
                terms.append(f"{column} IN ({','.join('?' * len(values))})")
                arguments += values
        return " AND ".join(terms) or "1", arguments
