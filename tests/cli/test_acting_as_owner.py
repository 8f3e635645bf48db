"""What root does to the state directory of a server belongs to the server's user."""

import os
import pwd
from pathlib import Path

import pytest

from outrider.cli.control_store import act_as_owner
from outrider.server.configuration import load
from outrider.server.settings import Settings

STRANGER = 65_534


class Became:
    """Records who the process would have become."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, us: int) -> None:
        self.steps: list[tuple[str, object]] = []
        monkeypatch.setattr(os, "geteuid", lambda: us)
        monkeypatch.setattr(os, "initgroups", lambda name, _group: self.steps.append(("groups", name)))
        monkeypatch.setattr(os, "setgroups", lambda groups: self.steps.append(("groups", groups)))
        monkeypatch.setattr(os, "setegid", lambda group: self.steps.append(("group", group)))
        monkeypatch.setattr(os, "seteuid", lambda user: self.steps.append(("user", user)))


def settings_with(folder: Path) -> Settings:
    path = folder / "outrider.toml"
    path.write_text('[server]\nhostname = "mx.test"\nstate_directory = "state"\n', encoding="utf-8")
    return load(path, {})


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """With a state directory that is not root's."""
    found = settings_with(tmp_path)
    found.server.state_directory.mkdir()
    if os.geteuid() == 0:
        os.chown(found.server.state_directory, STRANGER, STRANGER)
    return found


def test_root_becomes_the_user_whose_state_it_is(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = settings.server.state_directory.stat().st_uid
    user = pwd.getpwuid(owner)
    became = Became(monkeypatch, 0)
    act_as_owner(settings)
    assert became.steps == [("groups", user.pw_name), ("group", user.pw_gid), ("user", owner)], (
        "the user last, because only root may change groups"
    )


def test_a_server_that_root_runs_stays_roots(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = settings.server.state_directory / "server.lock"
    lock.touch()
    stat = Path.lstat
    monkeypatch.setattr(Path, "lstat", lambda path: os.stat_result([0] * 10) if path == lock else stat(path))
    became = Became(monkeypatch, 0)
    act_as_owner(settings)
    assert became.steps == []


def test_a_user_without_a_name_is_become_by_number(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = settings.server.state_directory.stat()
    became = Became(monkeypatch, 0)
    monkeypatch.setattr(pwd, "getpwuid", lambda number: {}[number])
    act_as_owner(settings)
    assert became.steps == [("groups", [found.st_gid]), ("group", found.st_gid), ("user", found.st_uid)]


def test_everybody_else_stays_who_they_are(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    became = Became(monkeypatch, 4_711)
    act_as_owner(settings)
    assert became.steps == []


def test_before_there_is_any_state_nobody_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    became = Became(monkeypatch, 0)
    act_as_owner(settings_with(tmp_path))
    assert became.steps == []
