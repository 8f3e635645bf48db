"""`outrider explain path` and what `check-config` says of addresses, from files alone."""

import json
import subprocess
from pathlib import Path

import pytest

from outrider.base.exits import Exit
from tests.e2e.outrider_process import PROGRAM

CONFIG = """\
[[shaping.override]]
binding = "news"
max_connections = 3

[[binding]]
name = "news"
source_addresses = ["192.0.2.77"]
ehlo_name = "news.example"

[[net.routes]]
domain = "routed.test"
hosts = ["127.0.0.1:2525"]
name = "smart"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "outrider.toml").write_text(CONFIG, encoding="utf-8")
    return tmp_path


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [*PROGRAM, *arguments, "-c", str(folder / "outrider.toml")]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)


def test_a_path_is_explained_in_words(folder: Path) -> None:
    done = run(folder, "explain", "path", "smtp/news/mx.x.test", "--given")
    assert done.returncode == 0, done.stderr
    [connections] = [line for line in done.stdout.splitlines() if "max_connections" in line]
    assert "│ 3 " in connections
    assert "news::*" in connections
    assert "outrider.toml:3" in connections
    [name] = [line for line in done.stdout.splitlines() if "ehlo_name" in line]
    assert "outrider.toml:8" in name
    assert "retry_jitter" not in done.stdout
    assert "retry_jitter" in run(folder, "explain", "path", "smtp/news/mx.x.test").stdout


def test_a_domain_leads_to_its_path_as_json(folder: Path) -> None:
    done = run(folder, "explain", "path", "--domain", "Routed.TEST", "--binding", "news", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["path"] == "smtp/news/smart"
    values = {row["name"]: row for row in found["values"]}
    assert values["max_connections"]["value"] == "3"
    assert values["max_connections"]["level"] == "binding"
    assert values["ehlo_name"]["option"] == "binding.news.ehlo_name"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), Exit.USAGE, "name a path, or a domain"),
        (("smtp/news/x", "--domain", "x.test"), Exit.USAGE, "name a path, or a domain"),
        (("smtp/news",), Exit.CONFIG, "write CHANNEL/BINDING/SITE"),
        (("--domain", "a..b"), Exit.USAGE, "is no domain"),
        (("smtp/news/x", "--running"), Exit.UNAVAILABLE, "is the server running?"),
    ],
)
def test_what_cannot_be_explained_is_told(
    folder: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = run(folder, "explain", "path", *arguments)
    assert done.returncode == code, done.stderr
    assert said in done.stderr


def test_an_address_of_another_host_is_a_warning(folder: Path) -> None:
    done = run(folder, "check-config")
    assert done.returncode == 0
    assert "warning: binding news: 192.0.2.77 is no address of this host" in done.stderr
    found = json.loads(run(folder, "check-config", "--json").stdout)
    assert found["warnings"] == ["binding news: 192.0.2.77 is no address of this host"]
    assert found["ok"] is True


def test_a_password_of_a_data_source_that_cannot_be_read_is_a_warning(folder: Path) -> None:
    (folder / "outrider.toml").write_text(
        '[[data_source]]\nname = "crm"\nurl = "postgresql://shop@127.0.0.1/crm"\n'
        'password_file = "crm.password"\n',
        encoding="utf-8",
    )
    done = run(folder, "check-config")
    assert done.returncode == 0, done.stderr
    assert "warning: data_source.crm.password_file: " in done.stderr
    (folder / "crm.password").write_text("secret\n")
    (folder / "crm.password").chmod(0o600)
    assert run(folder, "check-config").stderr == ""


def test_a_certificate_that_cannot_be_read_is_a_warning(folder: Path) -> None:
    (folder / "outrider.toml").write_text(
        '[[listener]]\nname = "doors"\ntls = "implicit"\ncertificate = "none.pem"\nprivate_key = "n.key"\n',
        encoding="utf-8",
    )
    done = run(folder, "check-config")
    assert done.returncode == 0
    assert "warning: listener doors: " in done.stderr
    assert "none.pem is not a file; give a PEM file that this user can read" in done.stderr
    [warning] = json.loads(run(folder, "check-config", "--json").stdout)["warnings"]
    assert warning.startswith("listener doors: ")
