"""The control API's changes of the control database, on SQLite and on PostgreSQL."""

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from outrider.server.requests import RefusedError
from outrider.store.audit import list_audit, verify
from outrider.store.engine import Database
from tests.server.control_site import Site, control_site

HASH = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA"
FILE = f"""
[[user]]
name = "old"
password_hash = "{HASH}"
tenant = "kept"
sender_domains = ["old.test"]
"""


@pytest.fixture
async def site(database: Database, tmp_path: Path) -> AsyncIterator[Site]:
    async with control_site(tmp_path, database=database) as site:
        yield site


async def test_credentials_are_made_changed_and_removed(site: Site, database: Database) -> None:
    await site.call("post", "/v1/tenants", {"name": "shop"})
    await site.call("post", "/v1/tenants/shop/streams", {"name": "news", "kind": "marketing"})
    asked = {
        "name": "joe",
        "password": "long enough",
        "tenant": "shop",
        "streams": ["news"],
        "stream": "news",
        "networks": ["192.0.2.1", "2001:db8::/32"],
        "expires_time": "2099-06-01T00:00:00Z",
        "reason": "contract 17",
    }
    made = await site.call("post", "/v1/users", asked)
    assert made["networks"] == ["192.0.2.1/32", "2001:db8::/32"]
    assert await site.call("get", "/v1/users/joe") == made
    assert [each["name"] for each in (await site.call("get", "/v1/users", tenant="shop"))["items"]] == ["joe"]
    assert (await site.call("get", "/v1/users", tenant="default"))["items"] == []
    blocked = await site.call("patch", "/v1/users/joe", {"is_enabled": False, "reason": "unusual volume"})
    assert blocked == {**made, "is_enabled": False}
    with pytest.raises(RefusedError, match="names stream 'news'"):
        await site.call("delete", "/v1/tenants/shop/streams/news", reason="closed")
    with pytest.raises(RefusedError, match="exists"):
        await site.call("post", "/v1/users", asked)
    await site.call("delete", "/v1/users/joe", reason="gone")
    with pytest.raises(RefusedError, match="no user 'joe'") as absent:
        await site.call("get", "/v1/users/joe")
    assert absent.value.kind == "absent"
    rows = await list_audit(database, subject="joe")
    assert [(row.action, row.reason, row.tenant) for row in rows] == [
        ("user.removed", "gone", "shop"),
        ("user.disabled", "unusual volume", "shop"),
        ("user.added", "contract 17", "shop"),
    ]
    assert json.loads(rows[1].details) == {"is_enabled": False, "user_id": os.geteuid()}
    assert (await verify(database)).fault == ""


async def test_a_users_file_is_taken_over_with_its_tenants_and_domains(site: Site) -> None:
    taken = await site.call("post", "/v1/users/import", {"file": FILE, "reason": "moving"})
    assert taken == {"users": 1, "keys": 0, "tenants": 1}
    shown = await site.call("get", "/v1/tenants/kept")
    assert (shown["verifies_domains"], [each["name"] for each in shown["streams"]]) == (False, ["default"])
    [domain] = (await site.call("get", "/v1/domains", tenant="kept"))["items"]
    assert (domain["name"], domain["verified_by"], domain["record"]["type"]) == (
        "old.test",
        "operator",
        "TXT",
    )
    with pytest.raises(RefusedError, match="exists"):
        await site.call("post", "/v1/users/import", {"file": FILE})


async def test_what_the_audit_log_tells_is_paged_and_checked(site: Site, database: Database) -> None:
    for number in range(5):
        await site.call("post", "/v1/tenants", {"name": f"tenant-{number}", "reason": f"number {number}"})
    seen, cursor = [], None
    while True:
        page = await site.call("get", "/v1/audit", action="tenant.added", limit=2, cursor=cursor)
        seen += [row["reason"] for row in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [f"number {number}" for number in (4, 3, 2, 1, 0)]
    found = await site.call("get", "/v1/audit/check")
    assert (found["ok"], found["rows"]) == (True, (await verify(database)).rows)
