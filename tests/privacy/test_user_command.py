"""`outrider user` as a person or a script uses it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from outrider.base.errors import ConfigError, OutriderError, StoreError
from outrider.cli.user import app
from outrider.privacy import credentials
from outrider.privacy.passwords import Passwords


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "users.toml"


def run(*words: str, stdin: str = "") -> str:
    result = CliRunner().invoke(app, list(words), input=stdin, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_login_is_added_changed_listed_and_removed(file: Path) -> None:
    at = ["--file", str(file)]
    run(
        "add",
        "joe",
        "-d",
        "Acme.example",
        "-d",
        ".acme.example",
        "-t",
        "acme",
        "--stdin",
        *at,
        stdin="long enough\n",
    )
    (user,) = credentials.read_credentials(file).users.values()
    assert user.sender_domains == {"acme.example", ".acme.example"}
    passwords = Passwords()
    passwords.close()
    assert passwords.verify(user.password_hash, "long enough")
    run("passwd", "joe", "--stdin", *at, stdin="another one\n")
    (user,) = credentials.read_credentials(file).users.values()
    assert passwords.verify(user.password_hash, "another one")
    listed = run("list", "--json", *at)
    assert "argon2" not in listed
    assert json.loads(listed)["users"] == [
        {"name": "joe", "tenant": "acme", "sender_domains": [".acme.example", "acme.example"]}
    ]
    assert "joe" in run("list", *at)
    assert json.loads(run("remove", "joe", "--json", *at))["user"] == "joe"
    assert credentials.read_credentials(file).users == {}


def test_a_key_is_made_and_revoked(file: Path) -> None:
    at = ["--file", str(file)]
    text = run("key", "create", "web", "-d", "acme.example", *at).strip()
    assert credentials.key_id_of(text) == "web"
    assert credentials.key_id_of(json.loads(run("key", "create", "ci", "--json", *at))["key"]) == "ci"
    assert json.loads(run("list", "--json", *at))["keys"][1]["id"] == "ci"
    run("key", "revoke", "web", *at)
    assert set(credentials.read_credentials(file).keys) == {"ci"}


@pytest.mark.parametrize(
    ("words", "stdin", "kind", "told"),
    [
        (("add", "joe", "--stdin"), "short\n", StoreError, "at least 8"),
        (("passwd", "joe", "--stdin"), "x" * 256 + "\n", StoreError, "at most 255"),
        (("add", "joe", "--stdin", "-d", "no domain"), "long enough\n", ConfigError, "--domain"),
        (("remove", "joe"), "", ConfigError, "no user"),
        (("key", "revoke", "web"), "", ConfigError, "no key"),
    ],
)
def test_mistakes_are_explained(
    file: Path, words: tuple[str, ...], stdin: str, kind: type[OutriderError], told: str
) -> None:
    result = CliRunner().invoke(app, [*words, "--file", str(file)], input=stdin)
    assert isinstance(result.exception, kind)
    assert told in str(result.exception)
    assert not file.exists()


def test_without_a_terminal_a_password_is_not_asked_for(file: Path) -> None:
    result = CliRunner().invoke(app, ["add", "joe", "--file", str(file)], input="long enough\n")
    assert result.exit_code == 2
    assert "--stdin" in result.output
    assert not file.exists()
