"""Round robin over all workers: one round, whoever chooses, and a round of one's own without the numbers."""

import json
import os
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from outrider.base.clock import FakeClock
from outrider.base.errors import StoreError, UnavailableError
from outrider.base.log import ListLog, Log
from outrider.policy.bindings import Bindings
from outrider.policy.group_options import BindingGroupOptions
from outrider.policy.shared import SharedCells, attach_cells, create_cells
from outrider.policy.shared_turns import SharedTurns

NAMES = ("a", "b", "c")
POOL = BindingGroupOptions.model_validate({"name": "pool", "members": list(NAMES)})


def of_worker(cells: Callable[[], SharedCells], log: Log | None = None) -> Bindings:
    """What one worker chooses with."""
    return Bindings(NAMES, [POOL], "a", turns=SharedTurns(cells, FakeClock().wall, log or ListLog()))


def _attached(cells: SharedCells) -> SharedCells:
    return cells


def chosen(bindings: Bindings) -> str:
    found = bindings.choose("pool", "one.test")
    assert found is not None
    return found[0]


def test_workers_take_turns_in_one_round(tmp_path: Path) -> None:
    create_cells(tmp_path / "numbers", 64).close()
    cells = [attach_cells(tmp_path / "numbers") for _ in range(2)]
    first, second = (of_worker(partial(_attached, each)) for each in cells)
    names = [chosen(each) for each in (first, second, second, first, first, first, second)]
    assert names == ["a", "b", "c", "a", "b", "c", "a"]
    reloaded = of_worker(lambda: cells[0])
    assert chosen(reloaded) == "b"
    for each in cells:
        each.close()


def test_it_is_exact_over_processes_that_choose_at_once(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    create_cells(path, 64).close()
    children, count = [], 1_000
    for number in range(3):
        pid = os.fork()
        if not pid:  # what the child does; it must leave without pytest noticing
            try:
                bindings = of_worker(partial(_attached, attach_cells(path)))
                found = Counter(chosen(bindings) for _ in range(count))
                (tmp_path / f"{number}.json").write_text(json.dumps(found), encoding="utf-8")
                os._exit(0)
            finally:
                os._exit(1)
        children.append(pid)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0, 0, 0]
    total: Counter[str] = Counter()
    for number in range(3):
        total.update(json.loads((tmp_path / f"{number}.json").read_text(encoding="utf-8")))
    assert total == dict.fromkeys(NAMES, count)


def test_a_group_that_has_become_smaller_goes_on() -> None:
    cells = create_cells(None, 64)
    wide = of_worker(lambda: cells)
    assert [chosen(wide) for _ in range(2)] == ["a", "b"]
    turns = SharedTurns(lambda: cells, FakeClock().wall, ListLog())
    pool = BindingGroupOptions.model_validate({"name": "pool", "members": ["a", "b"]})
    assert [chosen(Bindings(NAMES, [pool], "a", turns=turns)) for _ in range(2)] == ["a", "b"]


@pytest.mark.parametrize("error", [StoreError("there is no room"), UnavailableError("it is held")])
def test_without_the_numbers_each_has_his_own_round_and_the_log_says_so_once(error: Exception) -> None:
    def broken() -> SharedCells:
        raise error

    log = ListLog()
    bindings = of_worker(broken, log)
    assert [chosen(bindings) for _ in range(4)] == ["a", "b", "c", "a"]
    assert [name for _, name, _ in log.lines] == ["bindings.turns_apart"]


def test_a_step_that_fails_changes_nothing_and_lets_go(tmp_path: Path) -> None:
    create_cells(tmp_path / "numbers", 64).close()
    cells, other = (attach_cells(tmp_path / "numbers") for _ in range(2))
    key = cells.key(b"turn")
    cells.change(key, lambda had: had + 5, 0.0)

    def fails(_had: int) -> int:
        raise KeyError("what")

    with pytest.raises(KeyError):
        cells.change(key, fails, 0.0)
    other.change(key, lambda had: had + 1, 0.0)
    assert cells.get(key, 0.0) == 6
