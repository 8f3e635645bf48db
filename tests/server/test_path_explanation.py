"""What holds for a path is explained with the scope, the file and the line of each value."""

from pathlib import Path as FilePath

import pytest

from outrider.base.clock import FakeClock
from outrider.base.errors import ConfigError, UnavailableError
from outrider.model.flow import Path
from outrider.server.configuration import read
from outrider.server.path_explanation import explain_path, find_site, parse_path

MAIN = """\
[shaping.default]
window = 11

[[shaping.override]]
site = "mx.big.example"
max_connections = 3

[[shaping.override]]
group = "pool"
max_message_rate = "10/minute"
shared = true

[delivery.default]
idle_seconds = 5

[[binding]]
name = "news"
source_addresses = ["127.0.0.1"]
since = 2020-01-01

[[binding_group]]
name = "pool"
members = ["news"]
"""
EXTRA = """\
[[delivery.override]]
group = "pool"
site = "*.example"
ehlo_name = "pool.example"

[[net.routes]]
domain = "routed.test"
hosts = ["127.0.0.1:2525"]
name = "smart"
"""


def explained(folder: FilePath, path: str, environment: dict[str, str] | None = None) -> dict[str, object]:
    (folder / "outrider.toml").write_text(MAIN, encoding="utf-8")
    (folder / "conf.d").mkdir(exist_ok=True)
    (folder / "conf.d" / "10-more.toml").write_text(EXTRA, encoding="utf-8")
    found = read(folder / "outrider.toml", environment or {}, {"shaping.default.smtp_port": 2525})
    return explain_path(found.settings, found.origins(), parse_path(path), FakeClock())


def row(found: dict[str, object], name: str) -> tuple[str, str, str, str]:
    [one] = [one for one in found["values"] if one["name"] == name]  # type: ignore[attr-defined]
    assert (
        one["origin"] == "default"
        or one["option"].startswith(f"{one['section']}.")
        or "binding" in one["option"]
    )
    return one["value"], one["level"], one["scope"], FilePath(one["origin"]).name


def test_each_value_has_its_scope_and_its_place(tmp_path: FilePath) -> None:
    found = explained(tmp_path, "smtp/news/mx.big.example", {"OUTRIDER_DELIVERY__DEFAULT__TLS": "off"})
    assert row(found, "max_connections") == ("3", "site", "*::mx.big.example", "outrider.toml:6")
    assert row(found, "max_message_rate") == ('"10/minute"', "group", "pool::*::*", "outrider.toml:10")
    assert row(found, "window") == ("11", "global", "*::*", "outrider.toml:2")
    assert row(found, "smtp_port")[3] == "--set shaping.default.smtp_port"
    assert row(found, "retry_jitter") == ("0.1", "global", "*::*", "default")
    assert row(found, "source_addresses") == ('["127.0.0.1"]', "binding", "news::*", "outrider.toml:18")
    assert row(found, "ehlo_name") == (
        '"pool.example"',
        "group::site",
        "pool::*::*.example",
        "10-more.toml:4",
    )
    assert row(found, "idle_seconds") == ("5.0", "global", "*::*", "outrider.toml:14")
    assert row(found, "tls")[3] == "OUTRIDER_DELIVERY__DEFAULT__TLS"
    assert (found["is_known"], found["groups"]) == (True, ["pool"])
    age = found["age_days"]
    assert isinstance(age, int)
    assert age > 0


def test_limits_that_are_shared_say_with_whom(tmp_path: FilePath) -> None:
    found = explained(tmp_path, "smtp/news/mx.big.example")
    shared = {one["name"]: one["shared_by"] for one in found["values"]}  # type: ignore[attr-defined]
    assert {name: owner for name, owner in shared.items() if owner} == {"max_message_rate": "pool::*::*"}


def test_paths_of_no_binding_are_explained_too(tmp_path: FilePath) -> None:
    found = explained(tmp_path, "smtp/other/@own.test")
    assert (found["is_known"], found["groups"], found["age_days"]) == (False, [], None)
    assert row(found, "max_message_rate") == ('""', "global", "*::*", "default")


@pytest.mark.parametrize("text", ["", "smtp", "smtp/news", "smtp//x", "/a/b"])
def test_what_is_no_path_is_told(text: str) -> None:
    with pytest.raises(ConfigError, match="write CHANNEL/BINDING/SITE"):
        parse_path(text)


def test_a_site_may_have_a_slash_and_a_colon() -> None:
    assert parse_path("smtp/news/unix:/run/lmtp") == Path("smtp", "news", "unix:/run/lmtp")


async def test_the_site_of_a_domain_is_found_by_routes(tmp_path: FilePath) -> None:
    explained(tmp_path, "smtp/news/x")
    settings = read(tmp_path / "outrider.toml", {}, {}).settings
    assert await find_site(settings, "routed.test", FakeClock()) == "smart"
    own = read(tmp_path / "outrider.toml", {}, {"shaping.override": [{"domain": "routed.test"}]}).settings
    assert await find_site(own, "routed.test", FakeClock()) == "@routed.test"
    with pytest.raises(UnavailableError, match="has no site: 5"):
        await find_site(settings, "[192.0.2.999]", FakeClock())
