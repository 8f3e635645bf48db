"""What holds for every test: a skipped test is a failure in CI, and outcomes are written down as proofs."""

import os
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

from tools.proofs import pytest_addoption, pytest_configure

__all__ = ["pytest_addoption", "pytest_configure"]

# A busy machine is no failure: examples have no deadline of their own, each test has pytest's time-out.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")

IN_CI = os.environ.get("CI", "").lower() in {"true", "1"}


def skip_to_failure(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turns a skip into a failure that says why it was skipped; expected failures stay what they are."""
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped although CI=true: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if IN_CI:
        skip_to_failure(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if IN_CI:
        skip_to_failure(report)
    return report
