"""The doctor asks every data source, and looks at who else could."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from outrider.base.clock import SystemClock
from outrider.server.backup.make import secret_files
from outrider.server.doctor.finding import Finding, Level
from outrider.server.doctor.sources import check_sources
from outrider.server.settings import Settings


async def looked_at(environment: dict[str, str] | None = None, **options: Any) -> list[Finding]:
    settings = Settings(data_source=({"name": "shop", **options},))
    found = await check_sources(settings, environment or {}, SystemClock)
    assert all(one.check == "source.shop" for one in found)
    assert all(one.mend for one in found if one.level is not Level.GOOD)
    return found


def make_database(path: Path, mode: int = 0o600) -> None:
    sqlite3.connect(path).close()
    path.chmod(mode)


async def test_a_source_that_can_be_asked_is_good(tmp_path: Path) -> None:
    make_database(tmp_path / "shop.db")
    (found,) = await looked_at(url=f"sqlite:///{tmp_path}/shop.db")
    assert found.level is Level.GOOD
    assert found.what.startswith("sqlite, can be asked")


async def test_one_that_is_down_is_a_fault() -> None:
    for url in ("sqlite:////nowhere/shop.db", "redis://127.0.0.1:1", "mysql://u@127.0.0.1:1/d"):
        (found,) = await looked_at(url=url)
        assert found.level is Level.FAULT
        assert "what policy asks of it fails" in found.what


async def test_a_password_that_others_can_read_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("hunter2")
    path.chmod(0o644)
    (found,) = await looked_at(url="redis://127.0.0.1:1", password_file=path)
    assert found.level is Level.FAULT
    assert "chmod 0600" in found.what
    assert "hunter2" not in found.what
    (unset,) = await looked_at(url="redis://127.0.0.1:1", password_environment="ABSENT")
    assert "ABSENT is not set" in unset.what


def test_it_is_among_the_secret_files(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.touch()
    settings = Settings(
        data_source=({"name": "shop", "url": "redis://127.0.0.1", "password_file": path},)
    ).resolved(tmp_path)
    assert path in secret_files(settings)


async def test_a_file_that_others_may_write_decides_for_them(tmp_path: Path) -> None:
    make_database(tmp_path / "shop.db", 0o666)
    reachable, exposed = await looked_at(url=f"sqlite:///{tmp_path}/shop.db")
    assert (reachable.level, exposed.level) == (Level.GOOD, Level.WARNING)
    assert "may be written by others" in exposed.what


async def test_a_file_in_a_folder_that_is_closed_to_us_is_one_fault_among_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "closed" / "shop.csv"
    before = Path.stat

    def refused(one: Path, *given: Any, **named: Any) -> Any:
        if one == path:
            raise PermissionError(13, "Permission denied", str(path))
        return before(one, *given, **named)

    monkeypatch.setattr(Path, "stat", refused)
    (found,) = await looked_at(url=f"csv:///{path}")
    assert found.level is Level.FAULT
    assert str(path) in found.what


async def test_clear_text_over_a_network_is_warned_of() -> None:
    for url, expected in (
        ("http://source.invalid/", "write https"),
        ("redis://source.invalid", "set tls"),
        ("postgresql://u@source.invalid/d", "set tls"),
    ):
        _, exposed = await looked_at(url=url, connect_seconds=0.2, query_seconds=0.2)
        assert exposed.level is Level.WARNING
        assert expected in exposed.mend
    found = await looked_at(url="redis://source.invalid", tls=True, connect_seconds=0.2, query_seconds=0.2)
    assert [one.level for one in found] == [Level.FAULT]


async def test_a_query_that_the_database_refuses_is_a_fault(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "shop.db")
    database.execute("CREATE TABLE customer (name TEXT, binding TEXT)")
    database.close()
    (tmp_path / "shop.db").chmod(0o600)
    right = {
        "name": "right",
        "text": "SELECT binding FROM customer WHERE name = ?",
        "parameters": ["rcpt_to"],
    }
    wrong = {**right, "name": "wrong", "text": "SELECT bindings FROM customer WHERE name = ?"}
    url = f"sqlite:///{tmp_path}/shop.db"
    reachable, refused = await looked_at(url=url, query=[right, wrong])
    assert (reachable.level, refused.level) == (Level.GOOD, Level.FAULT)
    assert "the query wrong is refused: data source shop: SQLite: no such column: bindings" in refused.what
    assert "--query wrong" in refused.mend
    assert len(await looked_at(url=url, query=[right, wrong], writable=True)) == 1  # it might do something
