"""What is due comes back from disk: which queue keys are asked, and how far each has been read.

In: a time, a limit, and how much room the scheduler has for each key. Out: entries that were not resident and
are now. Each key has a *marker*, the place behind which its rows on disk have not been read yet, and a
summary of when its next one is due, which may be too early but never too late.

Invariant: an entry that is given up behind a marker that has moved is never skipped: the marker then stays.
"""

from collections.abc import Awaitable, Callable, Sequence

from outrider.model.changes import Entry
from outrider.spool.checkpoint import Ask
from outrider.spool.table import INFINITE, EntryTable, KeyState, QueueKey

KEYS_PER_CALL = 1000  # chosen: 1,000 questions to the scheduler take some 0.5 ms
ASKS_PER_CALL = 200  # chosen: 200 queries take some 5 ms of the checkpoint's thread


class DueReader:
    """See the module.

    Args:
        table: The entries.
        ask: Asks the checkpoint, in its thread; the answers in the order of the questions.
    """

    def __init__(
        self, table: EntryTable, ask: Callable[[Sequence[Ask]], Awaitable[list[list[Entry]]]]
    ) -> None:
        self._table = table
        self._ask = ask

    async def once(
        self, before_time: float, limit: int, rooms: Callable[[QueueKey], int]
    ) -> tuple[list[Entry], int]:
        """(loaded, keys asked): a key whose summary was too early answers nothing, but then knows better."""
        table = self._table
        loaded: list[Entry] = []
        asked: list[tuple[KeyState, Ask]] = []
        for _ in range(min(table.ready, KEYS_PER_CALL)):
            if limit <= 0 or len(asked) >= ASKS_PER_CALL or (key := table.next_ready()) is None:
                break
            room = min(rooms(key.key), limit)
            if room <= 0:
                table.put_back(key)
                continue
            taken = self._take_parked(key, before_time, room)
            loaded += taken
            room -= len(taken)
            limit -= len(taken)
            if room > 0 and key.disk and key.next_due <= before_time:
                asked.append((key, Ask(key.key, key.marker, room)))
                limit -= room
            else:
                table.settle_key(key, before_time)
        if asked:
            asks = [ask for _, ask in asked]
            try:
                answers = await self._ask(asks)
            except BaseException:  # nobody will hear of what was loaded: give it all up again
                for key, _ in asked:
                    table.put_back(key)
                for entry in loaded:
                    table.evict(entry.entry)
                raise
            for (key, ask), rows in zip(asked, answers, strict=True):
                loaded += self._take_rows(key, ask, rows, before_time)
                table.settle_key(key, before_time)
        return loaded, len(asked)

    def _take_parked(self, key: KeyState, before_time: float, room: int) -> list[Entry]:
        if not key.parked:
            return []
        due = [entry for entry in key.parked.values() if entry.due_time <= before_time]
        due.sort(key=_due_order)
        return [entry for entry in due[:room] if self._table.load(entry)]

    def _take_rows(self, key: KeyState, ask: Ask, rows: list[Entry], before_time: float) -> list[Entry]:
        loaded = []
        marker = ask.marker
        next_due = INFINITE
        for number, row in enumerate(rows):
            if number == ask.limit or row.due_time > before_time:
                next_due = row.due_time
                break
            marker = (row.due_time, row.entry)
            if self._table.load(row):
                loaded.append(row)
        if key.marker == ask.marker:  # else something was given up meanwhile, behind which we may not go
            key.marker = marker
            key.next_due = next_due
        return loaded


def _due_order(entry: Entry) -> tuple[float, int]:
    return entry.due_time, entry.entry
