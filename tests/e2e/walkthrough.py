"""Executes a page: every shell block in order, in one shell, and compares what it prints with the page.

In: the text of a page. Out: nothing, or an assertion that shows the block and what was printed.

A `sh` block is one step. A `text` block after it is what the step prints: each of its lines must come, in
this order; `…` stands for any text, and lines of the output that the page leaves out may come between. Boxes
of tables and spaces may be of other widths. Programs in the background may print late, so a step is waited
for; one that only looks (`LOOKS`) is repeated until it shows what the page says, as a reader would.
"""

import contextlib
import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.patience import PATIENCE_SECONDS
from tests.peers.processes import PeerError, wait_until

LOOKS = (
    "outrider trace ",
    "outrider queue list",
    "outrider queue count",
    "outrider status",
    "outrider path list",
)
LOOKS_TOO = ("grep ", "cat received/")
BLOCKS = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Step:
    """A shell block, and what the page says that it prints."""

    code: str
    shown: str = ""

    @property
    def only_looks(self) -> bool:
        """True when it may be repeated."""
        lines = [line for line in self.code.splitlines() if line]
        return all(line.startswith((*LOOKS, *LOOKS_TOO)) for line in lines)


def steps_of(page: str) -> list[Step]:
    """The steps of a page.

    Raises:
        AssertionError: A block is neither `sh` nor what one prints.
    """
    steps: list[Step] = []
    is_open = False
    for language, text in BLOCKS.findall(page):
        if language == "sh":
            steps.append(Step(text))
        else:
            assert language == "text", f"a block of {language or 'no language'} is not executed: {text}"
            assert is_open, f"nothing was executed that could print {text}"
            steps[-1] = Step(steps[-1].code, text)
        is_open = language == "sh"
    return steps


def normalised(text: str) -> list[str]:
    """Lines without what depends on the width of a table."""
    found = []
    for line in text.splitlines():
        plain = " ".join(re.sub(r"[│┃]", " ┃ ", line).split())
        if plain:
            found.append(plain)
    return found


def missing_line(shown: str, printed: str) -> str:
    """The first line of `shown` that `printed` does not have in its place; empty when all are there."""
    lines = iter(normalised(printed))
    for wanted in normalised(shown):
        pattern = ".*".join(re.escape(part) for part in wanted.split("…"))
        if not any(re.fullmatch(pattern, line) for line in lines):
            return wanted
    return ""


class Shell:
    """A bash that is fed with steps.

    Args:
        folder: Where it starts.
        environment: Its environment.
        prelude: What it executes first.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], prelude: str = "") -> None:
        self._process = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._process.stdout, selectors.EVENT_READ)
        self._count = 0
        self._feed(f"trap 'echo \"<failed: $BASH_COMMAND>\"' ERR\n{prelude}\n")

    def do(self, step: Step) -> str:
        """Execute a step; returns what was printed.

        Raises:
            AssertionError: A command failed, or something that the page shows was not printed in time.
        """
        printed = ""

        def is_shown() -> bool:
            nonlocal printed
            printed = self._once(step.code, step.shown, is_patient=not step.only_looks)
            return "<failed" not in printed and not missing_line(step.shown, printed)

        if step.only_looks:
            with contextlib.suppress(PeerError):  # what is missing is told below
                wait_until(is_shown, "what the page shows")
        else:
            is_shown()
        assert "<failed" not in printed, _told(step, printed)
        assert not missing_line(step.shown, printed), _told(step, printed)
        return printed

    def _once(self, code: str, shown: str, *, is_patient: bool) -> str:
        deadline = time.perf_counter() + PATIENCE_SECONDS
        self._count += 1
        mark = f"<done {self._count}>"
        self._feed(f"{code}\necho '{mark}'\n")
        assert self._process.stdout is not None
        octets, printed = b"", ""
        while mark not in printed or (is_patient and missing_line(shown, printed.replace(mark, ""))):
            left = deadline - time.perf_counter()
            if left <= 0 or not self._selector.select(left):
                break
            chunk = os.read(self._process.stdout.fileno(), 1 << 16)
            assert chunk, f"the shell ended: {printed}"
            octets += chunk
            printed = octets.decode("utf-8", "replace")
        assert mark in printed, f"not within {PATIENCE_SECONDS:g} s: {code}\n{printed}"
        return printed.replace(mark, "")

    def _feed(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(text.encode())
        self._process.stdin.flush()

    def end(self) -> None:
        """End it, and what it left in the background."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(timeout=PATIENCE_SECONDS)
        self._selector.close()
        self._process.stdout.close()


def _told(step: Step, printed: str) -> str:
    return (
        f"the page shows {missing_line(step.shown, printed)!r}, which was not printed by\n{step.code}\n"
        f"but this was:\n{printed}"
    )
