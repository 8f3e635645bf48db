"""What scripts do is counted, their failures are events too, and many failures of one script are an alert."""

from typing import Any

from outrider.base.clock import FakeClock
from outrider.base.log import ListLog
from outrider.model.hooks import HookPhase
from outrider.policy.errors import BudgetError, ScriptError
from outrider.policy.options import PolicyOptions
from outrider.record.metrics import Metrics
from outrider.server.scripts import Teller


class Site:
    """A teller and what it tells."""

    def __init__(self) -> None:
        self.metrics = Metrics("worker-0", "0")
        self.clock = FakeClock()
        self.log = ListLog()
        self.notices: list[tuple[str, dict[str, Any]]] = []
        options = PolicyOptions(alert_failures=3, alert_seconds=10)
        self.teller = Teller(self.metrics, self._notice, self.clock, self.log, options)

    def _notice(self, event: str, **facts: Any) -> None:
        self.notices.append((event, facts))

    def fail(self, script: str = "shop") -> None:
        self.teller.failed(ScriptError("KeyError: 'x'", script=script, line=7, phase="data"))

    def alerts(self) -> list[dict[str, Any]]:
        return [facts for event, facts in self.notices if event == "policy.alert"]


def test_calls_are_counted_by_phase() -> None:
    site = Site()
    site.teller.asked(HookPhase.DATA)
    site.teller.asked(HookPhase.DATA)
    assert site.metrics.cell("outrider_policy_hooks_total", "data").value == 2
    assert site.metrics.cell("outrider_policy_hooks_total", "rcptto").value == 0


def test_a_failure_is_a_metric_an_event_and_a_line() -> None:
    site = Site()
    site.fail()
    site.teller.failed(BudgetError("it used up its processor time", script="shop", line=9, phase="rcptto"))
    assert site.metrics.cell("outrider_policy_failures_total", "shop", "ScriptError").value == 1
    assert site.metrics.cell("outrider_policy_failures_total", "shop", "BudgetError").value == 1
    facts = {"script": "shop", "line": 7, "phase": "data", "reason": "ScriptError"}
    assert site.notices[0] == ("policy.failed", facts)
    assert site.log.lines[0] == ("error", "policy.failed", {**facts, "error": "KeyError: 'x'"})


def test_many_failures_of_one_script_are_one_alert_in_their_time() -> None:
    site = Site()
    for script in ("shop", "other", "shop", "other"):
        site.fail(script)
    assert site.alerts() == []
    site.fail()
    assert site.alerts() == [{"script": "shop", "failures": 3, "seconds": 0.0}]
    for _ in range(10):
        site.fail()
    assert len(site.alerts()) == 1
    site.clock.advance(11)
    site.fail()
    assert len(site.alerts()) == 1  # the failures before are too long ago
    site.fail()
    site.fail()
    assert len(site.alerts()) == 2


def test_failures_that_are_far_apart_are_no_alert() -> None:
    site = Site()
    for _ in range(20):
        site.fail()
        site.clock.advance(6)
    assert site.alerts() == []
