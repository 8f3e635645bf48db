"""Who goes first within a path."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from outrider.model.changes import ContentRef, Entry, entry_id
from outrider.schedule.fairness import FairQueue


def make(
    number: int, *, tenant: str = "t", stream: str = "s", priority: int = 0, due: float = 0.0, log: int = 1,
    message: int | None = None,
) -> Entry:  # fmt: skip
    ref = ContentRef(log, 1, number if message is None else message, 10)
    return Entry(
        entry_id(log, number), ref, 0, "smtp", "b", "d.example", tenant, stream, priority, 1, 0.0, due
    )


ENTRIES = st.lists(
    st.builds(
        lambda tenant, stream, priority, due, log: (tenant, stream, priority, float(due), log),
        st.sampled_from("xyz"),
        st.sampled_from("uvw"),
        st.integers(0, 1),
        st.integers(0, 20),
        st.integers(1, 3),
    ),
    max_size=120,
)  # fmt: skip


@given(rows=ENTRIES, seed=st.integers(0, 2**32))
def test_everything_put_in_comes_out_once_priority_first(
    rows: list[tuple[str, str, int, float, int]], seed: int
) -> None:
    rng = random.Random(seed)
    queue = FairQueue()
    inside: dict[int, Entry] = {}
    out: list[Entry] = []
    for number, (tenant, stream, priority, due, log) in enumerate(rows):
        entry = make(number, tenant=tenant, stream=stream, priority=priority, due=due, log=log)
        queue.put(entry)
        inside[entry.entry] = entry
        if rng.random() < 0.3:
            urgent = sum(1 for item in inside.values() if item.priority)
            taken = queue.take(rng.randint(1, 10), rng.randint(1, 4))
            assert [item.priority for item in taken] == sorted(
                (item.priority for item in taken), reverse=True
            )
            assert sum(item.priority for item in taken) == min(urgent, len(taken))
            if rng.random() < 0.3:
                queue.put_back(taken)
            else:
                for item in taken:
                    out.append(inside.pop(item.entry))
        assert queue.size == len(inside) == len(list(queue))
        head = queue.head()
        assert (head is None) == (not inside)
        assert head is None or head.entry in inside
    while inside:
        taken = queue.take(7, 1)
        assert taken
        assert len(taken) <= 7
        for item in taken:
            out.append(inside.pop(item.entry))
    assert queue.take(7, 1) == []
    assert queue.size == 0
    assert sorted(item.entry for item in out) == sorted(entry_id(row[4], n) for n, row in enumerate(rows))


def test_a_small_stream_is_not_buried_behind_a_bulk_one() -> None:
    queue = FairQueue()
    for number in range(2000):
        queue.put(make(number, stream="bulk"))
    for number in range(3):
        queue.put(make(5000 + number, stream="receipts", due=9.0))
    first = queue.take(10, 1)
    assert sum(entry.stream == "receipts" for entry in first) == 3


def test_tenants_share_whatever_their_number_of_streams() -> None:
    queue = FairQueue()
    for number in range(900):
        queue.put(make(number, tenant="many", stream=f"s{number % 9}"))
    for number in range(900):
        queue.put(make(1000 + number, tenant="one"))
    taken: Counter[str] = Counter()
    for _ in range(40):
        taken.update(entry.tenant for entry in queue.take(10, 1))
    assert abs(taken["many"] - taken["one"]) <= 8


@given(
    sizes=st.lists(st.tuples(st.sampled_from("uvwx"), st.integers(1, 9)), min_size=1, max_size=150),
    batch=st.integers(1, 30),
)
def test_streams_with_a_backlog_get_the_same_in_recipients(sizes: list[tuple[str, int]], batch: int) -> None:
    queue = FairQueue()
    number = 0
    left: Counter[str] = Counter()
    for message, (stream, recipients) in enumerate(sizes):
        for _ in range(recipients):
            queue.put(make(number, stream=stream, message=message))
            left[stream] += 1
            number += 1
    got: Counter[str] = Counter(dict.fromkeys(left, 0))
    while all(left.values()):
        for entry in queue.take(batch, 1):
            got[entry.stream] += 1
            left[entry.stream] -= 1
    # Quantum 4, and a message of 9 may overdraw by 8; and the last batch ran on after one stream was empty.
    assert max(got.values()) - min(got.values()) <= 4 + 2 * 8 + batch


def test_recipients_of_one_message_go_together() -> None:
    queue = FairQueue()
    for number in range(12):
        queue.put(make(number, stream="u", message=1))
        queue.put(make(100 + number, stream="v", message=2))
    taken = queue.take(24, 1)
    assert [entry.ref.offset for entry in taken] in ([1] * 12 + [2] * 12, [2] * 12 + [1] * 12)


def test_within_a_stream_by_due_time_even_when_put_late() -> None:
    queue = FairQueue()
    for number, due in enumerate((5.0, 7.0, 6.0, 1.0, 9.0)):
        queue.put(make(number, due=due))
    assert [entry.due_time for entry in queue.take(9, 1)] == [1.0, 5.0, 6.0, 7.0, 9.0]


def test_a_worker_gets_its_own_entries_unless_others_are_older() -> None:
    queue = FairQueue()
    queue.put(make(1, log=1, due=100.0))
    queue.put(make(2, log=2, due=101.0))
    assert queue.take(1, 2)[0].entry == entry_id(2, 2)
    queue.put(make(3, log=2, due=110.0))
    assert queue.take(1, 2)[0].entry == entry_id(1, 1)


def test_what_comes_back_goes_first() -> None:
    queue = FairQueue()
    for number in range(6):
        queue.put(make(number))
    taken = queue.take(3, 1)
    queue.put_back(taken)
    assert [entry.entry for entry in queue.take(6, 1)] == [entry_id(1, number) for number in range(6)]


@given(rows=ENTRIES, seed=st.integers(0, 2**32))
def test_what_is_removed_is_gone_and_the_others_keep_their_order(
    rows: list[tuple[str, str, int, float, int]], seed: int
) -> None:
    rng = random.Random(seed)
    queue, same = FairQueue(), FairQueue()
    entries = [
        make(number, tenant=tenant, stream=stream, priority=priority, due=due, log=log)
        for number, (tenant, stream, priority, due, log) in enumerate(rows)
    ]
    for entry in entries:
        queue.put(entry)
    left = queue.take(rng.randint(0, 5), 1)
    inside = [entry for entry in entries if entry not in left]
    chosen = {entry.entry for entry in entries if rng.random() < 0.4}
    removed = queue.remove(chosen)
    assert {entry.entry for entry in removed} == chosen.intersection(entry.entry for entry in inside)
    rest = [entry for entry in inside if entry.entry not in chosen]
    assert queue.size == len(rest)
    assert {entry.entry for entry in queue} == {entry.entry for entry in rest}
    for stream in {(entry.tenant, entry.stream, entry.priority) for entry in rest}:
        waiting = [entry for entry in rest if (entry.tenant, entry.stream, entry.priority) == stream]
        assert queue.waiting_of(waiting[0]) == len(waiting)
    extra = make(1000, tenant="x", stream="u")
    queue.put(extra)
    for entry in [*rest, extra]:
        same.put(entry)
    assert {entry.entry for entry in drained(queue)} == {entry.entry for entry in drained(same)}
    assert queue.size == 0


def drained(queue: FairQueue) -> list[Entry]:
    out: list[Entry] = []
    while taken := queue.take(3, 1):
        out += taken
    return out


def test_extract_takes_only_what_is_asked_for() -> None:
    queue = FairQueue()
    for number in range(10):
        queue.put(make(number, stream="uv"[number % 2], priority=number % 3 == 0))
    gone = queue.extract(lambda entry: entry.stream == "u", 3)
    assert len(gone) == 3
    assert queue.size == 7 == len(queue.take(20, 1))


def test_long_queues_are_compacted() -> None:
    queue = FairQueue()
    for number in range(5000):
        queue.put(make(number))
    seen: list[int] = []
    for extra in range(300):
        seen += [entry.entry for entry in queue.take(16, 1)]
        queue.put(make(5000 + extra))
    assert seen == [entry_id(1, number) for number in range(4800)]
