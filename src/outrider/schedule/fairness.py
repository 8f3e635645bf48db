"""The waiting entries of one path, in the order in which they deserve to go.

In: entries that are due. Out: batches of them. Priority first, then in turn between tenants, then in turn
between the streams of a tenant, then by due time.

Theory: deficit round robin. A tenant or stream whose turn it is gets `_QUANTUM` recipients of credit; it is
served until the credit is used up, then the next one's turn comes. Entries of one message that stand
together go together even if that overdraws the credit, which is then missing at the next turn; so a message
with many recipients costs what it weighs. A stream of three entries behind one of two thousand is served in
its first turn, at most a quantum for each other stream away.

Within a stream there is one line for each log that accepted entries: a slot takes from its own worker's
line, because that worker still has the content in memory, unless another line's head is older by more than
`_LOCALITY_SECONDS`.

Costs: a put or a take is a list operation; rings and lines exist only while they hold entries. What comes
after another of its stream, as most does, finds its place without going through the rings.
"""

from bisect import insort_right
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from operator import attrgetter

from outrider.model.changes import SEQUENCE_BITS, Entry, log_of

# Chosen: small enough that a single message is served soon, large enough to keep batches whole.
_QUANTUM = 4
# Chosen: invisible to a recipient, longer than the lag between two workers' commits.
_LOCALITY_SECONDS = 5.0
# Chosen: below this the dead head of a line is not worth moving the rest.
_COMPACT_AT = 256
_DUE = attrgetter("due_time")


class _Line:
    """Entries of one stream and log, by due time; a list with a moving head, so that taking is a slice."""

    __slots__ = ("head", "items")

    def __init__(self) -> None:
        self.items: list[Entry] = []
        self.head = 0

    def take(self, quota: int, room: int) -> list[Entry]:
        """Up to `quota` entries, and those that belong to the last one's message, up to `room`."""
        items = self.items
        head = self.head
        end = min(head + quota, len(items))
        last = min(head + room, len(items))
        if end < last:
            ref = items[end - 1].ref
            while end < last and (items[end].ref is ref or items[end].ref == ref):
                end += 1
        taken = items[head:end]
        if end == len(items):
            self.items = []
            self.head = 0
        elif end >= _COMPACT_AT and end * 2 >= len(items):
            del items[:end]
            self.head = 0
        else:
            self.head = end
        return taken


class _Stream:
    """One stream's lines, by log."""

    __slots__ = ("balance", "lines", "name", "size", "tenant")

    def __init__(self, name: str, tenant: "_Tenant") -> None:
        self.name = name
        self.tenant = tenant
        self.balance = 0
        self.size = 0
        self.lines: dict[int, _Line] = {}

    def put(self, entry: Entry) -> None:
        log = entry.entry >> SEQUENCE_BITS
        line = self.lines.get(log)
        if line is None:
            line = self.lines[log] = _Line()
        items = line.items
        if len(items) > line.head and items[-1].due_time > entry.due_time:
            insort_right(items, entry, lo=line.head, key=_DUE)
        else:
            items.append(entry)
        self.size += 1
        self.tenant.size += 1

    def put_back(self, entry: Entry) -> None:
        log = log_of(entry.entry)
        line = self.lines.get(log)
        if line is None:
            line = self.lines[log] = _Line()
        if line.head:
            line.head -= 1
            line.items[line.head] = entry
        else:
            line.items.insert(0, entry)
        self.size += 1
        self.tenant.size += 1

    def pick(self, log: int) -> int:
        """The log whose line is served next for a slot of `log`'s worker."""
        lines = self.lines
        if len(lines) == 1:
            return next(iter(lines))
        oldest = min(lines, key=lambda key: lines[key].items[lines[key].head].due_time)
        own = lines.get(log)
        if own is None:
            return oldest
        other = lines[oldest]
        slack = own.items[own.head].due_time - other.items[other.head].due_time
        return log if slack <= _LOCALITY_SECONDS else oldest

    def remove(self, numbers: AbstractSet[int], logs: frozenset[int]) -> list[Entry]:
        """Take out entries of these numbers, from the lines of these logs."""
        gone: list[Entry] = []
        for log in logs.intersection(self.lines):
            line = self.lines[log]
            waiting = line.items[line.head :]
            rest = [entry for entry in waiting if entry.entry not in numbers]
            if len(rest) < len(waiting):
                gone += [entry for entry in waiting if entry.entry in numbers]
                line.items, line.head = rest, 0
                if not rest:
                    del self.lines[log]
        self.size -= len(gone)
        return gone

    def take(self, out: list[Entry], quota: int, room: int, log: int) -> int:
        taken = 0
        while taken < quota and self.lines:
            key = self.pick(log)
            line = self.lines[key]
            entries = line.take(quota - taken, room - taken)
            if not line.items:
                del self.lines[key]
            out += entries
            taken += len(entries)
        self.size -= taken
        return taken


class _Tenant:
    """One tenant's streams in turn; the first of the dict is the one whose turn it is."""

    __slots__ = ("balance", "is_urgent", "name", "size", "streams")

    def __init__(self, name: str, is_urgent: bool) -> None:
        self.name = name
        self.is_urgent = is_urgent
        self.balance = 0
        self.size = 0
        self.streams: dict[str, _Stream] = {}

    def take(self, out: list[Entry], quota: int, room: int, log: int) -> int:
        taken = 0
        streams = self.streams
        while taken < quota and streams:
            name = next(iter(streams))
            stream = streams[name]
            if len(streams) == 1:
                taken += stream.take(out, quota - taken, room - taken, log)
            else:
                if stream.balance <= 0:
                    stream.balance += _QUANTUM
                if stream.balance > 0:
                    credit = min(quota - taken, stream.balance)
                    count = stream.take(out, credit, room - taken, log)
                    stream.balance -= count
                    taken += count
                if stream.balance <= 0 and stream.size:
                    streams[name] = streams.pop(name)
            if not stream.size:
                del streams[name]
        self.size -= taken
        return taken

    def remove(self, numbers: AbstractSet[int], logs: frozenset[int]) -> list[Entry]:
        gone: list[Entry] = []
        for name, stream in list(self.streams.items()):
            gone += stream.remove(numbers, logs)
            if not stream.size:
                del self.streams[name]
        self.size -= len(gone)
        return gone


class _Level:
    """All entries of one priority, tenants in turn as the streams in a tenant."""

    __slots__ = ("is_urgent", "tenants")

    def __init__(self, *, is_urgent: bool) -> None:
        self.is_urgent = is_urgent
        self.tenants: dict[str, _Tenant] = {}

    def stream(self, entry: Entry) -> _Stream:
        tenant = self.tenants.get(entry.tenant)
        if tenant is None:
            tenant = self.tenants[entry.tenant] = _Tenant(entry.tenant, self.is_urgent)
        stream = tenant.streams.get(entry.stream)
        if stream is None:
            stream = tenant.streams[entry.stream] = _Stream(entry.stream, tenant)
        return stream

    def take(self, out: list[Entry], quota: int, room: int, log: int) -> int:
        taken = 0
        tenants = self.tenants
        while taken < quota and tenants:
            name = next(iter(tenants))
            tenant = tenants[name]
            if len(tenants) == 1:
                taken += tenant.take(out, quota - taken, room - taken, log)
            else:
                if tenant.balance <= 0:
                    tenant.balance += _QUANTUM
                if tenant.balance > 0:
                    count = tenant.take(out, min(quota - taken, tenant.balance), room - taken, log)
                    tenant.balance -= count
                    taken += count
                if tenant.balance <= 0 and tenant.size:
                    tenants[name] = tenants.pop(name)
            if not tenant.size:
                del tenants[name]
        return taken

    def remove(self, numbers: AbstractSet[int], logs: frozenset[int]) -> list[Entry]:
        gone: list[Entry] = []
        for name, tenant in list(self.tenants.items()):
            gone += tenant.remove(numbers, logs)
            if not tenant.size:
                del self.tenants[name]
        return gone


class FairQueue:
    """The due entries of one path.

    A queue of one, the most frequent length, is the entry itself without any ring.
    """

    __slots__ = ("_normal", "_only", "_recent", "_urgent", "size")

    def __init__(self) -> None:
        self.size = 0
        self._only: Entry | None = None
        self._recent: _Stream | None = None  # where the last entry was put; in the rings while it holds any
        self._normal: _Level | None = None
        self._urgent: _Level | None = None

    def _level(self, entry: Entry) -> _Level:
        if entry.priority <= 0:
            if self._normal is None:
                self._normal = _Level(is_urgent=False)
            return self._normal
        if self._urgent is None:
            self._urgent = _Level(is_urgent=True)
        return self._urgent

    def _spread(self) -> None:
        """Put the only entry into the rings, since more than one place is looked at."""
        entry = self._only
        if entry is not None:
            self._only = None
            self._insert(entry)

    def put(self, entry: Entry) -> None:
        """Add an entry behind those of its stream that were due before it."""
        if not self.size:
            self._only = entry
        else:
            if self._only is not None:
                self._spread()
            self._insert(entry)
        self.size += 1

    def put_all(self, entries: Sequence[Entry]) -> None:
        """Add entries in their order."""
        if len(entries) <= 1:
            for entry in entries:
                self.put(entry)
            return
        self._spread()
        for entry in entries:
            self._insert(entry)
        self.size += len(entries)

    def _insert(self, entry: Entry) -> None:
        stream = self._recent
        if (
            stream is None
            or not stream.size
            or entry.stream != stream.name
            or entry.tenant != stream.tenant.name
            or (entry.priority > 0) is not stream.tenant.is_urgent
        ):
            stream = self._recent = self._level(entry).stream(entry)
        stream.put(entry)

    def put_back(self, entries: Sequence[Entry]) -> None:
        """Put entries that were taken and not used at the head of their lines, in their order."""
        self._spread()
        for entry in reversed(entries):
            self._level(entry).stream(entry).put_back(entry)
        self.size += len(entries)

    def take(self, count: int, log: int, room: int = 0) -> list[Entry]:
        """Remove and return up to `count` entries for a worker whose log is `log`.

        With more `room`, the rest of the last one's message comes along, up to `room` entries in all.
        """
        only = self._only
        if only is not None:
            if count <= 0:
                return []
            self._only = None
            self.size = 0
            return [only]
        out: list[Entry] = []
        if self._urgent is not None:
            self._urgent.take(out, count, max(count, room), log)
            if not self._urgent.tenants:
                self._urgent = None
        if self._normal is not None and len(out) < count:
            self._normal.take(out, count - len(out), max(count, room) - len(out), log)
        self.size -= len(out)
        if not self.size:
            self._normal = self._recent = None
        return out

    def head(self) -> Entry | None:
        """The entry that stands next, or None."""
        if self._only is not None:
            return self._only
        for level in (self._urgent, self._normal):
            if level is not None and level.tenants:
                line = self._first_stream(level).lines
                best = min(line.values(), key=lambda item: item.items[item.head].due_time)
                return best.items[best.head]
        return None

    def weights(self) -> dict[int, int]:
        """How many entries each log has in the stream that is served next."""
        if self._only is not None:
            return {log_of(self._only.entry): 1}
        for level in (self._urgent, self._normal):
            if level is not None and level.tenants:
                lines = self._first_stream(level).lines
                return {log: len(line.items) - line.head for log, line in lines.items()}
        return {}

    def waiting_of(self, entry: Entry) -> int:
        """How many entries of the same tenant, stream and priority wait."""
        self._spread()
        level = self._normal if entry.priority <= 0 else self._urgent
        tenant = level.tenants.get(entry.tenant) if level else None
        stream = tenant.streams.get(entry.stream) if tenant else None
        return stream.size if stream else 0

    def __iter__(self) -> Iterator[Entry]:
        self._spread()
        for level in (self._urgent, self._normal):
            if level is not None:
                for tenant in level.tenants.values():
                    for stream in tenant.streams.values():
                        for line in stream.lines.values():
                            yield from line.items[line.head :]

    def remove(self, numbers: AbstractSet[int]) -> list[Entry]:
        """Remove and return the entries of these numbers, as far as they are here; the rest stays in order.

        A look at each entry that waits, 50 ns; `extract` looks at each several times and puts it in anew.
        """
        only = self._only
        if only is not None:
            if only.entry not in numbers:
                return []
            self._only = None
            self.size = 0
            return [only]
        logs = frozenset(map(log_of, numbers))
        gone: list[Entry] = []
        for level in (self._urgent, self._normal):
            if level is not None:
                gone += level.remove(numbers, logs)
        self.size -= len(gone)
        if not self.size:
            self._normal = self._urgent = self._recent = None
        return gone

    def extract(self, test: Callable[[Entry], bool], limit: int | None = None) -> list[Entry]:
        """Remove and return the entries for which `test` is true, at most `limit`."""
        found = [entry for entry in self if test(entry)][:limit]
        if found:
            gone = {entry.entry for entry in found}
            rest = [entry for entry in self if entry.entry not in gone]
            self.size = 0
            self._normal = self._urgent = self._recent = None
            for entry in rest:
                self.put(entry)
        return found

    @staticmethod
    def _first_stream(level: _Level) -> _Stream:
        tenant = next(iter(level.tenants.values()))
        return next(iter(tenant.streams.values()))
