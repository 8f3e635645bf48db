"""Stages for the services, closed when the test ends."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.policy.lua.api.http_echo import Echo
from tests.policy.lua.api.service_stage import Make, ServiceStage


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Make]:
    """Makes stages, each in a folder of its own: `stage(body, init=…, top=…, plain=…, …)`."""
    made: list[ServiceStage] = []

    def make(body: str, **options: Any) -> ServiceStage:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(ServiceStage(folder, body, **options))
        return made[-1]

    yield make
    for each in made:
        await each.close()


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    """An HTTP server that answers with the request."""
    async with Echo() as made:
        yield made
