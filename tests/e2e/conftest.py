"""Fixtures for tests with the whole server."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.outrider_process import OutriderProcess, serving


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[str], OutriderProcess]]:
    """Starts servers from configurations; each has a folder of its own and is stopped after the test."""
    with ExitStack() as stack:
        started = 0

        def start(configuration: str) -> OutriderProcess:
            nonlocal started
            started += 1
            return stack.enter_context(serving(tmp_path / f"outrider-{started}", configuration))

        yield start
