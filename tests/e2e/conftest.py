"""Fixtures for tests with the whole server."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.outrider_process import OutriderProcess, serving
from tests.e2e.practice import Practice, practising


@pytest.fixture(scope="module")
def practice(request: pytest.FixtureRequest) -> Iterator[Practice]:
    """The practice internet that a module describes as its `WORLD`, for all of its tests."""
    with practising(request.module.WORLD) as practice:
        yield practice


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `storing` writes what it receives."""
    return tmp_path_factory.mktemp("received")


@pytest.fixture(scope="module")
def storing(request: pytest.FixtureRequest, store: Path) -> Iterator[Practice]:
    """As `practice`, and what it receives can be read."""
    with practising(request.module.WORLD, store) as practice:
        yield practice


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
