"""Addresses to send from that are not this host's are found, with the binding or option that gives them."""

from pathlib import Path

import pytest

from outrider.net.answers import Answer, Kind, Status
from outrider.server.configuration import load
from outrider.server.doctor.bindings import Sender, check_bindings, check_identities, senders, strangers
from outrider.server.doctor.finding import Level
from outrider.server.settings import Settings

CONFIG = """
[delivery.default]
source_addresses = ["192.0.2.9"]

[[binding]]
name = "here"
source_addresses = ["127.40.0.1"]
[[binding]]
name = "away"
source_addresses = ["192.0.2.1", "2001:db8::1"]
[[binding]]
name = "far"
source_addresses = ["192.0.2.2"]
proxy = "haproxy://192.0.2.200:2525"
[[binding]]
name = "pooled"
source_addresses = ["192.0.2.3"]
[[binding_group]]
name = "pool"
members = ["pooled"]

[[delivery.override]]
group = "pool"
proxy = "socks5://192.0.2.200:1080"
[[delivery.override]]
group = "pool"
site = "*.big.example"
source_addresses = ["192.0.2.4"]
[[delivery.override]]
site = "mx.small.example"
source_addresses = ["192.0.2.5"]
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    path = tmp_path / "outrider.toml"
    path.write_text(CONFIG, encoding="utf-8")
    return load(path, {}, {})


def test_what_leaves_by_a_proxy_need_not_be_ours(settings: Settings) -> None:
    assert senders(settings) == [
        Sender("127.40.0.1", "binding here"),
        Sender("192.0.2.1", "binding away"),
        Sender("2001:db8::1", "binding away"),
        Sender("192.0.2.5", "delivery.override.2"),
        Sender("192.0.2.9", "delivery.default"),
    ]


def test_each_stranger_is_a_fault_with_the_name_of_its_binding(settings: Settings) -> None:
    found = check_bindings(settings)
    assert [finding.level for finding in found] == [Level.FAULT] * 4
    assert found[0].what == "binding away: 192.0.2.1 is no address of this host; mail of it waits"
    assert [each.address for each in strangers(settings)] == [
        "192.0.2.1",
        "2001:db8::1",
        "192.0.2.5",
        "192.0.2.9",
    ]


def test_where_all_is_well_one_line_says_so(settings: Settings) -> None:
    [finding] = check_bindings(settings, lambda _address: True)
    assert (finding.level, finding.what) == (Level.GOOD, "5 addresses to send from belong to this host")
    assert check_bindings(Settings(), lambda _address: False) == []


class Names:
    """Answers of DNS by (name, kind)."""

    def __init__(self, **records: str) -> None:
        self.records = records

    async def lookup(self, name: str, kind: Kind) -> Answer:
        found = self.records.get(f"{kind.name}_{name.replace('.', '_').replace('-', '_')}", "")
        if not found:
            return Answer(Status.NO_NAME, 60.0)
        if kind is Kind.PTR:
            return Answer(Status.FOUND, 60.0, names=(found,))
        return Answer(Status.FOUND, 60.0, addresses=(found,))


async def test_each_binding_is_looked_at_as_receivers_do(tmp_path: Path) -> None:
    path = tmp_path / "outrider.toml"
    path.write_text(
        """
[server]
hostname = "mx.example.test"
[[binding]]
name = "good"
source_addresses = ["192.0.2.1"]
ehlo_name = "news.example.test"
[[binding]]
name = "bad"
source_addresses = ["192.0.2.2"]
ehlo_name = "gone.example.test"
""",
        encoding="utf-8",
    )
    names = Names(
        A_news_example_test="192.0.2.1",
        PTR_1_2_0_192_in_addr_arpa="news.example.test",
        A_other_example_test="192.0.2.2",
        PTR_2_2_0_192_in_addr_arpa="other.example.test",
    )
    found = [(one.level, one.what) for one in await check_identities(names, load(path, {}, {}))]
    assert [level for level, _ in found] == [Level.GOOD, Level.GOOD, Level.FAULT, Level.WARNING]
    assert "ehlo_name of binding bad gone.example.test has no address" in found[2][1]
    assert "192.0.2.2 (binding bad) is named other.example.test" in found[3][1]
