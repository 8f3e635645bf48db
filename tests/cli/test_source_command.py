"""`outrider source` as people and machines see it."""

import json
import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner

from outrider.base.exits import Exit
from outrider.cli.main import app, exit_code
from outrider.store.sources.failures import SourceDownError, SourceQueryError

CONFIG = """
[[data_source]]
name = "customers"
url = "sqlite:///shop.db"

[[data_source.query]]
name = "binding"
text = "SELECT binding, note, raw FROM customers WHERE domain = ?"
parameters = ["sender_domain"]

[[data_source]]
name = "away"
url = "postgresql://outrider@127.0.0.1:1/limits"
password_environment = "LIMITS_PASSWORD"
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    database = sqlite3.connect(tmp_path / "shop.db")
    with database:
        database.execute("CREATE TABLE customers (domain TEXT, binding TEXT, note TEXT, raw BLOB)")
        database.execute("INSERT INTO customers VALUES ('shop.example', 'gold', NULL, x'00ff')")
    database.close()
    monkeypatch.setenv("LIMITS_PASSWORD", "hunter2")
    path = tmp_path / "outrider.toml"
    path.write_text(CONFIG)
    return str(path)


def ran(*words: str) -> str:
    result = CliRunner().invoke(app, ["source", *words], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_they_are_listed(config: str) -> None:
    shown = ran("list", "-c", config)
    assert "customers" in shown
    assert "hunter2" not in shown
    customers, away = json.loads(ran("list", "-c", config, "--json"))
    assert (customers["kind"], customers["queries"], customers["writable"]) == ("sqlite", ["binding"], False)
    assert away["url"] == "postgresql://outrider@127.0.0.1:1/limits"


def test_one_is_asked(config: str) -> None:
    assert "customers can be asked" in ran("test", "customers", "-c", config)
    shown = ran("test", "customers", "-c", config, "--query", "binding", "shop.example")
    assert "gold" in shown
    assert "NULL" in shown
    assert "00 ff" in shown
    assert "1 row," in shown
    text = "SELECT count(*) AS n FROM customers WHERE domain = ?"
    found = json.loads(ran("test", "customers", "-c", config, "-q", text, "x'; --", "--json"))
    assert found["rows"] == [{"n": 0}]
    assert "0 rows" in ran("test", "customers", "-c", config, "-q", "binding", "nobody.example")
    assert json.loads(ran("test", "customers", "-c", config, "--json"))["rows"] is None


@pytest.mark.parametrize(
    ("words", "error", "code", "reason"),
    [
        (("customers", "-q", "SELECT nope"), SourceQueryError, Exit.DATA, "no such column"),
        (("customers", "-q", "binding"), SourceQueryError, Exit.DATA, "1 placeholders, but 0"),
        (("customers", "-q", "nope"), SourceQueryError, Exit.DATA, "no query 'nope'; configured: binding"),
        (("nobody",), SourceQueryError, Exit.DATA, "configured: customers, away"),
        (("away",), SourceDownError, Exit.UNAVAILABLE, "no connection to PostgreSQL"),
    ],
)
def test_what_fails_says_why(
    config: str, words: tuple[str, ...], error: type[Exception], code: Exit, reason: str
) -> None:
    with pytest.raises(error, match=reason) as failed:
        CliRunner().invoke(app, ["source", "test", *words, "-c", config], catch_exceptions=False)
    assert exit_code(failed.value) == code  # type: ignore[arg-type]
    assert "hunter2" not in str(failed.value)
