"""A group commit taken in one go is what it is taken one by one."""

from hypothesis import given
from hypothesis import strategies as st

from outrider.model.changes import ContentRef, entry_id
from outrider.model.dispatch import Arrived
from outrider.spool.announce import arrived_of
from outrider.spool.replay import new_entry
from outrider.spool.spans import CHANGES, CREATES, Spans
from outrider.spool.table import EntryTable
from tests.spool.samples import stored

CONTENT = b"content\r\n"
DOMAINS = st.lists(st.sampled_from(["a.example", "b.example", "c.example"]), min_size=1, max_size=4)
MESSAGES = st.lists(DOMAINS, max_size=12)


def books(table: EntryTable) -> tuple[object, ...]:
    """All that a table knows."""
    return (
        dict(table.resident),
        {name: (key.alive, key.disk, key.parked) for name, key in table.keys.items()},
        dict(table.live),
        table.alive,
        table.held,
        dict(table._fresh),
        dict(table._dirty),
    )


@given(messages=MESSAGES, segments=st.lists(st.integers(0, 1), min_size=12, max_size=12), data=st.data())
def test_arrivals_and_finishes_in_one_go_leave_the_table_as_one_by_one(
    messages: list[list[str]], segments: list[int], data: st.DataObject
) -> None:
    together, single = EntryTable(), EntryTable()
    arrived: list[Arrived] = []
    first = int(entry_id(1, 0))
    for number, domains in enumerate(messages):
        message = stored(first, CONTENT, domains, number=number)
        ref = ContentRef(1, segments[number], 4096 + number, 100)
        arrived.append(arrived_of(message, ref))
        for given_number in range(first, first + len(domains)):
            single.create(new_entry(message, given_number, ref), resident=True)
        first += len(domains)
    groups = together.arrive(arrived)
    for group in groups:
        assert len({(entry.channel, entry.binding, entry.routing_domain) for entry in group}) == 1
        assert [entry.entry for entry in group] == sorted(entry.entry for entry in group)
    assert books(together) == books(single)
    if data.draw(st.booleans()):  # a checkpoint between the two
        for table in (together, single):
            table.snapshot()
            table.written()
    entries = dict(single.resident)
    numbers = sorted(entries)
    parked = data.draw(st.sets(st.sampled_from(numbers))) if numbers else set()
    for number in sorted(parked):
        together.evict(number)
        single.evict(number)
    for number in data.draw(st.lists(st.sampled_from(numbers), unique=True)) if numbers else []:
        assert together.finish(number) is (number not in parked)
        if number in parked:
            together.remove(entries[number])
        single.remove(entries[number])
    assert books(together) == books(single)
    assert set(together.resident).isdisjoint(parked)


@given(
    numbers=st.lists(st.builds(entry_id, st.integers(1, 3), st.integers(0, 50) | st.just((1 << 43) - 1))),
    kind=st.sampled_from([CREATES, CHANGES]),
)
def test_ranges_noted_in_one_go_are_those_noted_one_by_one(numbers: list[int], kind: int) -> None:
    together, single = Spans(), Spans()
    together.note_all(kind, (1, 7), numbers)
    for number in numbers:
        single.note(kind, (1, 7), number, number)
    assert sorted(together.take_dirty()) == sorted(single.take_dirty())
