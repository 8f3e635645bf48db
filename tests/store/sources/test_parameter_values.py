"""What strangers write into addresses and headers finds nothing, or is told to be no value here."""

from contextlib import suppress
from typing import Any

import pytest

from outrider.store.sources.failures import SourceParameterError, SourceQueryError
from tests.store.sources.conftest import Shop

ODD = ("a.example\x00", "..", ".", "", None, "\udcff.example", "9" * 400)


@pytest.mark.parametrize("value", ODD, ids=range(len(ODD)))
async def test_an_odd_value_finds_nothing_or_is_told_apart(shop: Shop, value: str | None) -> None:
    with suppress(SourceParameterError):
        assert await shop.source.fetch(shop.by_domain, (value,)) == ()
    assert len(await shop.find("a.example")) == 1


async def test_a_text_for_a_number_is_told_apart(shop: Shop) -> None:
    if shop.kind != "postgresql":
        assert await shop.find("many") == []
        return
    with pytest.raises(SourceParameterError):
        await shop.source.fetch("SELECT domain FROM customers WHERE quota = ?", ("many",))


NAMED = {
    "http": "GET /customers/{domain}#/data/rows",
    "redis": "HGETALL customer:$domain",
}
REFUSED = ((float("inf"),), ("a", "b"), {"domain": ["a"]})


@pytest.mark.parametrize("parameters", REFUSED, ids=("infinite", "too many", "a list by name"))
async def test_what_no_source_takes_is_refused_without_asking(shop: Shop, parameters: Any) -> None:
    by_name = NAMED.get(shop.kind, "SELECT domain FROM customers WHERE domain = :domain")
    with pytest.raises(SourceQueryError) as caught:
        await shop.source.fetch(by_name if isinstance(parameters, dict) else shop.by_domain, parameters)
    cause = caught.value.__cause__
    assert isinstance(cause, SourceQueryError)
    assert cause.was_unasked
