"""Allowances over a sliding span: exact over all who count, never exceeded, gone with the span."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.base.errors import UnavailableError
from outrider.policy.series import Series
from outrider.policy.shared import attach_cells, create_cells
from outrider.policy.surroundings import HERE


class Wall:
    at = 1_790_000_000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def wall() -> Iterator[Wall]:
    before = HERE.wall
    wall = Wall()
    HERE.wall = wall
    HERE.take_cells(create_cells)
    yield wall
    HERE.take_cells(None)
    HERE.wall = before


def test_what_was_counted_goes_with_the_span(wall: Wall) -> None:
    series = Series("s", 60, 6)
    assert series.add("a") == 1
    wall.at += 30
    assert series.add("a", 4) == 5
    assert (series.total("a"), series.total("b")) == (5, 0)
    wall.at += 45  # the first was over a span and a window ago
    assert series.total("a") == 4
    wall.at += 60
    assert series.total("a") == 0


def test_an_allowance_is_not_exceeded_and_what_is_refused_does_not_count(wall: Wall) -> None:
    series = Series("s", 60, 6)
    assert [series.take("a", 3) for _ in range(5)] == [True, True, True, False, False]
    assert series.total("a") == 3
    assert series.take("b", 3)
    assert not series.take("b", 3, 3)
    assert series.take("b", 3, 2)
    assert not series.take("c", 0)
    wall.at += 75
    assert series.take("a", 3)


def test_names_spans_and_windows_are_series_of_their_own(wall: Wall) -> None:
    assert Series("s", 60, 6).add("a") == 1
    for other in (
        Series("t", 60, 6),
        Series("s", 61, 6),
        Series("s", 60, 7),
        Series("s", 60, 6, is_kept=True),
    ):
        assert other.total("a") == 0
    assert Series("s", 60, 6).total("a") == 1


@pytest.mark.parametrize(
    ("seconds", "windows"), [(0, 1), (60, 0), (60, 1_441), (1e9, 1), (float("nan"), 1), (float("inf"), 1)]
)
def test_spans_that_are_none(seconds: float, windows: int) -> None:
    with pytest.raises(ValueError, match="series"):
        Series("s", seconds, windows)


def test_counts_that_are_none(wall: Wall) -> None:
    series = Series("s", 60)
    for count in (-1, 1 << 41):
        with pytest.raises(ValueError, match="taken"):
            series.take("a", 5, count)
    with pytest.raises(ValueError, match="at once"):
        series.add("a", 1 << 41)


def test_where_nothing_is_counted_it_is_said() -> None:
    HERE.take_cells(None)
    with pytest.raises(UnavailableError, match="a running server does"):
        Series("s", 60).add("a")


@given(
    steps=st.lists(st.tuples(st.floats(0, 30), st.integers(1, 5)), max_size=30),
    limit=st.integers(0, 12),
    windows=st.integers(1, 12),
)
def test_in_no_span_is_there_ever_more_than_the_limit(
    steps: list[tuple[float, int]], limit: int, windows: int
) -> None:
    before, wall = HERE.wall, Wall()
    HERE.wall = wall
    HERE.take_cells(create_cells)
    try:
        series = Series("s", 60, windows)
        taken: list[tuple[float, int]] = []
        for seconds, count in steps:
            wall.at += seconds
            if series.take("a", limit, count):
                taken.append((wall.at, count))
            assert sum(each for at, each in taken if at > wall.at - 60) <= limit
            longer = sum(each for at, each in taken if at > wall.at - 60 - 2 * 60 / windows)
            assert series.total("a") <= longer
    finally:
        HERE.take_cells(None)
        HERE.wall = before


def test_processes_together_stay_within_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    create_cells(path).close()
    wall = Wall()
    before = HERE.wall
    children = []
    for _ in range(4):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            HERE.wall = wall
            HERE.take_cells(lambda: attach_cells(path))
            series = Series("s", 60)
            os.write(write, str(sum(series.take("a", 300) for _ in range(150))).encode())
            os._exit(0)
        os.close(write)
        children.append((child, read))
    taken = []
    for child, read in children:
        with os.fdopen(read, "rb") as answer:
            taken.append(int(answer.read()))
        os.waitpid(child, 0)
    HERE.wall = wall
    HERE.take_cells(lambda: attach_cells(path))
    series = Series("s", 60)
    try:
        total = series.total("a")
        rest = sum(series.take("a", 300) for _ in range(300))  # who met another at the limit gave way
        whole = series.total("a")
    finally:
        HERE.take_cells(None)
        HERE.wall = before
    assert 0 < sum(taken) == total
    assert total + rest == whole == 300


def test_who_reads_while_another_writes_sees_a_number_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    cells = create_cells(path)
    key = cells.key(b"one")
    cells.add(key, 255, 1.0, 1e9)
    child = os.fork()
    if child == 0:
        own = attach_cells(path)
        for _ in range(20_000):
            own.add(key, 1, 1.0, 1e9)
        os._exit(0)
    try:
        seen = [255]
        while not os.waitpid(child, os.WNOHANG)[0]:
            number = cells.get(key, 1.0)
            assert number is not None, "it seemed to have ended"
            assert number >= seen[-1], "it went back"
            seen.append(number)
        assert cells.get(key, 1.0) == 20_255
    finally:
        cells.close()
