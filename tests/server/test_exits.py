"""Each failure has the exit code that sysexits.h gives it; bad usage too."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from outrider.base.errors import (
    ConfigError,
    OutriderError,
    PermissionDeniedError,
    SpoolError,
    UnavailableError,
)
from outrider.base.exits import Exit
from outrider.cli import main
from outrider.cli.main import exit_code
from outrider.server.configuration import load
from outrider.spool.frames import FormatError

PROGRAM = (sys.executable, "-m", "outrider.cli.main")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("x"), 78),
        (UnavailableError("x"), 69),
        (SpoolError("x"), 74),
        (FormatError("x"), 65),
        (PermissionDeniedError("x"), 77),
        (OutriderError("x"), 70),
    ],
)
def test_each_error_has_its_code(error: OutriderError, code: int) -> None:
    assert exit_code(error) == code


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("config", "show"), Exit.OK),
        (("no-such-command",), Exit.USAGE),
        (("config", "explain"), Exit.USAGE),
        (("config", "show", "--set", "nonsense"), Exit.USAGE),
        (("config", "explain", "server.wrkers"), Exit.CONFIG),
        (("check-config", "-c", "none.toml"), Exit.CONFIG),
        (("status", "-c", "good.toml"), Exit.UNAVAILABLE),
        (("reload", "-c", "good.toml"), Exit.UNAVAILABLE),
        (("config", "diff", "-c", "good.toml"), Exit.UNAVAILABLE),
        (("serve", "-c", "bad.toml"), Exit.CONFIG),
        (("check-config", "-c", "."), Exit.CONFIG),
        (("init", "-c", "/dev/null/new.toml"), Exit.CANNOT_CREATE),
    ],
)
def test_each_command_ends_with_its_code(tmp_path: Path, arguments: tuple[str, ...], code: Exit) -> None:
    (tmp_path / "good.toml").write_text("[server]\nworkers = 1\n", encoding="utf-8")
    (tmp_path / "bad.toml").write_text("[server]\nworkers = 0\n", encoding="utf-8")
    line = [*PROGRAM, *arguments]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == code, done.stderr


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (
            PermissionError(13, "Permission denied", "state/keys"),
            77,
            "state/keys: Permission denied; become root or",
        ),
        (
            OSError(28, "No space left on device", "state/x"),
            74,
            "outrider: state/x: No space left on device\n",
        ),
        (OSError("odd"), 74, "outrider: odd\n"),
        (ConfigError("it is a wrong", ("a wrong",)), 78, "outrider: it is a wrong\n"),
    ],
)
def test_what_nobody_foresaw_is_told_with_its_place_and_remedy(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    code: int,
    told: str,
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(main, "app", fail)
    with pytest.raises(SystemExit) as ended:
        main.main()
    shown = capsys.readouterr().err
    assert (ended.value.code, told in shown, len(shown.splitlines())) == (code, True, 1), shown


def test_it_is_not_the_parser_that_says_whether_a_configuration_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "good.toml").write_text("", encoding="utf-8")
    monkeypatch.setattr(os, "access", lambda *_arguments: False)
    monkeypatch.setattr(sys, "argv", ["outrider", "config", "show", "-c", str(tmp_path / "good.toml")])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code in (None, Exit.OK)


def test_a_configuration_that_this_user_may_not_read_is_78(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(ConfigError, match="may not be read by this user: give it to the group") as told:
        load(tmp_path / "outrider.toml")
    assert exit_code(told.value) == Exit.CONFIG


def test_a_copy_that_cannot_be_made_there_says_so(tmp_path: Path) -> None:
    (tmp_path / "good.toml").write_text("[server]\nworkers = 1\n", encoding="utf-8")
    for into in ("/dev/null/x", "/proc/x", "good.toml"):
        line = [*PROGRAM, "backup", "--without-keys", "--into", into, "-c", "good.toml"]
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, into in done.stderr) == (Exit.CANNOT_CREATE, True), done.stderr


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            'tls = "starttls"\ncertificate = "none.pem"\nprivate_key = "none.key"\n',
            "none.pem is not a file; give a PEM file",
        ),
        ('[net.tls]\nca_file = "none.pem"\n', "net.tls.ca_file: none.pem cannot be used: No such file"),
        ("[record]\nmetrics_port = {taken}\n", "record.metrics_port: 127.0.0.1:{taken} is in use"),
    ],
    ids=["certificate", "authorities", "metrics"],
)
def test_a_server_that_could_not_work_does_not_start(tmp_path: Path, text: str, told: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        (tmp_path / "outrider.toml").write_text(
            f"[server]\nworkers = 1\n[[listener]]\nport = 0\n{text.format(taken=taken)}", encoding="utf-8"
        )
        line = [*PROGRAM, "serve"]
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == Exit.CONFIG
    assert told.format(taken=taken) in done.stderr
    assert "process.started" not in done.stderr


def test_codes_are_told_apart_and_explained() -> None:
    assert len({int(code) for code in Exit}) == len(Exit)
    assert all(code.about.endswith(".") for code in Exit)
