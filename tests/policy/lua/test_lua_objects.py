"""Functions of Lua's that Python holds no more: all are told to Lua, however many end at once."""

from typing import Any

from outrider.policy.lua.objects import ObjectTable


def test_functions_that_end_between_two_calls_are_taken_in_turns_and_none_is_forgotten() -> None:
    none: Any = None
    table = ObjectTable(none, none, none, none)
    for ident in range(5):
        table.released(ident)
    assert table.take_ended(3) == [0, 1, 2]
    table.released(5)
    assert table.take_ended(3) == [3, 4, 5]
    assert table.ended == []
