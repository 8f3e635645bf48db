"""What scripts cost a message in the intake, in µs of processor time: with them less without them.

A message of 2 KiB comes in a session that is open: MAIL, RCPT and DATA are asked about, then the message is
decided and made a change for a log that keeps nothing. `none` is that without scripts. The others are what
they take beyond it: `empty` and `lua-empty` a hook in set_binding that does nothing, `python` and `lua` the
one of the bench, which reads two headers and sets a binding. Cases take turns; each figure is the least of
some repeats, so that what others do on the machine hardly counts.

Usage: micro_hooks.py [--repeats N] [--calls N] [--json]
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import policy_programs

from outrider.base.clock import SystemClock
from outrider.base.ids import MessageId
from outrider.base.log import NullLog
from outrider.model.address import Address
from outrider.model.changes import Change
from outrider.model.flow import Envelope, Origin, Recipient, Submission
from outrider.model.hooks import HookPhase
from outrider.policy import python
from outrider.policy.bindings import Bindings
from outrider.policy.budget import CpuBudget
from outrider.policy.errors import HookError
from outrider.policy.routing import RoutingPolicy
from outrider.policy.script import Script
from outrider.policy.scripted import Scripts
from outrider.policy.shared import create_cells
from outrider.policy.surroundings import HERE
from outrider.server.ingress import Ingress
from outrider.server.lua_scripts import LuaSurroundings
from outrider.server.settings import Settings
from outrider.wire.smtp.content import stuff_plain

REPEATS = 1_500
CALLS = 20
# chosen: half a millisecond, which the machine gives without a break now and then
SCRIPTS = {
    "empty": ("py", "def set_binding(mail):\n    return None\n"),
    "python": ("py", policy_programs.PYTHON),
    "lua-empty": ("lua", policy_programs.LUA.replace("  local sender", "  do return 0 end local sender")),
    "lua": ("lua", policy_programs.LUA),
}
HEADER = (
    b"Received: from client.test (client.test [127.0.0.1])\r\n\tby bench.test with ESMTP id 0123\r\n"
    b"\tfor <joe@one.test>; Mon, 30 Nov 2026 12:00:00 +0000\r\nFrom: <shop@sender.test>\r\n"
    b"To: <joe@one.test>\r\nDate: Mon, 30 Nov 2026 12:00:00 +0000\r\nMessage-Id: <1.2@client.test>\r\n"
    b"Subject: from the bench\r\n\r\n"
)
BODY = (b"X" * 76 + b"\r\n") * 22


class _Log:
    """A spool's log that keeps the last change."""

    def __init__(self) -> None:
        self.last: Sequence[Change] = ()

    def reserve(self, _count: int) -> int:
        return 1

    def commit(self, changes: Sequence[Change], _contents: object, _done: object) -> None:
        self.last = changes


class _Told:
    """Hears of what scripts do; a failure ends the measurement."""

    def asked(self, phase: HookPhase) -> None:
        """Not counted here."""

    def failed(self, error: HookError) -> None:
        raise SystemExit(str(error))


def _submission() -> Submission:
    envelope = Envelope(Address("shop", "sender.test"), (Recipient(Address("joe", "one.test")),))
    origin = Origin("bench", "ESMTP", "127.0.0.1", "client.test", None, None)
    return Submission(MessageId("0" * 18), 0.0, origin, envelope, stuff_plain(HEADER + BODY))


def _script(folder: Path, name: str, budget: CpuBudget) -> Script:
    suffix, text = SCRIPTS[name]
    folder.mkdir()
    path = folder / f"bench.{suffix}"
    path.write_text(text)
    if suffix == "py":
        return python.load("bench", path, budget)
    settings = Settings.model_validate({"policy": {"script": [{"name": "bench", "source": str(path)}]}})
    return LuaSurroundings(SystemClock(), NullLog(), budget).load(settings)["bench"]


def _taking(script: Script | None, binding: str = "default") -> Callable[[], object]:
    """Takes one message in; it is checked once that it gets that binding."""
    bindings = Bindings(("default", "shared"))
    log: Any = _Log()
    none: Any = None
    pressure: Any = SimpleNamespace(refusal=None)
    ingress = Ingress(RoutingPolicy(bindings), log, none, pressure, none)
    submission = _submission()
    origin, envelope = submission.origin, submission.envelope
    if script is None:
        return lambda: ingress.submit(submission, none, None)
    session = Scripts([script], _Told(), wait_seconds=1.0, bindings=bindings).open(origin)

    def take() -> None:
        session.mail_from(origin, envelope.mail_from)
        session.rcpt_to(origin, envelope.recipients[0])
        session.rcpt_list(origin, envelope.recipients)
        ingress.submit(submission, none, session)

    take()
    if log.last[0].deliveries[0].binding != binding:
        raise SystemExit(f"the hook did not decide: {log.last}")
    return take


def figures(repeats: int, calls: int) -> dict[str, float]:
    """By case; `none` is whole, the others are what they take beyond it."""
    HERE.take_cells(create_cells)
    budget = CpuBudget(1.0)
    with tempfile.TemporaryDirectory() as folder:
        cases = {"none": _taking(None)}
        for name in SCRIPTS:
            script = _script(Path(folder) / name, name, budget)
            cases[name] = _taking(script, "default" if "empty" in name else "shared")
    least = dict.fromkeys(cases, float("inf"))
    for _ in range(repeats):
        for name, take in cases.items():
            began = time.perf_counter()
            for _ in range(calls):
                take()
            least[name] = min(least[name], (time.perf_counter() - began) / calls * 1e6)
    return {name: round(each - (least["none"] if name != "none" else 0), 2) for name, each in least.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = figures(arguments.repeats, arguments.calls)
    if arguments.json:
        print(json.dumps(found))
        return
    for name, figure in found.items():
        print(f"{name:10} {figure:7.2f} µs")


if __name__ == "__main__":
    main()
