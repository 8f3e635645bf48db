"""The control database on SQLite and on a real PostgreSQL: the same tests hold for both."""

import asyncio
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from outrider.base.clock import FakeClock
from outrider.store.editor import Author
from outrider.store.engine import Database, open_engine
from outrider.store.options import StoreOptions
from outrider.store.upgrade import upgrade
from tests.patience import PATIENCE_SECONDS
from tests.peers.processes import free_port

USER = "postgres"
"""PostgreSQL refuses root; its package brings this user."""


def _programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return found[-1].parent if found else None


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """URL prefix of a cluster of its own, gone afterwards."""
    programs = _programs()
    if programs is None:
        pytest.skip("no PostgreSQL here; `make peers` installs it")
    as_user: dict[str, object] = {}
    if os.getuid() == 0:
        owner = pwd.getpwnam(USER)
        as_user = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
    folder = Path(tempfile.mkdtemp(prefix="outrider-pg-"))
    if as_user:
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    data, port = folder / "data", free_port()
    common = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **as_user}
    subprocess.run(  # type: ignore[call-overload]
        [programs / "initdb", "-D", data, "-A", "trust", "-U", "outrider", "--no-sync"],
        check=True,
        timeout=60,
        **common,
    )
    options = [
        "-c",
        "fsync=off",
        "-c",
        f"unix_socket_directories={folder}",
        "-c",
        "listen_addresses=127.0.0.1",
    ]
    server = subprocess.Popen(  # type: ignore[call-overload]
        [programs / "postgres", "-D", data, "-p", str(port), *options], **common
    )
    try:
        until_ready(programs, port)
        yield f"postgresql://outrider@127.0.0.1:{port}/"
    finally:
        server.terminate()  # the children end with it
        try:
            server.wait(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(timeout=PATIENCE_SECONDS)
        shutil.rmtree(folder, ignore_errors=True)


def until_ready(programs: Path, port: int) -> None:
    """Return when the cluster takes connections."""
    place = ["-h", "127.0.0.1", "-p", str(port), "-U", "outrider"]
    for _ in range(1000):  # each try takes some tens of milliseconds
        line = [str(programs / "psql"), *place, "-c", "SELECT 1", "postgres"]
        done = subprocess.run(line, check=False, capture_output=True, timeout=30)
        if done.returncode == 0:
            return
    raise RuntimeError("PostgreSQL did not start")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def author(clock: FakeClock) -> Author:
    return Author("cli:tester", clock, "a test")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.peer)])
async def database(request: pytest.FixtureRequest, tmp_path: Path, author: Author) -> AsyncIterator[Database]:
    """A fresh database, upgraded."""
    options = StoreOptions()
    if request.param == "postgresql":
        base = request.getfixturevalue("postgresql")
        name = f"t{os.getpid()}_{abs(hash(request.node.nodeid))}"
        await _create(base, name)
        options = StoreOptions(url=base + name)
    engine = open_engine(options, tmp_path)
    try:
        await upgrade(engine, author)
        yield engine
    finally:
        await engine.dispose()


async def _create(base: str, name: str) -> None:
    programs = _programs()
    assert programs is not None
    line = [str(programs / "createdb"), "--maintenance-db", base + "postgres", name]
    await asyncio.to_thread(subprocess.run, line, check=True)
