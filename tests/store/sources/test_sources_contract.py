"""One set of checks for every kind of source: the same rows, the same safety, the same failures."""

import asyncio

import pytest

from outrider.store.sources.backend import SqlBackend
from outrider.store.sources.failures import SourceDownError, SourceQueryError
from tests.store.sources.conftest import COLUMNS, CUSTOMERS, KINDS, Opened, Shop

TYPED = {"sqlite", "postgresql", "mysql", "http"}
"""Kinds that know numbers and NULL; the others have text, and empty text."""

HOSTILE = (
    "' OR '1'='1",
    '" OR ""="',
    "\\' OR 1=1 -- ",
    "a.example' --",
    "x'; DROP TABLE customers; --",
    "a.example\r\nDEL customer:a.example",
    "a.example HGETALL customer:b.example",
    "a.example&domain=b.example",
    "a.example#/data",
    "../customers?domain=a.example",
    "%' OR 1=1 /*",
    "$1",
    "?",
    ":domain",
    "%s",
    "\uff41.example",
    "a.example\ud7ff",
    "*",
)


@pytest.mark.parametrize("customer", CUSTOMERS, ids=range(len(CUSTOMERS)))
async def test_each_kind_gives_the_same_row(shop: Shop, customer: tuple[object, ...]) -> None:
    (row,) = await shop.source.fetch(shop.by_domain, (str(customer[0]),))
    assert tuple(row) == COLUMNS
    if shop.kind in TYPED:
        assert tuple(row.values()) == customer
        assert tuple(map(type, row.values())) == tuple(map(type, customer))
    else:
        assert tuple(row.values()) == tuple("" if value is None else str(value) for value in customer)
    assert row.at(1) == row["binding"]


async def test_nothing_found_is_no_rows(shop: Shop) -> None:
    assert await shop.find("nobody.example") == []


@pytest.mark.parametrize("text", HOSTILE)
async def test_a_parameter_is_nothing_but_a_value(shop: Shop, text: str) -> None:
    assert await shop.find(text) == []
    assert [row["binding"] for row in await shop.find("a.example")] == ["gold"]
    assert [row["binding"] for row in await shop.find("b.example")] == ["silver"]


async def test_parameters_come_by_name_too(shop: Shop) -> None:
    by_name = shop.by_domain.replace("?domain={}", "?domain={domain}").replace(
        "customer:?", "customer:$domain"
    )
    if shop.kind not in {"http", "redis"}:
        by_name = by_name.replace("?", ":domain")
    rows = await shop.source.fetch(by_name, {"domain": "b.example", "unused": 1})
    assert [row["binding"] for row in rows] == ["silver"]


async def test_a_result_is_remembered(shop: Shop) -> None:
    assert shop.source.peek(shop.by_domain, ("a.example",)) is None
    rows = await shop.source.fetch(shop.by_domain, ("a.example",))
    assert shop.source.peek(shop.by_domain, ("a.example",)) is rows
    fresh = await shop.source.fetch(shop.by_domain, ("a.example",), use_cache=False)
    assert fresh == rows
    assert fresh is not rows


async def test_a_query_that_is_wrong_is_refused_and_the_next_one_answered(shop: Shop) -> None:
    wrong = {"redis": "HGETALL", "http": "FETCH /"}.get(shop.kind, "SELECT nothing FROM nowhere")
    for _ in range(5):  # more often than the breaker would stand
        with pytest.raises(SourceQueryError, match="data source customers"):
            await shop.source.fetch(wrong)
    assert len(await shop.find("a.example")) == 1
    assert shop.log.lines == []


async def test_the_number_of_parameters_is_checked(shop: Shop) -> None:
    for parameters in ((), ("a.example", "b.example")):
        with pytest.raises(SourceQueryError, match="1 placeholders"):
            await shop.source.fetch(shop.by_domain, parameters)
    assert shop.source.placeholders(shop.by_domain) == 1


REFUSED = {
    "redis": ("GETRANGE customer:a.example 0 ?", "ZSCORE customer:a.example ?", "HGETALL ? ?"),
    "http": ("GET /%{}\n{}", 'POST /x\n{"a": {}'),
    "postgresql": ("SELECT CAST(CAST(? AS TEXT) AS INTEGER)", "SELECT nope(?)", "SELECT 1 + ?"),
    "mysql": ("SELECT nope(?)", "SELECT ? nope nope", "INSERT INTO customers (domain) VALUES (?)"),
    "sqlite": ("SELECT nope(?)", "SELECT ? nope nope", "INSERT INTO customers (domain) VALUES (?)"),
    "csv": ("SELECT nope(?)", "SELECT ? nope nope", "INSERT INTO customers (domain) VALUES (?)"),
}


async def test_no_error_repeats_a_parameter(shop: Shop) -> None:
    for query in REFUSED[shop.kind]:
        with pytest.raises(SourceQueryError) as refused:
            await shop.source.fetch(query, ("erika.mustermann@example.test",) * max(query.count("?"), 1))
        assert "erika" not in str(refused.value)
        assert "erika" not in str(refused.value.fields)


async def test_a_source_that_is_only_read_is_not_written(shop: Shop) -> None:
    statement = {"redis": "DEL customer:a.example", "http": "POST /x"}.get(shop.kind, "DELETE FROM customers")
    with pytest.raises(SourceQueryError):
        await shop.source.execute(statement)
    if shop.kind != "http":  # whose server alone says what a request does
        with pytest.raises(SourceQueryError):
            await shop.source.fetch(statement)
    assert len(await shop.find("a.example")) == 1


@pytest.mark.parametrize("shop", [kind for kind in KINDS if kind != "http"], indirect=True)
async def test_too_many_rows_are_an_error(shop: Shop, opened: Opened) -> None:
    options = shop.options.model_dump(exclude_unset=True) | {"rows_max": 2}
    source, _ = opened(**options)
    every = "HKEYS customer:a.example" if shop.kind == "redis" else "SELECT * FROM customers"
    with pytest.raises(SourceQueryError, match="more than 2 rows"):
        await source.fetch(every)
    assert len(await source.fetch(shop.by_domain, ("a.example",))) == 1


SQL = ("sqlite", "csv", *(pytest.param(kind, marks=pytest.mark.peer) for kind in ("postgresql", "mysql")))
NUMBERS = {
    "postgresql": "SELECT nextval('numbers') FROM generate_series(1, 10)",
    "mysql": "SELECT NEXTVAL(numbers) FROM seq_1_to_10",
}


@pytest.mark.parametrize("shop", SQL, indirect=True)
async def test_of_too_many_rows_one_comes_over_the_wire(shop: Shop, opened: Opened) -> None:
    source, _ = opened(**shop.options.model_dump(exclude_unset=True) | {"rows_max": 2})
    backend = source._backend
    assert isinstance(backend, SqlBackend)
    for text in ("SELECT * FROM customers", "SELECT * FROM customers UNION SELECT * FROM customers"):
        assert len((await backend._ask(text, (), may_repeat=True)).rows) == 3
    assert len(await source.fetch("SELECT * FROM customers WHERE quota > ?", (0,))) == 2


@pytest.mark.parametrize("shop", SQL[2:], indirect=True)
async def test_a_statement_that_may_change_something_is_done_whole(shop: Shop, opened: Opened) -> None:
    source, _ = opened(**shop.options.model_dump(exclude_unset=True) | {"rows_max": 2, "writable": True})
    await source.execute("DROP SEQUENCE IF EXISTS numbers")
    await source.execute("CREATE SEQUENCE numbers")
    await source.execute(NUMBERS[shop.kind])
    (row,) = await source.fetch(NUMBERS[shop.kind].partition(" FROM")[0])
    assert row.at(0) == 11


async def test_a_thousand_askers_are_one_question(shop: Shop) -> None:
    rows = await asyncio.gather(*(shop.source.fetch(shop.by_domain, ("a.example",)) for _ in range(1_000)))
    assert all(each is rows[0] for each in rows)
    assert shop.source._measures.queries["ok"].value == 1
    assert shop.source._measures.cached["joined"].value == 999


async def test_different_questions_share_the_pool(shop: Shop) -> None:
    found = await asyncio.gather(*(shop.find(f"{number}.example") for number in range(100)))
    assert found == [[]] * 100
    assert 1 <= shop.source._backend.connections <= shop.options.pool.max


async def test_it_can_be_probed(shop: Shop) -> None:
    await shop.source.probe()


async def test_a_closed_source_says_so(shop: Shop) -> None:
    await shop.find("a.example")
    await shop.source.close()
    assert shop.source._backend.connections == 0
    with pytest.raises(SourceDownError, match="taken out of the configuration"):
        await shop.find("b.example")
