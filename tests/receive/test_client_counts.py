"""Connections of a client are counted over all processes that share the memory."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from outrider.receive.clients import CELLS, ClientCounts, shared_counts

LIMIT = 3
STEPS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["192.0.2.1", "192.0.2.2"]), st.booleans()), max_size=40
)


@given(STEPS)
def test_no_client_is_over_the_limit_and_none_is_refused_below_it(
    steps: list[tuple[int, str, bool]],
) -> None:
    shared = shared_counts(3)
    processes = [ClientCounts(shared, column) for column in range(3)]
    here: Counter[tuple[int, str]] = Counter()
    for process, client, comes in steps:
        total = sum(count for (_, name), count in here.items() if name == client)
        if comes:
            assert processes[process].enter(client, LIMIT) == (total < LIMIT)
            here[process, client] += total < LIMIT
        elif here[process, client]:
            processes[process].leave(client)
            here[process, client] -= 1


def test_a_successor_begins_with_an_empty_column() -> None:
    shared = shared_counts(2)
    first, dead = ClientCounts(shared, 0), ClientCounts(shared, 1)
    assert dead.enter("192.0.2.1", 2)
    assert dead.enter("192.0.2.1", 2)
    assert not first.enter("192.0.2.1", 2)
    ClientCounts(shared, 1)
    assert first.enter("192.0.2.1", 2)
    assert len(shared) == 2 * CELLS * 4


def test_a_process_alone_needs_no_memory() -> None:
    alone = ClientCounts()
    assert [alone.enter("192.0.2.1", 2) for _ in range(3)] == [True, True, False]
    alone.leave("192.0.2.1")
    alone.leave("192.0.2.1")
    assert len(alone) == 0
