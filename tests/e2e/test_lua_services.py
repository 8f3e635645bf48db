"""Services of the Lua API in a running server: counts over workers and restarts, timers, requests."""

import json
import smtplib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.outrider_process import OutriderProcess, serving
from tests.e2e.practice import Practice, log_lines, provider
from tests.patience import PATIENCE_SECONDS
from tests.peers.processes import wait_until
from tests.peers.web import QuietHandler, web_server

WORLD = provider("one", "one.test", "127.30.25.1")
CONFIGURATION = """
[policy]
[[policy.script]]
name = "services"
source = "services.lua"
[[data_source]]
name = "crm"
url = "sqlite:///crm.sqlite"
connect_seconds = 60
query_seconds = 60
"""
SCRIPT = """\
require("msys.core") require("msys.extended.message")
require("msys.audit_series") require("msys.counter")
require("msys.cidr") require("msys.db") require("msys.datasource") require("msys.timer")
require("msys.bounce")
require("msys.http.client") require("msys.validate.opendkim") require("opendkim.dkim")
local json = require("json")
local mod = {}

function mod:init()
  msys.audit_series.define("kept", "string", 86400, 2, {persist = true})
  msys.audit_series.define("lost", "string", 86400, 2)
  msys.cidr.define("nets", {type = "datasource", cachename = "crm", query = "SELECT net, name FROM nets",
    value_column = "name"})
  ticks = msys.timer.every(0.02, function() msys.counter.inc("site/ticks") end, "ticks")
  return true
end

function mod:validate_data(msg, ac, vctx)
  local result = json.new()
  for _, name in ipairs({"kept", "lost"}) do
    msys.audit_series.add(name, {key = "ann"})
    result[name] = msys.audit_series.count(name, {key = "ann", startv = 0, endv = 1})
  end
  result.ticks = msys.counter.read("site/ticks")
  result.net = msys.cidr.query("nets")
  local code, symbol = msys.bounce.classify_smtp_response("452 4.2.2 mailbox full", "one.test")
  result.bounce = {code, symbol}
  local dkim, stat = msys.validate.opendkim.verify(msg)
  result.unsigned = stat == opendkim.dkim.DKIM_STAT_NOSIG
  local client = msys.http.client.new()
  client:do_request("GET", (msg:header("X-Url"))[1])
  result.answer = client:get_body()
  vctx:set_code(550, tostring(result))
  return msys.core.VALIDATE_DONE
end

msys.registerModule("services", mod)
"""


class Answers(QuietHandler):
    """Says hello."""

    def do_GET(self) -> None:  # noqa: N802 - http.server's name
        self.say(b"hello")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Where somebody says hello."""
    with web_server(Answers, "/") as found:
        yield found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server's, with script and database."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "services.lua").write_text(SCRIPT, encoding="utf-8")
    with sqlite3.connect(folder / "crm.sqlite") as database:
        database.execute("CREATE TABLE nets (net TEXT, name TEXT)")
        database.execute("INSERT INTO nets VALUES ('127.0.0.0/8', 'ours')")
    database.close()
    return folder


def asked(server: OutriderProcess, url: str) -> dict[str, Any]:
    """What the script found out, which it answers with."""
    with smtplib.SMTP("127.0.0.1", server.ports["smtp"], timeout=PATIENCE_SECONDS) as client:
        client.ehlo("client.test")
        client.mail("ann@sender.test")
        client.rcpt("joe@one.test")
        code, text = client.data(f"From: ann@sender.test\r\nX-Url: {url}\r\n\r\nx\r\n".encode())
    assert code == 550, (text, log_lines(server, "policy.failed"))
    found: dict[str, Any] = json.loads(text.decode().partition(" ")[2])
    return found


def test_services_in_a_server_and_after_its_restart(practice: Practice, folder: Path, url: str) -> None:
    configuration = practice.configuration(more=CONFIGURATION)
    with serving(folder, configuration) as server:
        for number in range(1, 7):  # whichever worker takes it
            found = asked(server, url)
            assert (found["kept"], found["lost"]) == (number, number)
        assert found["net"] == "ours"
        assert found["bounce"] == [22, "BC_SOFT_MAILBOX_FULL"]
        assert found["unsigned"] is True
        assert found["answer"] == "hello"
        before = found["ticks"]
        wait_until(lambda: asked(server, url)["ticks"] > before, "a timer ran")
        last = asked(server, url)["kept"]
        assert log_lines(server, "policy.failed") == []
    with serving(folder, configuration) as server:
        found = asked(server, url)
        assert (found["kept"], found["lost"]) == (last + 1, 1)
