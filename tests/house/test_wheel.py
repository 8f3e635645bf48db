"""The wheel installs and works with and without a C compiler, and holds only what a server needs."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tools import build_scan
from tools.project_files import ROOT

PROBE = "from outrider.wire.smtp import scan; print(scan.scan is scan.scan_pure, scan.__file__)"


def build(folder: Path, programs: str) -> Path:
    """A wheel of this checkout, made as `pip install .` makes it, with `programs` as PATH."""
    command = [*(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")]
    done = subprocess.run(
        [*command, "--wheel-dir", str(folder), str(ROOT)],
        env={**os.environ, "PATH": programs},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    [wheel] = folder.glob("*.whl")
    return wheel


def install(wheel: Path, folder: Path) -> Path:
    """A fresh environment with the wheel; what it depends on is lent by the environment of the tests."""
    venv.create(folder, with_pip=False)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder / "lib" / version / "site-packages"
    command = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet"]
    done = subprocess.run(
        [*command, "--no-deps", "--no-index", str(wheel)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    # A plain path, not a site directory: the `.pth` of the editable installation is not followed.
    (packages / "lent.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder / "bin"


def run(*command: str) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "OUTRIDER_PURE"}
    done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


@pytest.mark.parametrize("compiler", [False, True], ids=["without compiler", "with compiler"])
def test_a_wheel_installs_and_works(tmp_path: Path, *, compiler: bool) -> None:
    if compiler and build_scan.build(tmp_path) is None:
        pytest.skip("needs a C compiler and the headers of Python")
    wheel = build(tmp_path / "wheel", os.environ["PATH"] if compiler else str(tmp_path))
    names = zipfile.ZipFile(wheel).namelist()
    assert not [name for name in names if name.endswith(".c") or not name.startswith("outrider")]
    assert [name for name in names if name.endswith(".so")] == (
        [f"outrider/wire/smtp/_scan{sysconfig.get_config_var('EXT_SUFFIX')}"] if compiler else []
    )
    assert ("-any.whl" in wheel.name) is not compiler
    programs = install(wheel, tmp_path / "environment")
    is_pure, place = run(str(programs / "python"), "-c", PROBE).split()
    assert (is_pure == "True") is not compiler
    assert place.startswith(str(tmp_path))
    assert run(str(programs / "outrider"), "--version").startswith("outrider 0.")
