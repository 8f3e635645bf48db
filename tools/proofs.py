"""A pytest plugin that writes down which tests passed, for tools/check_promises.py.

In: the reports of a run, with or without pytest-xdist (the reports of all workers arrive at the controller,
and only it writes). Out: with `--proofs PATH`, JSON: each test's id and `passed`, `failed` or `skipped`.

Invariant: a test that did not run is not in the file; one that failed in any phase never counts as passed.
"""

import json
from pathlib import Path

import pytest

RANK = {"passed": 0, "skipped": 1, "failed": 2}


class ProofWriter:
    """Collects the worst outcome of each test and writes them at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.outcomes: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        known = self.outcomes.get(report.nodeid)
        if known is None:
            if report.when == "call" or report.outcome != "passed":
                self.outcomes[report.nodeid] = report.outcome
        elif RANK[report.outcome] > RANK[known]:
            self.outcomes[report.nodeid] = report.outcome

    def pytest_sessionfinish(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(dict(sorted(self.outcomes.items())), indent=0)
        self._path.write_text(text + "\n", encoding="utf-8")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds `--proofs`."""
    parser.addoption("--proofs", metavar="PATH", help="write which tests passed to PATH, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    """Registers the writer in the controller when `--proofs` is given."""
    path = config.getoption("--proofs")
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(ProofWriter(Path(path)), "proof-writer")
