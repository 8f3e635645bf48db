"""Every function of the services that "works" is called from Lua in each phase, and refused elsewhere."""

import pytest

from outrider.model.hooks import HookPhase
from outrider.policy.errors import ForbiddenError
from outrider.policy.lua.api.coverage import ANY, LOAD, Row, Status
from outrider.policy.lua.api.coverage_services import SERVICE_ROWS
from tests.policy.lua.api.http_echo import Echo
from tests.policy.lua.api.service_examples import EXAMPLES, INIT, TOP
from tests.policy.lua.api.service_stage import Make
from tests.policy.lua.api.signed import SIGNED

ALL = (*HookPhase, LOAD)
WORKING = [row for row in SERVICE_ROWS if row.status is Status.WORKS]
CALLED = [row for row in SERVICE_ROWS if row.name in EXAMPLES]


def test_each_that_works_has_a_call() -> None:
    assert {row.name for row in WORKING} <= EXAMPLES.keys() == {row.name for row in CALLED}


@pytest.mark.parametrize("row", CALLED, ids=lambda row: row.name)
async def test_it_works_where_it_is_permitted_and_nowhere_else(stage: Make, row: Row, echo: Echo) -> None:
    package = row.name.replace(":", ".").rpartition(".")[0]
    top = f"local url = '{echo.url}'\n" + TOP.get(package, "")
    made = stage(EXAMPLES[row.name], top=top, init=INIT.get(package, ""), plain=SIGNED.plain)
    made.names.texts = SIGNED.records
    source = made.source("crm")
    await source.execute("CREATE TABLE customer (id INTEGER, name TEXT)")
    await source.execute("INSERT INTO customer VALUES (1, 'one'), (2, 'two')")
    await source.execute("CREATE TABLE nets (net TEXT, name TEXT)")
    await source.execute("INSERT INTO nets VALUES ('192.0.2.0/24', 'office'), ('192.0.0.0/16', 'wide')")
    for phase in ALL:
        if phase in row.phases:
            assert await made.call(phase) is True, phase
        else:
            with pytest.raises(ForbiddenError, match="only, not for"):
                await made.call(phase)


@pytest.mark.parametrize(
    "row",
    [row for row in SERVICE_ROWS if row.phases != ANY and ":" not in row.name],
    ids=lambda row: row.name,
)
async def test_whatever_there_is_of_it_it_is_refused_elsewhere(stage: Make, row: Row) -> None:
    made = stage(f"{row.name}({{ec_message = msg}}, {{}}, {{}})")
    for phase in ALL:
        if phase not in row.phases:
            with pytest.raises(ForbiddenError, match=f"{row.name} is for .* only, not for {phase}"):
                await made.call(phase)
