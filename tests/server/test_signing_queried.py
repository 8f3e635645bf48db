"""Keys that a query gives are compared with DNS as others are, where a domain is enough to ask for them."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from outrider.base.clock import SystemClock
from outrider.net.answers import Answer, Kind, Status
from outrider.server.configuration import load
from outrider.server.doctor.finding import Level
from outrider.server.preflight.policy import check_dkim
from outrider.server.settings import Settings
from outrider.server.signing import SigningUse
from outrider.server.signing_queried import queried_uses
from outrider.server.signing_shown import checked_keys
from outrider.wire.dkim.record import format_record
from tests.wire.dkim.signing import key_of, pem

CONFIG = """
[server]
state_directory = "state"
[[listener]]
name = "smtp"
port = 0
[[data_source]]
name = "crm"
url = "sqlite:///crm.db"
[[data_source.query]]
name = "key"
text = "SELECT selector, private_key, signing_domain FROM signing_keys WHERE domain = ?"
parameters = ["from_domain"]
[[dkim]]
domain = "*"
key_source = "crm"
key_query = "key"
"""


class Dns:
    """Has one record."""

    def __init__(self, name: str = "", text: str = "") -> None:
        self.name = name
        self.text = text

    async def lookup(self, name: str, kind: Kind) -> Answer:
        if name == self.name and kind is Kind.TXT:
            return Answer(Status.FOUND, 60, texts=(self.text,))
        return Answer(Status.NO_DATA, 60)


def settings_of(folder: Path, text: str = CONFIG) -> Settings:
    with closing(sqlite3.connect(folder / "crm.db")) as database:
        database.execute("CREATE TABLE signing_keys (domain, selector, private_key, signing_domain)")
        rows = [
            ("shop.test", "s1", pem("rsa2048"), None),
            ("shop.test", "s2", pem("ed25519"), "news.shop.test"),
            ("bare.test", "s1", None, None),
            ("broken.test", "s1", "no key", None),
            ("short.test", "s1", pem("rsa1024"), None),
        ]
        database.executemany("INSERT INTO signing_keys VALUES (?, ?, ?, ?)", rows)
        database.commit()
    (folder / "outrider.toml").write_text(text, encoding="utf-8")
    return load(folder / "outrider.toml", {}, {})


async def uses(settings: Settings, domain: str) -> list[SigningUse]:
    return await queried_uses(settings, {}, SystemClock(), domain)


async def test_each_row_is_a_key_of_its_domain(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    found = await uses(settings, "shop.test")
    assert [(each.domain, each.selector, each.state, each.source) for each in found] == [
        ("shop.test", "s1", "configured", "query:crm/key"),
        ("news.shop.test", "s2", "configured", "query:crm/key"),
    ]
    assert [each.key is not None for each in found] == [True, True]
    assert await uses(settings, "bare.test") == []
    assert await uses(settings, "other.test") == []


async def test_what_cannot_be_used_says_why_and_shows_no_key(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    [broken] = await uses(settings, "broken.test")
    assert broken.key is None
    assert "no private key" in broken.trouble
    (tmp_path / "crm.db").unlink()
    [away] = await uses(settings, "shop.test")
    assert away.key is None
    assert "data source crm" in away.trouble


@pytest.mark.parametrize("is_allowed", [False, True])
async def test_a_key_that_is_too_short_says_so_unless_it_may_be(tmp_path: Path, is_allowed: bool) -> None:
    settings = settings_of(tmp_path, CONFIG + ("allow_short_key = true\n" if is_allowed else ""))
    [use] = await uses(settings, "short.test")
    assert (use.key is not None, "it has 1024 bits" in use.trouble) == (is_allowed, not is_allowed)


async def test_a_query_that_asks_with_more_than_a_domain_blames_nobody(tmp_path: Path) -> None:
    text = CONFIG.replace('["from_domain"]', '["customer"]')
    settings = settings_of(tmp_path, f'{text}key_parameters = {{ customer = "header:X-Customer" }}\n')
    [use] = await uses(settings, "shop.test")
    assert "header:X-Customer" in use.trouble
    part = await check_dkim(Dns(), "shop.test", [use])
    assert [each.level for each in part.findings] == [Level.NOTE]
    told = await checked_keys(settings, {}, SystemClock(), Dns(), ["shop.test"])
    assert told["ok"]


@pytest.mark.parametrize("is_published", [True, False])
async def test_its_record_is_looked_for_as_that_of_others(tmp_path: Path, is_published: bool) -> None:
    settings = settings_of(tmp_path, CONFIG.replace('["from_domain"]', '["mail_from_domain"]'))
    with closing(sqlite3.connect(tmp_path / "crm.db")) as database:
        database.execute("DELETE FROM signing_keys WHERE selector = 's2'")
        database.commit()
    record = format_record(key_of("rsa2048"))
    dns = Dns("s1._domainkey.shop.test", record) if is_published else Dns()
    told = await checked_keys(settings, {}, SystemClock(), dns, ["shop.test"])
    assert told["ok"] == is_published
    part = await check_dkim(dns, "shop.test", await uses(settings, "shop.test"))
    assert [each.value for each in part.publish] == ([] if is_published else [record])
    assert not any("nothing signs" in each.what for each in part.findings)
