"""Before anything starts: directories that cannot be used are told by the option that names them."""

from pathlib import Path

import pytest

from outrider.base.errors import ConfigError
from outrider.server.node import SOCKET_PATH_OCTETS_MAX, prepare
from outrider.server.options import ServerOptions
from outrider.server.settings import Settings


def settings(folder: Path, run_directory: Path | None = None) -> Settings:
    server = ServerOptions(state_directory=folder / "state", run_directory=run_directory)
    return Settings(server=server)


def test_directories_are_made_for_us_alone(tmp_path: Path) -> None:
    prepare(settings(tmp_path, tmp_path / "run"))
    for name in ("state", "run"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o700


def test_a_socket_s_path_that_is_too_long_is_told_and_nothing_is_made(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * SOCKET_PATH_OCTETS_MAX)
    with pytest.raises(ConfigError, match=r"server\.run_directory: .*shorter"):
        prepare(settings(tmp_path, deep))
    assert not (tmp_path / "state").exists()
    assert not deep.exists()


def test_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("not a directory", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"server\.state_directory: .*cannot be made"):
        prepare(settings(tmp_path, tmp_path / "run"))
