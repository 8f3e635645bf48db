"""`outrider policy …` as a person or a program uses it: scripts are tried out without a server."""

import asyncio
import json
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import lupa.luajit21  # type: ignore[import-untyped]
import msgspec
import pytest
from typer.testing import CliRunner

from outrider.base.errors import ConfigError, StoreError
from outrider.cli.main import app
from outrider.model.hooks import HookPhase
from outrider.policy.lua.api.coverage import Status
from outrider.policy.lua.api.packages import ROWS
from outrider.policy.lua.api.signatures import SIGNATURES
from outrider.policy.lua.hook_names import LIFE
from outrider.policy.surroundings import HERE
from outrider.policy.traces import Trace
from outrider.store.sources.source import Source

SCRIPT = """\
import asyncio
from outrider.policy.api import DONE, Refuse, SignRequest, source

def connect(connection):
    connection.context["seen"] = connection.client
    connection.context.keep_secret("token")
    connection.context["token"] = "hush"

def auth(connection, user, is_valid):
    if user == "evil":
        return Refuse(535, "5.7.8 Not you")

def rcptto(connection, recipient):
    if recipient.startswith("nobody@"):
        return Refuse(550, "5.1.1 Nobody")

def data(mail):
    mail.context["customer"] = mail.connection.context.get("customer", "none")
    if mail.header("X-Raise"):
        raise KeyError("hush")
    mail.message.header.set("Subject", "changed")

async def each_rcpt(mail):
    await asyncio.sleep(0)
    if mail.rcpt_to.startswith("moved@"):
        mail.rcpt_to = "new@two.test"
        mail.routing_domain = "mx.two.test"

async def set_binding(mail):
    customer = mail.context.get("customer")
    rows = await source("crm").fetch("SELECT binding FROM customer WHERE id = ?", (customer,))
    for row in rows:
        mail.binding = row["binding"]
    mail.priority = 1
    return DONE
"""
MESSAGE = b"From: a@shop.test\nSubject: hello\nX-Long: one\n two\n\nHello\n"


class Site:
    """A configuration with scripts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "outrider.toml"
        (folder / "shop.py").write_text(SCRIPT, encoding="utf-8")
        with closing(sqlite3.connect(folder / "crm.db")) as database:
            database.execute("CREATE TABLE customer (id TEXT, binding TEXT)")
            database.execute("INSERT INTO customer VALUES ('42', 'vip')")
            database.commit()
        self.configure("shop")
        (folder / "letter.eml").write_bytes(MESSAGE)

    def configure(self, *scripts: str, more: str = "") -> None:
        tables = "".join(f'[[policy.script]]\nname = "{name}"\nsource = "{name}.py"\n' for name in scripts)
        self.config.write_text(
            f'[server]\nstate_directory = "{self.folder}/state"\n[[listener]]\nname = "smtp"\nport = 2525\n'
            '[[http]]\nname = "api"\nport = 8025\n[[binding]]\nname = "vip"\n'
            f'[[data_source]]\nname = "crm"\nurl = "sqlite:///{self.folder}/crm.db"\n{more}{tables}',
            encoding="utf-8",
        )

    def run(self, *words: str, code: int = 0, given: bytes | None = None) -> str:
        words = ("policy", *words, "-c", str(self.config))
        result = CliRunner().invoke(app, words, input=given, catch_exceptions=False)
        assert result.exit_code == code, result.output
        return result.output

    def json(self, *words: str, code: int = 0, given: bytes | None = None) -> Any:
        return json.loads(self.run(*words, "--json", code=code, given=given))

    def letter(self, *words: str, code: int = 0) -> Any:
        return self.json("test", str(self.folder / "letter.eml"), *words, code=code)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_check_lists_which_hooks_there_are(site: Site) -> None:
    assert site.json("check") == [
        {
            "script": "shop",
            "file": str(site.folder / "shop.py"),
            "phases": ["connect", "auth", "rcptto", "data", "each_rcpt", "set_binding"],
        }
    ]
    table = site.run("check")
    assert "set_binding" in table
    assert "mailfrom" not in table
    site.configure()
    assert site.json("check") == []
    assert "no scripts" in site.run("check")


def test_check_names_every_fault_with_file_and_line(site: Site) -> None:
    (site.folder / "one.py").write_text("def data(: pass\n", encoding="utf-8")
    (site.folder / "two.py").write_text("\ndef data(): pass\n", encoding="utf-8")
    site.configure("one", "shop", "two")
    with pytest.raises(ConfigError) as error:
        site.run("check")
    assert [Path(fault.split(": ")[0]).name for fault in error.value.faults] == ["one.py:1", "two.py:2"]


def test_each_decision_is_shown_with_its_script_line_and_changes(site: Site) -> None:
    found = site.letter("--to", "moved@one.test", "--to", "ann@two.test", "--context", "customer=42")
    assert found["accepted"]
    decisions = found["decisions"]
    assert [(each["phase"], each["recipient"]) for each in decisions] == [
        ("connect", ""),
        ("rcptto", ""),
        ("rcptto", ""),
        ("data", ""),
        ("each_rcpt", "new@two.test"),
        ("set_binding", "new@two.test"),
        ("each_rcpt", "ann@two.test"),
        ("set_binding", "ann@two.test"),
    ]
    assert {each["script"] for each in decisions} == {"shop"}
    lines = SCRIPT.splitlines()

    def line(text: str) -> int:
        [number] = [at for at, each in enumerate(lines, 1) if text in each]
        return number

    assert decisions[0]["changes"] == [
        {"what": "connection note seen", "before": "", "after": "127.0.0.1", "line": line('["seen"]')},
        {"what": "connection note token", "before": "", "after": "(secret)", "line": line('["token"]')},
    ]
    assert {"what": "note customer", "before": "", "after": "42", "line": line('["customer"] = mail')} in (
        decisions[3]["changes"]
    )
    [header] = [each for each in decisions[3]["changes"] if each["what"] == "header"]
    assert (header["before"], header["after"]) == ("Subject: hello", "Subject: changed")
    assert header["line"] == line('header.set("Subject"')
    moved = {each["what"]: (each["before"], each["after"], each["line"]) for each in decisions[4]["changes"]}
    assert moved["recipients"][:2] == ("moved@one.test", "new@two.test")
    assert moved["routing_domain"] == ("one.test", "mx.two.test", line('= "mx.two.test"'))
    bound = {each["what"]: (each["before"], each["after"], each["line"]) for each in decisions[5]["changes"]}
    assert bound["binding"] == ("default", "vip", line('row["binding"]'))
    assert bound["priority"] == ("0", "1", line("mail.priority = 1"))
    assert (decisions[5]["answer"], decisions[5]["line"]) == ("done", line("return DONE"))
    assert all(each["seconds"] >= 0 for each in decisions)
    [message] = found["messages"]
    assert message["notes"] == {"customer": "42"}
    assert [(each["recipient"], each["binding"]) for each in message["deliveries"]] == [
        ("new@two.test", "vip"),
        ("ann@two.test", "vip"),
    ]


def test_the_same_for_people(site: Site) -> None:
    text = site.run(
        "test", str(site.folder / "letter.eml"), "--to", "moved@one.test", "--context", "customer=42"
    )
    assert "header: - Subject: hello  + Subject: changed (line" in text
    assert "binding: default → vip (line" in text
    assert "to new@two.test by vip, to the exchangers of mx.two.test first" in text
    assert "hush" not in text


def test_a_message_comes_from_standard_input_and_by_http(site: Site) -> None:
    found = site.json("test", "-", "--listener", "api", "--to", "joe@one.test", given=MESSAGE)
    assert [each["phase"] for each in found["decisions"]] == ["each_rcpt", "set_binding"]


def test_refusals_and_failures_have_their_exit_codes(site: Site) -> None:
    found = site.letter("--to", "nobody@one.test", "--to", "joe@one.test", code=1)
    assert found["refused_recipients"] == [{"recipient": "nobody@one.test", "reply": "550 5.1.1 Nobody"}]
    assert [each["recipient"] for each in found["messages"][0]["deliveries"]] == ["joe@one.test"]
    found = site.letter("--to", "nobody@one.test", code=1)
    assert (found["accepted"], found["refused_in"], found["messages"]) == (False, "rcptto", [])
    found = site.letter("--user", "evil", code=1)
    assert (found["refusal"], found["refused_in"]) == ("535 5.7.8 Not you", "auth")
    found = site.json("test", "-", given=b"X-Raise: yes\n\nx\n", code=70)
    [failure] = found["failures"]
    assert failure.startswith("shop:20: data: KeyError")
    assert "hush" not in json.dumps(found)


def test_what_is_said_wrongly_is_told(site: Site) -> None:
    for words in (("--listener", "no-such"), ("--context", "no-equals"), ("--note", "=x")):
        assert "Invalid value" in site.run("test", "-", *words, code=2, given=b"x")


def test_a_hook_that_waits_too_long_is_a_decision_with_its_line(site: Site) -> None:
    (site.folder / "slow.py").write_text(
        "import asyncio\n\nasync def data(mail):\n    mail.context['at'] = 'work'\n"
        "    await asyncio.sleep(60)\n",
        encoding="utf-8",
    )
    site.configure("slow", more="[policy]\nwait_seconds = 0.05\n")
    found = site.letter("--to", "joe@one.test", code=70)
    [decision] = found["decisions"]
    assert (decision["script"], decision["line"]) == ("slow", 5)
    assert decision["failure"] == "it waited longer than 0.05 s"
    assert [each["what"] for each in decision["changes"]] == ["note at"]
    assert found["failures"] == ["slow:5: data: it waited longer than 0.05 s"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--to", "nobody"), "no address"),
        (("--from", "a@b@c"), "no address"),
        (("--client", "here"), "here"),
        (("--context", "customer"), "KEY=VALUE"),
    ],
)
def test_what_is_asked_for_wrongly_is_no_failure_of_a_script(
    site: Site, words: tuple[str, ...], said: str
) -> None:
    assert said in site.run("test", str(site.folder / "letter.eml"), *words, code=2)


def test_a_refusal_where_nothing_is_refused_is_told(site: Site) -> None:
    (site.folder / "late.py").write_text(
        "from outrider.policy.api import Refuse\ndef set_binding(mail):\n    return Refuse(550, 'late')\n",
        encoding="utf-8",
    )
    site.configure("late")
    text = site.run("test", str(site.folder / "letter.eml"), "--to", "joe@one.test", code=70)
    assert "Failed: late:2: set_binding: nothing can be refused in this phase" in text


def test_a_hook_that_catches_its_end_does_not_keep_the_command(site: Site) -> None:
    (site.folder / "stuck.py").write_text(
        "import asyncio\nasync def data(mail):\n    while True:\n        try:\n"
        "            await asyncio.sleep(60)\n        except BaseException:\n            pass\n",
        encoding="utf-8",
    )
    site.configure("stuck", more="[policy]\nwait_seconds = 0.05\n")
    words = ["policy", "test", "letter.eml", "--to", "joe@one.test", "-c", str(site.config)]
    done = subprocess.run(
        [sys.executable, "-m", "outrider.cli.main", *words],
        cwd=site.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 70, done.stderr
    assert "data stuck:2: failed: it waited longer than 0.05 s" in done.stdout


def test_nothing_of_the_process_is_left_changed(site: Site) -> None:
    before = HERE.sources, HERE.keys
    site.letter()
    assert (HERE.sources, HERE.keys) == before
    assert sys.getprofile() is None
    assert not (site.folder / "state").exists()


def test_traces_are_counted_and_shown(site: Site) -> None:
    traces = [
        Trace(recipients=["joe@one.test"], header="X: y\n", context={"customer": "42"}, id="1" * 18),
        Trace(recipients=["nobody@one.test"]),
        Trace(recipients=["ann@two.test", "nobody@one.test"], mail_from="a@b.test"),
        Trace(recipients=["joe@one.test"], listener="api", protocol="HTTP"),
    ]
    octets = b"\n\n".join(msgspec.json.encode(each) for each in traces)
    found = site.json("run-trace", "-", given=octets)
    assert (found["messages"], found["accepted"], found["refused"], found["failed"]) == (4, 3, 1, 0)
    assert {"script": "shop", "phase": "set_binding", "decision": "done, binding → vip", "times": 1} in (
        found["decisions"]
    )
    found = site.json("run-trace", "-", "--all", given=octets)
    assert len(found["each"]) == 4
    assert "4 messages: 3 accepted, 1 refused, 0 with failures" in site.run("run-trace", "-", given=octets)
    site.json(
        "run-trace",
        "-",
        code=1,
        given=msgspec.json.encode(Trace(recipients=["a@b.test"], header="X-Raise: y")),
    )


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"{}", "recipients"),
        (b'{"recipients": []}', "Expected"),
        (b'{"recipients": ["a@b.test"], "recipent": 1}', "unknown field `recipent`"),
        (b'{"recipients": ["no address"]}', "is no address"),
        (b'{"recipients": ["a@b.test"], "mail_from": "x"}', "is no address"),
        (b"[" * 100_000, "is no trace"),
        (b"\xff", "is no trace"),
    ],
)
def test_a_line_that_is_no_trace_is_named(site: Site, line: bytes, why: str) -> None:
    good = msgspec.json.encode(Trace(recipients=["a@b.test"]))
    with pytest.raises(StoreError, match=f"^-:3: .*{why}"):
        site.run("run-trace", "-", given=good + b"\n\n" + line + b"\n")


def test_what_was_received_is_recorded_from_events(site: Site) -> None:
    events = site.folder / "state" / "events"
    events.mkdir(parents=True)
    common = {
        "type": "reception",
        "time": "2026-11-29T10:00:00Z",
        "message_id": "1" * 18,
        "mail_from": "t1.abc@shop.test",
        "tenant": "acme",
        "stream": "news",
        "listener": "smtp",
        "protocol": "ESMTPA",
        "client": "192.0.2.1",
        "principal": "shop",
        "metadata": {"order": "5"},
    }
    rows = [
        common | {"recipient": "t1.xyz@one.test", "entry": 1},
        common | {"recipient": "a***@two.test", "entry": 2},
        common | {"recipient": "", "entry": 3},
        common | {"message_id": "2" * 18, "protocol": "internal", "recipient": "b@c.test", "entry": 4},
        {"type": "delivery", "message_id": "1" * 18, "time": "2026-11-29T10:00:01Z"},
    ]
    lines = b"".join(msgspec.json.encode(each) + b"\n" for each in rows)
    (events / "1.jsonl").write_bytes(lines)
    output = site.run("record")
    [trace] = [msgspec.json.decode(line, type=Trace) for line in output.splitlines()]
    assert trace.recipients == ["t1.xyz@one.test", "a***@two.test"]
    assert (trace.user, trace.tenant, trace.notes, trace.header) == ("shop", "acme", {"order": "5"}, "")
    assert site.json("record") == [msgspec.to_builtins(trace)]
    assert site.json("run-trace", "-", given=output.encode())["accepted"] == 1


LUA = """\
require("msys.core")
local mod = {}
function mod:validate_data_spool_each_rcpt(msg, ac, vctx)
  msg:header("X-Lua", "yes")
  return msys.core.VALIDATE_CONT
end
function mod:validate_set_binding(msg)
  msg:binding("vip")
  return msys.core.VALIDATE_CONT
end
msys.registerModule("shop", mod)
"""


def test_scripts_in_lua_are_tried_out_in_the_same_way(site: Site) -> None:
    (site.folder / "shop.lua").write_text(LUA, encoding="utf-8")
    text = site.config.read_text(encoding="utf-8").replace("shop.py", "shop.lua")
    site.config.write_text(text, encoding="utf-8")
    [script] = site.json("check")
    assert script["phases"] == ["each_rcpt", "set_binding"]
    found = site.letter("--to", "joe@one.test")
    changes = [
        (each["what"], each["after"]) for decision in found["decisions"] for each in decision["changes"]
    ]
    assert changes == [("header", "X-Lua: yes"), ("binding", "vip")]


LUA_LINES = """\
local mod = {}
local function refuse(vctx)
  vctx:set_code(550, "5.7.1 no")
end
function mod:validate_data(msg, ac, vctx)
  msg:context_set(msys.core.ECMESS_CTX_MESS, "seen", "yes")
  local what = (msg:header("X-What") or {})[1]
  print("asked for", what)
  if what == "refuse" then refuse(vctx) end
  if what == "again" then return msys.core.VALIDATE_AGAIN end
  if what == "wait" then msys.db.fetch_row("crm", "SELECT binding FROM customer") end
  return msys.core.VALIDATE_CONT
end
function mod:core_post_final_validation() end
require("msys.core")
require("msys.db")
msys.registerModule("shop", mod)
"""


@pytest.mark.parametrize(
    ("what", "line", "said"),
    [
        ("nothing", 5, "continue"),  # where the hook begins
        ("refuse", 3, "550 5.7.1 no"),
        ("again", 5, "it waited longer than 0.05 s"),
        ("wait", 11, "it waited longer than 0.05 s"),
    ],
)
def test_lines_of_scripts_in_lua_are_known(
    site: Site, monkeypatch: pytest.MonkeyPatch, what: str, line: int, said: str
) -> None:
    async def never(*_arguments: Any, **_options: Any) -> None:
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(Source, "fetch", never)
    monkeypatch.setattr(Source, "peek", lambda *_arguments: None)
    (site.folder / "shop.lua").write_text(LUA_LINES, encoding="utf-8")
    site.configure("shop", more="[policy]\nwait_seconds = 0.05\n")
    text = site.config.read_text(encoding="utf-8").replace("shop.py", "shop.lua")
    site.config.write_text(text, encoding="utf-8")
    (site.folder / "letter.eml").write_bytes(f"From: a@shop.test\nX-What: {what}\n\nHello\n".encode())
    found = site.letter("--to", "joe@one.test", code={"nothing": 0, "refuse": 1}.get(what, 70))
    [decision] = found["decisions"]
    assert (decision["line"], decision["answer"] or decision["failure"]) == (line, said)
    assert [(each["what"], each["line"]) for each in decision["changes"]] == [("note seen", 6)]
    assert f"print: asked for\t{what}" in found["log"]
    assert any("policy.hook_not_asked" in each for each in found["log"])


def test_stubs_hold_a_script_to_its_types(tmp_path: Path) -> None:
    stub = CliRunner().invoke(app, ["policy", "stubs"]).output
    (tmp_path / "outrider_hooks.pyi").write_text(stub, encoding="utf-8")
    (tmp_path / "good.py").write_text(
        "from outrider_hooks import DataHook, Mail, SetBindingHook\n"
        "def data(mail: Mail) -> None:\n"
        "    mail.context['size'] = str(mail.size)\n"
        "    mail.message.header.set('X-Id', mail.id)\n"
        "async def set_binding(mail: Mail) -> None:\n    mail.binding = 'vip'\n"
        "async def look(mail: Mail) -> str:\n    await mail.add_results()\n"
        "    return (await mail.check()).dmarc.word\n"
        "one: DataHook = data\nother: SetBindingHook = set_binding\n",
        encoding="utf-8",
    )
    (tmp_path / "bad.py").write_text(
        "from outrider_hooks import Mail\n"
        "def data(mail: Mail) -> None:\n    mail.size = 5\n    mail.bindng = 'vip'\n"
        "    mail.priority = 'high'\n    mail.check().dmarc\n",
        encoding="utf-8",
    )
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--python-executable",
            sys.executable,
            "--no-incremental",
            "good.py",
            "bad.py",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    faults = [line for line in result.stdout.splitlines() if ": error:" in line]
    assert [line.split(": error:")[0] for line in faults] == [
        "bad.py:3",
        "bad.py:4",
        "bad.py:5",
        "bad.py:6",
    ], result.stdout


def test_stubs_of_lua_name_every_hook() -> None:
    stub = CliRunner().invoke(app, ["policy", "stubs", "--language", "lua"]).output
    module = stub.partition("---@class PolicyModule")[2].partition("\n\n")[0]
    also = ("validate_rcptto_list_final", *LIFE)
    assert module.count("---@field ") == len(HookPhase) + len(also)
    assert all(f"---@field {name}? fun(self: PolicyModule" in module for name in also)
    assert "core_validate_auth? fun(self: PolicyModule, vctx: ValidateContext, auth_info: table" in stub
    assert "validate_rcptto? fun(self: PolicyModule, msg: EcMessage, str: string, ac: Accept" in stub


def _types_of(stub: str) -> list[str]:
    """What stands for types of arguments and results."""
    found = re.findall(r"^---@(?:param [\w.?]+|return) (.+)$", stub, re.MULTILINE)
    return [*found, *re.findall(r"^---@overload (.+)$", stub, re.MULTILINE)]


def test_stubs_of_lua_have_every_function_and_say_what_differs() -> None:
    stub = CliRunner().invoke(app, ["policy", "stubs", "--language", "lua"]).output
    named = {
        "EcMessage": "msg",
        "Accept": "ac",
        "ValidateContext": "vctx",
        "MessagePart": "msgpart",
    }
    functions = set()
    for line in stub.splitlines():
        if line.startswith("function "):
            whole = line.removeprefix("function ").partition("(")[0]
            owner, mark, name = whole.rpartition(":" if ":" in whole else ".")
            functions.add(f"{named.get(owner, owner.lower() if mark == ':' else owner)}{mark}{name}")
    fields = {name for name in ROWS if name.startswith(("msg.", "ac.", "msgpart."))}
    assert functions == set(ROWS) - fields
    assert stub.count("---@deprecated") == sum(
        row.status is Status.NOT_CARRIED_OVER for name, row in ROWS.items() if name not in fields
    )
    assert SIGNATURES.keys() == {
        name for name, row in ROWS.items() if row.status is not Status.NOT_CARRIED_OVER and name not in fields
    }
    group = "---@param name? string\n---@return string?\nfunction EcMessage:binding_group(name) end\n"
    assert f"Works in set_binding, final_validation.\n{group}" in stub
    assert (
        "---@return boolean\n---@return string?\nfunction msys.db.execute(cache, sql, params, options) end"
        in stub
    )
    assert "---@field remote_addr string Works in any hook.\n" in stub
    classes = set(re.findall(r"---@class (\w+)", stub))
    used = re.findall(r"\b[A-Z][A-Za-z]*[a-z]\b", " ".join(_types_of(stub)))
    assert set(used) <= classes, set(used) - classes
    assert "---@field VALIDATE_CONT integer" in stub
    lua = lupa.luajit21.LuaRuntime()
    lua.execute(stub)
    assert lua.eval("type(msys.db.fetch_row)") == "function"


WAY_OUT = """\
from outrider.policy.api import Refuse

def outbound(mail, attempt):
    if mail.rcpt_to.startswith("late"):
        return Refuse(550, "5.7.1 Too late")
    if mail.rcpt_to.startswith("night"):
        attempt.hold_back(60)
        return
    mail.message.header.append("X-Own", mail.rcpt_to)

def response(attempt):
    if attempt.code == 550:
        attempt.disposition = "transient"
        attempt.retry_after(90)

def disposal(attempt):
    attempt.note("end", attempt.ending)
"""


def test_the_way_out_is_tried_too(site: Site) -> None:
    (site.folder / "out.py").write_text(WAY_OUT, encoding="utf-8")
    site.configure("out")
    names = ("late", "night", "joe")
    words = [word for name in names for word in ("--to", f"{name}@one.test")]
    found = site.letter(*words, "--reply", "550 5.1.1 No such user")
    assert [(each["recipient"][:3], each["fate"], each["reply"]) for each in found["leaving"]] == [
        ("lat", "refused", "550 5.7.1 Too late"),
        ("nig", "held back", "451 4.7.1 Held back by policy"),
        ("joe", "transient", "550 5.1.1 No such user"),
    ]
    assert [each["seconds"] for each in found["leaving"]] == [0, 60, 90]
    assert found["leaving"][0]["notes"] == {"end": "bounced"}
    changes = {
        (each["phase"], one["what"], one["line"]) for each in found["decisions"] for one in each["changes"]
    }
    assert changes == {
        ("outbound", "held back", 7),
        ("outbound", "header", 9),
        ("response", "disposition", 13),
        ("response", "tried again", 14),
        ("disposal", "event note end", 17),
    }
    text = site.run("test", str(site.folder / "letter.eml"), "--to", "night@one.test")
    assert "On the way out to night@one.test: held back, for 60 s: 451 4.7.1 Held back by policy" in text
    assert [each["fate"] for each in site.letter("--to", "joe@one.test")["leaving"]] == ["goes"]
    delivered = site.letter("--to", "joe@one.test", "--reply", "250")["leaving"]
    assert [(each["fate"], each["reply"]) for each in delivered] == [("delivered", "250 Ok")]


def test_a_reply_that_is_none_is_refused(site: Site) -> None:
    for text in ("hello", "700 5.0.0 Odd", "550 4.1.1 No"):
        assert "550 5.1.1 No such user" in site.run(
            "test", str(site.folder / "letter.eml"), "--reply", text, code=2
        )
