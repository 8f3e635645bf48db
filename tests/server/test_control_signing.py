"""Signing keys by the control API: made, found in DNS, activated and exchanged, and never shown."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from outrider.base.errors import UnavailableError
from outrider.privacy.signing_keys import ring_name
from outrider.server.requests import RefusedError
from outrider.server.signing import signing_keys
from tests.server.control_site import Site, control_site
from tests.server.test_control_changes import answering_dns

ED25519 = {"type": "ed25519"}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with control_site(tmp_path) as site:
        yield site


async def test_a_key_is_made_published_activated_and_replaced(site: Site) -> None:
    made = await site.call("post", "/v1/dkim/Shop.Test/2026A", ED25519)
    record = made["record"]
    assert (made["domain"], made["selector"]) == ("shop.test", "2026a")
    assert record["name"] == "2026a._domainkey.shop.test"
    assert record["zone_line"] == f'{record["name"]}. IN TXT "{record["value"]}"'
    place = "/v1/dkim/shop.test/2026a/activation"
    async with answering_dns(site, record["name"], "v=DKIM1; k=ed25519; p="):
        found = await site.call("post", place, {})
        assert (found["activated"], found["made"], found["record"]["state"]) == (False, False, "revoked")
        assert not (await site.call("get", "/v1/dkim/checks", domain="shop.test"))["keys"][0]["trouble"]
    async with answering_dns(site, record["name"], record["value"]):
        found = await site.call("post", place, {})
        assert (found["activated"], found["kept"], found["record"]["state"]) == (True, None, "published")
        assert (await site.call("get", "/v1/dkim/checks"))["ok"] is True
    found = await site.call(
        "post", "/v1/dkim/shop.test/2026b/activation", {**ED25519, "trust": True, "keep_days": 3}
    )
    assert (found["activated"], found["made"], found["kept"]["selector"]) == (True, True, "2026a")
    listed = (await site.call("get", "/v1/dkim"))["items"]
    assert [(each["selector"], each["state"]) for each in listed] == [("2026a", "kept"), ("2026b", "active")]
    assert (await site.call("get", "/v1/dkim", domain="other.test"))["items"] == []
    actions = [(row.action, row.subject) for row in await site.audit() if row.action.endswith(".result")]
    assert actions == [
        ("dkim.keygen.result", "2026a._domainkey.shop.test"),
        ("dkim.rotate.result", "2026a._domainkey.shop.test"),
        ("dkim.rotate.result", "2026a._domainkey.shop.test"),
        ("dkim.rotate.result", "2026b._domainkey.shop.test"),
    ]
    facts = [json.loads(row.details) for row in await site.audit() if row.action == "dkim.rotate.result"]
    assert [(each["activated"], each["changed"], each["kept"]) for each in facts] == [
        (False, 0, ""),
        (True, 1, ""),
        (True, 1, "2026a"),
    ]
    keys = signing_keys(site.hub.settings, {}, site.hub.clock)
    assert keys.get(ring_name("shop.test", "2026b")).algorithm == "ed25519-sha256"


async def test_what_signs_and_is_not_published_is_not_ok(site: Site) -> None:
    await site.call("post", "/v1/dkim/shop.test/2026a/activation", {**ED25519, "trust": True})
    async with answering_dns(site, "other._domainkey.shop.test", "v=DKIM1; p="):
        told = await site.call("get", "/v1/dkim/checks")
    assert (told["ok"], told["keys"][0]["record"]["state"]) == (False, "absent")


async def test_a_selector_that_has_a_key_gets_no_other(site: Site) -> None:
    await site.call("post", "/v1/dkim/shop.test/2026a", ED25519)
    with pytest.raises(RefusedError, match="has a key already"):
        await site.call("post", "/v1/dkim/shop.test/2026a", ED25519)


def expose(path: str) -> None:
    Path(path).chmod(0o644)


async def test_a_key_that_cannot_be_read_is_listed_with_its_trouble(site: Site) -> None:
    made = await site.call("post", "/v1/dkim/shop.test/2026a", ED25519)
    expose(made["file"])
    [listed] = (await site.call("get", "/v1/dkim"))["items"]
    assert "0644" in listed["trouble"]
    assert listed["record"]["value"] == ""


async def test_nothing_is_made_where_the_audit_log_cannot_be_written(site: Site) -> None:
    async with site.engine.begin() as connection:
        await connection.exec_driver_sql("DROP TABLE audit")
    with pytest.raises((UnavailableError, RefusedError)):
        await site.call("post", "/v1/dkim/shop.test/2026a", ED25519)
    assert (await site.call("get", "/v1/dkim"))["items"] == []
