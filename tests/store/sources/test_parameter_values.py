"""What strangers write into addresses and headers finds nothing, or is told to be no value here."""

from contextlib import suppress

import pytest

from outrider.store.sources.failures import SourceParameterError
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
