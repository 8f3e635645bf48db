"""A step of the machine's clock is told once, and moves nothing."""

from outrider.base.clock import FakeClock, SystemClock
from outrider.base.log import ListLog
from outrider.server.calendar import STEP_SECONDS, Calendar


def test_steps_that_matter_are_told_once_and_so_is_their_end() -> None:
    clock, log, shown = FakeClock(), ListLog(), list[float]()
    calendar = Calendar(clock, log, shown.append)
    for steps in (0.0, STEP_SECONDS - 1, 3_600.0, 3_601.0, -7_200.0, 1.0, 0.0):
        clock.machine_steps = steps
        calendar.look()
        calendar.look()
    assert [(event, fields.get("machine_is_ahead_seconds")) for _, event, fields in log.lines] == [
        ("clock.stepped", 3_600.0),
        ("clock.stepped", -7_200.0),
        ("clock.agrees_again", None),
    ]
    assert shown[::2] == [0.0, STEP_SECONDS - 1, 3_600.0, 3_601.0, -7_200.0, 1.0, 0.0]


def test_the_machine_was_not_set_while_this_ran() -> None:
    clock = SystemClock()
    assert abs(clock.stepped()) < STEP_SECONDS
