"""Mail is found by its site after a start, and sites that nobody knows are looked up, some at a time."""

from pathlib import Path

import pytest

from outrider.base.files import OsFiles
from outrider.base.log import ListLog
from outrider.model.route import Route
from outrider.schedule.sites import SiteTable
from outrider.server.settings import Settings
from outrider.server.site_keeper import LOOK_UPS, SiteKeeper

HERE = Settings.model_validate({})
ELSEWHERE = Settings.model_validate({"net": {"routes": [{"domain": "*", "hosts": ["192.0.2.9"]}]}})
BIG = Settings.model_validate({"shaping": {"provider": [{"name": "big", "mx": ["*.example"]}]}})


class Around:
    """A dispatcher's surroundings of one life."""

    def __init__(self, folder: Path, settings: Settings = HERE) -> None:
        self.sites = SiteTable()
        self.queued: set[str] = {"one.test", "two.test"}
        self.asked: list[str] = []
        self.log = ListLog()
        self.keeper = SiteKeeper(
            OsFiles(),
            folder / "sites",
            self.sites,
            lambda: self.queued,
            self.asked.append,
            self.log,
            settings,
        )

    def learn(self, domain: str, site: str) -> None:
        self.sites.put(Route(domain, (), implicit=False, valid_seconds=60.0, site=site), 0.0)


async def test_a_start_knows_the_sites_of_what_is_queued(tmp_path: Path) -> None:
    first = Around(tmp_path)
    for domain in ("one.test", "two.test", "gone.test"):
        first.learn(domain, "mx.example")
    await first.keeper.keep()
    second = Around(tmp_path)
    assert second.sites.last_site("one.test") == "mx.example"
    assert second.sites.last_site("gone.test") == "", "only what has mail is kept"
    second.keeper.look_up()
    assert second.asked == [], "nothing is in doubt"
    assert (tmp_path / "sites").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("settings", [ELSEWHERE, BIG], ids=["routes", "providers"])
async def test_another_configuration_puts_what_was_kept_in_doubt(tmp_path: Path, settings: Settings) -> None:
    first = Around(tmp_path)
    first.learn("one.test", "mx.example")
    await first.keeper.keep()
    second = Around(tmp_path, settings)
    assert second.sites.last_site("one.test") == "mx.example", "it is still what people know it by"
    second.keeper.look_up()
    assert sorted(second.asked) == ["one.test", "two.test"]


async def test_a_reload_looks_up_again_and_is_kept_with_its_own_basis(tmp_path: Path) -> None:
    first = Around(tmp_path)
    for domain in first.queued:
        first.learn(domain, "mx.example")
    await first.keeper.keep()
    first.keeper.look_up()
    assert first.asked == []
    first.sites.forget_all()
    first.keeper.reshape(ELSEWHERE)
    first.keeper.look_up()
    assert sorted(first.asked) == ["one.test", "two.test"]
    for domain in first.queued:
        first.learn(domain, "mx.example")
    await first.keeper.keep()
    second = Around(tmp_path, ELSEWHERE)
    second.keeper.look_up()
    assert second.asked == []


async def test_what_is_not_known_is_looked_up_some_at_a_time(tmp_path: Path) -> None:
    around = Around(tmp_path)
    around.queued = {f"d{number}.test" for number in range(LOOK_UPS * 2 + 1)}
    sizes = []
    for _ in range(3):
        around.asked.clear()
        around.keeper.look_up()
        sizes.append(len(around.asked))
        for domain in around.asked:
            around.learn(domain, "mx.example")
    assert sizes == [LOOK_UPS, LOOK_UPS, 1]
    around.asked.clear()
    around.keeper.look_up()
    assert around.asked == []


@pytest.mark.parametrize("damage", ["torn", "flipped", "empty", "other"])
async def test_a_damaged_file_is_none(tmp_path: Path, damage: str) -> None:
    first = Around(tmp_path)
    first.learn("one.test", "mx.example")
    await first.keeper.keep()
    path = tmp_path / "sites"
    octets = path.read_bytes()
    place = octets.index(b"mx.example")
    path.write_bytes(
        {
            "torn": octets[:-3],
            "flipped": octets[:place] + b"n" + octets[place + 1 :],
            "empty": b"",
            "other": b"\x93\x01\x02\x03",
        }[damage]
    )
    assert Around(tmp_path).sites.last_site("one.test") == ""


async def test_a_file_that_cannot_be_written_is_told_of_and_tried_again(tmp_path: Path) -> None:
    around = Around(tmp_path)
    around.learn("one.test", "mx.example")
    (tmp_path / "sites").mkdir()
    await around.keeper.keep()
    assert [event for _, event, _ in around.log.lines] == ["sites.not_kept"]
    (tmp_path / "sites").rmdir()
    await around.keeper.keep()
    assert Around(tmp_path).sites.last_site("one.test") == "mx.example"
