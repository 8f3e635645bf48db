"""Each option explains itself: what it means, what it is, and which source set it."""

from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from outrider.base.errors import ConfigError
from outrider.server.catalogue import HIDDEN, Value, options, toml_value, values
from outrider.server.configuration import Configuration, read
from outrider.server.explanation import explain
from outrider.server.reconfigure import LIVE, changes, is_live, merged
from outrider.server.settings import Settings

MAIN = """\
[server]
hostname = "mx.example.test"
workers = 3

[[listener]]
name = "smtp"
trusted_networks = ["192.0.2.0/24"]
"""
EXTRA = """\
[server]
workers = 4
[[listener]]
name = "second"
port = 2626
[listener.limits]
recipients = 200
"""


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    (tmp_path / "outrider.toml").write_text(MAIN, encoding="utf-8")
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "10-more.toml").write_text(EXTRA, encoding="utf-8")
    (tmp_path / "conf.d" / "20-last.toml").write_text("[server]\ndrain_seconds = 1\n", encoding="utf-8")
    (tmp_path / "conf.d" / "notes.txt").write_text("not read", encoding="utf-8")
    return read(
        tmp_path / "outrider.toml",
        {"OUTRIDER_SERVER__DRAIN_SECONDS": "2", "OUTRIDER_LISTENER__SECOND__PORT": "2727"},
        {"listener.0.limits.recipients": 300},
    )


def test_each_value_knows_the_source_that_set_it_last(configuration: Configuration, tmp_path: Path) -> None:
    known = {
        value.name: (value.value, str(configuration.sources.exact_origin(value.location)))
        for value in values(configuration.settings)
    }
    extra = tmp_path / "conf.d" / "10-more.toml"
    assert known["server.hostname"] == ("mx.example.test", f"{tmp_path / 'outrider.toml'}:2")
    assert known["server.workers"] == (4, f"{extra}:2")
    assert known["server.drain_seconds"] == (2.0, "OUTRIDER_SERVER__DRAIN_SECONDS")
    assert known["server.watchdog_seconds"] == (30.0, "default")
    assert known["listener.smtp.limits.recipients"] == (300, "--set listener.0.limits.recipients")
    assert known["listener.second.limits.recipients"] == (200, f"{extra}:7")
    assert known["listener.second.port"] == (2727, "OUTRIDER_LISTENER__SECOND__PORT")
    assert known["listener.smtp.port"] == (2525, "default")


def test_a_fault_in_a_later_file_is_told_with_that_file(tmp_path: Path) -> None:
    (tmp_path / "outrider.toml").write_text(MAIN, encoding="utf-8")
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "a.toml").write_text("\n[server]\nworkers = 0\n", encoding="utf-8")
    (tmp_path / "conf.d" / "b.toml").write_text("[[listener]]\nname = 'x'\nprot = 1\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read(tmp_path / "outrider.toml")
    first, second = sorted(caught.value.faults)
    assert first.startswith(f"{tmp_path / 'conf.d' / 'a.toml'}:3: server.workers:")
    assert second.startswith(
        f"{tmp_path / 'conf.d' / 'b.toml'}:3: listener.1.prot is not an option; did you mean"
    )


def test_files_that_are_no_toml_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "outrider.toml").write_text("[server\n", encoding="utf-8")
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "a.toml").write_text("x = \n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read(tmp_path / "outrider.toml")
    assert [fault.split(" is not TOML")[0] for fault in caught.value.faults] == [
        str(tmp_path / "outrider.toml"),
        str(tmp_path / "conf.d" / "a.toml"),
    ]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("server.workers", {"server.workers"}),
        ("server", {option.name for option in options() if option.name.startswith("server.")}),
        ("*.workers", {"server.workers"}),
        ("listener.second.port", {"listener.port"}),
        ("listener.port", {"listener.port"}),
    ],
)
def test_an_option_a_section_or_a_pattern_is_explained(
    configuration: Configuration, wanted: str, found: set[str]
) -> None:
    assert {each.option.name for each in explain(configuration, wanted)} == found


def test_an_explanation_says_all_that_is_declared(configuration: Configuration) -> None:
    [told] = [each.told() for each in explain(configuration, "server.workers")]
    assert told["unit"] == "processes"
    assert told["bounds"] == "≥ 1, ≤ 64"
    assert told["default"] == "2"
    assert told["default_source"]
    assert told["meaning"]
    assert told["changes_by"] == "restart"
    assert [value["value"] for value in told["values"]] == ["4"]
    [both] = [each.told() for each in explain(configuration, "listener.port")]
    assert [value["name"] for value in both["values"]] == ["listener.smtp.port", "listener.second.port"]


def test_what_is_no_option_is_answered_with_the_nearest(configuration: Configuration) -> None:
    with pytest.raises(ConfigError, match=r"did you mean server\.workers"):
        explain(configuration, "server.wrkers")


def test_what_a_secret_is_is_not_shown() -> None:
    assert Value("a", "a", ("a",), "hunter2", is_secret=True).shown == HIDDEN
    assert Value("a", "a", ("a",), "", is_secret=True).shown == '""'
    assert toml_value('a "b"') == '"a \\"b\\""'


def test_each_pattern_of_what_changes_live_names_an_option() -> None:
    names = [option.name for option in options()]
    sections = {name.rpartition(".")[0] for name in names}
    for pattern in LIVE:
        assert any(fnmatchcase(name, pattern) for name in (*names, *sections)), pattern
    assert not is_live("server.workers")
    assert not is_live("spool.segment_bytes")


def test_what_waits_for_a_start_by_its_own_words_is_not_live() -> None:
    waiting = [each.name for each in options() if "when the server is started again" in each.text]
    assert "policy.shared_numbers" in waiting
    assert [name for name in waiting if is_live(name)] == []
    assert all(map(is_live, ("policy.lua_folders", "policy.alert_seconds", "policy.script.source")))


def test_a_reload_takes_what_is_live_and_names_the_rest(tmp_path: Path) -> None:
    def written(text: str) -> Configuration:
        (tmp_path / "outrider.toml").write_text(text, encoding="utf-8")
        return read(tmp_path / "outrider.toml")

    old = written(
        "[server]\nworkers = 2\n[shaping.default]\nmax_connections = 5\n[[http]]\nname = 'api'\n"
    ).settings
    new = written(
        "[server]\nworkers = 3\ndrain_seconds = 1\n[shaping.default]\nmax_connections = 6\n"
        "[[listener]]\nname = 'b'\nport = 26\n[listener.limits]\nerrors = 20\n"
    )
    found = {change.name: change for change in changes(old, new.settings, new.sources)}
    assert (found["server.workers"].needs_restart, found["server.workers"].old) == (True, "2")
    assert found["shaping.default.max_connections"].new == "6"
    assert not found["shaping.default.max_connections"].needs_restart
    assert found["shaping.default.max_connections"].origin.endswith("outrider.toml:5")
    assert found["listener.b.port"].old == ""
    assert found["http.api.name"].new == ""
    # of a listener that comes or goes, what it leaves to defaults is no news
    assert {name for name in found if name.startswith(("listener.", "http."))} == {
        "listener.smtp.name",
        "listener.b.name",
        "listener.b.port",
        "listener.b.limits.errors",
        "http.api.name",
    }
    result = merged(old, new.settings)
    assert result.server.workers == 2
    assert result.server.drain_seconds == 1
    assert result.shaping.default.max_connections == 6
    assert [listener.name for listener in result.listeners] == ["b"]
    assert changes(result, result, new.sources) == []
    back = written("[server]\nworkers = 2\n[shaping.default]\nmax_message_rate = '1/second'\n")
    unset = {change.name: change for change in changes(old, back.settings, back.sources)}
    assert unset["shaping.default.max_connections"].origin == "default"


def test_settings_go_to_the_processes_as_they_are(configuration: Configuration) -> None:
    """What was set and what was not is kept too: overrides inherit what they do not set."""
    settings = configuration.settings
    sent = Settings.model_validate_json(settings.model_dump_json(exclude_unset=True))
    assert changes(settings, sent, configuration.sources) == []
    assert sent.model_dump_json(exclude_unset=True) == settings.model_dump_json(exclude_unset=True)
