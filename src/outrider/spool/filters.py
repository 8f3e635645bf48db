"""Which entries an administrator means.

One filter has two forms that mean the same: `matches` for an entry in memory, `sql` for rows of the
checkpoint.

What may be one of many is a set: a pattern or a site stands for tens of thousands of domains, and each entry
is looked at in the loop.
"""

import json

import msgspec

from outrider.model.changes import Entry

ANY = "*"


class QueueFilter(msgspec.Struct, frozen=True):
    """All that is given must hold; an empty filter means every entry.

    Attributes:
        tenant: Tenant.
        stream: Stream.
        channel: Channel.
        binding: Binding.
        routing_domains: Any of these; the caller turns a site into its domains.
        received_before_time: Received before, Unix seconds: age.
        received_after_time: Received after, Unix seconds.
        attempts_min: At least so many attempts made.
        attempts_max: At most so many.
        held: On hold or not.
        held_for: On hold for exactly this reason.
        due_before_time: Due before, Unix seconds.
        due_after_time: Due at this time or later, Unix seconds.
        reply: Somewhere in the last reply, whatever its case (of ASCII); `*` stands for any text.
        message_ids: Any of these messages.
        entries: Any of these entries.
    """

    tenant: str | None = None
    stream: str | None = None
    channel: str | None = None
    binding: str | None = None
    routing_domains: frozenset[str] = frozenset()
    received_before_time: float | None = None
    received_after_time: float | None = None
    attempts_min: int | None = None
    attempts_max: int | None = None
    held: bool | None = None
    held_for: str | None = None
    due_before_time: float | None = None
    due_after_time: float | None = None
    reply: str | None = None
    message_ids: frozenset[str] = frozenset()
    entries: frozenset[int] = frozenset()

    def matches(self, entry: Entry) -> bool:
        """True when `entry` is meant."""
        return (
            (self.tenant is None or entry.tenant == self.tenant)
            and (self.stream is None or entry.stream == self.stream)
            and (self.channel is None or entry.channel == self.channel)
            and (self.binding is None or entry.binding == self.binding)
            and (not self.routing_domains or entry.routing_domain in self.routing_domains)
            and self._matches_history(entry)
            and self._matches_state(entry)
            and (not self.message_ids or entry.message_id in self.message_ids)
            and (not self.entries or entry.entry in self.entries)
        )

    def _matches_history(self, entry: Entry) -> bool:
        return (
            (self.received_before_time is None or entry.received_time < self.received_before_time)
            and (self.received_after_time is None or entry.received_time > self.received_after_time)
            and (self.attempts_min is None or entry.attempts >= self.attempts_min)
            and (self.attempts_max is None or entry.attempts <= self.attempts_max)
        )

    def _matches_state(self, entry: Entry) -> bool:
        return (
            (self.held is None or bool(entry.held) == self.held)
            and (self.held_for is None or entry.held == self.held_for)
            and (self.due_before_time is None or entry.due_time < self.due_before_time)
            and (self.due_after_time is None or entry.due_time >= self.due_after_time)
            and (self.reply is None or (entry.last is not None and has_reply(entry.last.text, self.reply)))
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
            ("received > ?", self.received_after_time),
            ("attempts >= ?", self.attempts_min),
            ("attempts <= ?", self.attempts_max),
            ("held = ?", self.held_for),
            ("due < ?", self.due_before_time),
            ("due >= ?", self.due_after_time),
            ("last_reply LIKE ? ESCAPE '\\'", None if self.reply is None else _like(self.reply)),
        )
        for term, argument in single:
            if argument is not None:
                terms.append(term)
                arguments.append(argument)
        if self.held is not None:
            terms.append("held <> ''" if self.held else "held = ''")
        # one argument, however many a site has: the number of variables is limited, its length hardly
        several = (
            ("routing_domain IN (SELECT value FROM json_each(?))", self.routing_domains),
            ("message_id IN (SELECT value FROM json_each(?))", self.message_ids),
            ("entry IN (SELECT value FROM json_each(?))", self.entries),
        )
        for term, values in several:
            if values:
                terms.append(term)
                arguments.append(json.dumps([*values]))
        return " AND ".join(terms) or "1", arguments


def has_reply(text: str, pattern: str) -> bool:
    """True when the pieces of `pattern` between its `*` stand in `text` one behind the other."""
    octets = text.encode("utf-8", "replace").lower()  # of octets, `lower` means ASCII only, as LIKE does
    position = 0
    for piece in pattern.encode("utf-8", "replace").lower().split(ANY.encode()):
        position = octets.find(piece, position)
        if position < 0:
            return False
        position += len(piece)
    return True


def _like(pattern: str) -> str:
    escaped = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped.replace(ANY, '%')}%"
