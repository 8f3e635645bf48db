"""Header fields that were given along with a hook say what Python would say of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from outrider.model.hooks import HookPhase
from outrider.policy import python
from outrider.policy.bindings import Bindings
from outrider.policy.connection import Connection
from outrider.policy.lua.api.content import header_values
from outrider.policy.scripted import Scripts
from outrider.wire.message.header import Header
from outrider.wire.message.searchable import SECTION_OCTETS
from tests.policy.acting import BINDINGS, mail_of, submission
from tests.policy.lua.lua_stage import LuaStage, hook, written

ASKS = """
for _, name in ipairs({"From", "subject", "X-A", "x-a-b", "", "X A", "X-A ", "X:A", "X\\n", "No-Such"}) do
  local values = msg:header(name)
  print(name .. "=" .. #values .. ":" .. table.concat(values, "|"))
end
return 0
"""
NAMES = ("From", "subject", "X-A", "x-a-b", "", "X A", "X-A ", "X:A", "X\n", "No-Such")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of fields that Python was asked for."""
    found: list[str] = []
    read = Header.get_octets

    def noted(self: Header, name: str) -> list[bytes]:
        found.append(name)
        return read(self, name)

    monkeypatch.setattr(Header, "get_octets", noted)
    return found


class Asked:
    """A script that reads fields, which has read some before."""

    def __init__(self, folder: Path) -> None:
        self._stage = LuaStage(folder, hook("validate_set_binding", ASKS, "msg"))
        self("From: shop@sender.test\r\n")

    def __call__(self, header: str) -> list[str]:
        del self._stage.log.lines[:]
        plain = header.encode("utf-8", "surrogateescape") + b"\r\nHello\r\n"
        self._stage.decide(submission(plain=plain))
        assert self._stage.told.failures == []
        return self._stage.printed

    def close(self) -> None:
        self._stage.close()


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Asked]:
    made = Asked(tmp_path)
    yield made
    made.close()


def of_python(header: str) -> list[str]:
    """What the script prints when Python answers."""
    read = Header(header.encode("utf-8", "surrogateescape"))
    values = [header_values(read, name) for name in NAMES]
    return [
        f"{name}={len(each)}:{b'|'.join(each).decode('utf-8', 'replace')}"
        for name, each in zip(NAMES, values, strict=True)
    ]


PIECES = st.sampled_from(
    ["a", "B", " ", "\t", ":", "=?", "x-a:", "\r\n ", "\r\n\t", "é", "From:", ".", "\1", "\x7f"]
)
FIELDS = st.builds(
    lambda name, gap, value: f"{name}{gap}:{value}x\r\n",
    st.sampled_from(["From", "FROM", "Subject", "X-A", "x-a", "X-A-B", "X-AB", "To"]),
    st.sampled_from(["", "", "", " ", "\t"]),
    st.lists(PIECES, max_size=6).map("".join),
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@example("From: \t shop@sender.test \t\r\nX-A:\r\n folded\r\n\t again \r\nx-a: twice\r\nX-AB: no\r\n")
@example("Subject:x\r\nX-A: \t \t\r\nX-A:\r\nX-A: a \t\t \t\r\n")
@given(st.lists(FIELDS, min_size=1, max_size=6).map("".join))
def test_they_are_what_python_says(asked: Asked, header: str) -> None:
    assert asked(header) == of_python(header)


PLAIN = "From: shop@sender.test\r\nSubject: a\r\n"


def test_names_that_are_plain_are_not_asked_of_python(asked: Asked, calls: list[str]) -> None:
    asked(PLAIN)
    assert calls[:4] == ["", "X A", "X-A ", "X:A"]


@pytest.mark.parametrize(
    "header",
    [
        "Subject: grüße\r\n",
        "Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\n",
        "Subject : a\r\n",
        "Subject: " + "a" * 900 + "\r\n" + "X-B: b\r\n" * (SECTION_OCTETS // 8),
    ],
    ids=["utf-8", "encoded words", "space", "long"],
)
def test_what_needs_more_than_a_search_is_asked_of_python(
    asked: Asked, calls: list[str], header: str
) -> None:
    assert asked(header) == of_python(header)
    assert calls[:2] == ["From", "subject"]


@pytest.mark.parametrize("name", ["X:A", "A: one\\r\\nX"])
def test_what_is_no_name_is_no_field_s(tmp_path: Path, name: str) -> None:
    stage = LuaStage(tmp_path, hook("validate_set_binding", f'print(#msg:header("{name}")) return 0', "msg"))
    for _ in range(2):
        stage.decide(submission(plain=b"Subject: a\r\nX:A: one\r\nX: two\r\n\r\nHello\r\n"))
    assert stage.printed == ["0", "0"]
    stage.close()


CHANGES = {
    "header": 'msg:header("Subject", "new")',
    "append": 'msg:header("Subject", "new", "prepend")',
    "raw": 'msg:raw("Subject: new\\r\\n\\r\\nHello\\r\\n")',
    "part": 'msg:mime(false):header("Subject", "new")',
    "raw_replace": 'msg:raw_replace("Subject: old", "Subject: new")',
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_is_seen_at_once_and_by_the_next_hook(tmp_path: Path, change: str) -> None:
    """Both hooks have read fields before, so they are given the header along."""
    text = f"""
    local mod = {{}}
    local function subject(msg) return msg:header("Subject")[1] end
    function mod:validate_data(msg, ac, vctx)
      local before = subject(msg)
      {change}
      print(before .. " " .. subject(msg))
      return 0
    end
    function mod:validate_set_binding(msg)
      print(subject(msg))
      return 0
    end
    msys.registerModule("shop", mod)
    """
    stage = LuaStage(tmp_path, text)
    old = submission(plain=b"From: shop@sender.test\r\nSubject: old\r\n\r\nHello\r\n")
    for _ in range(2):
        stage.decide(old)
    assert stage.told.failures == []
    assert stage.printed == ["old new", "new"] * 2
    stage.close()


def test_what_a_hook_was_given_is_gone_with_it(tmp_path: Path) -> None:
    """The second hook reads a field for the first time, after a script in Python has changed it."""
    text = """
    local mod = {}
    function mod:validate_data(msg)
      print(msg:header("Subject")[1])
      return 0
    end
    function mod:validate_set_binding(msg)
      if msg:header("Subject")[1] == "new" then print("seen") end
      return 0
    end
    msys.registerModule("shop", mod)
    """
    stage = LuaStage(tmp_path, text)
    between = "def data_spool(mail):\n    mail.message.header.set('Subject', 'new')\n"
    script = python.load("between", written(tmp_path, "between.py", between), stage.budget)
    door = Scripts([*stage.scripts, script], stage.told, wait_seconds=1.0, bindings=Bindings(BINDINGS))
    old = submission(plain=b"From: shop@sender.test\r\nSubject: old\r\n\r\nHello\r\n")
    stage.scripts[0].open(Connection(old.origin)).call(HookPhase.DATA, mail_of(old))
    session = door.open(old.origin)
    session.decide(old)
    session.close()
    assert stage.told.failures == []
    assert stage.printed == ["old", "old", "seen"]
    stage.close()


async def test_what_a_session_was_given_another_one_does_not_read(tmp_path: Path) -> None:
    """Two sessions wait in turns, between reading the same field."""
    text = hook(
        "validate_data",
        """
        local first = msg:header("Subject")[1]
        msys.sleep(0)
        print(first .. " " .. msg:header("Subject")[1] .. " " .. #msg:header("Received"))
        return 0
        """,
    )
    stage = LuaStage(tmp_path, text)
    letters = [submission(plain=b"Subject: %d\r\n\r\nHello\r\n" % number) for number in range(3)]
    sessions = [stage.open(letter) for letter in letters]
    for _ in range(2):
        waiting = [session.decide(letter) for session, letter in zip(sessions, letters, strict=True)]
        for each in waiting:
            await each  # type: ignore[misc]
    assert stage.told.failures == []
    assert sorted(stage.printed) == ["0 0 0", "0 0 0", "1 1 0", "1 1 0", "2 2 0", "2 2 0"]
    for session in sessions:
        session.close()
    stage.close()


def test_a_message_of_another_hook_is_not_mistaken(tmp_path: Path) -> None:
    """One that the script makes is asked of Python, beside the one that was given along."""
    text = f"""
    require("msys.core")
    {
        hook(
            "validate_data",
            '''
    local made = msys.core.ec_message_new()
    made:header("Subject", "made")
    print(made:header("Subject")[1] .. " " .. msg:header("Subject")[1])
    return 0
    ''',
        )
    }
    """
    stage = LuaStage(tmp_path, text)
    for _ in range(2):
        stage.decide(submission(plain=b"Subject: given\r\n\r\nHello\r\n"))
    assert stage.told.failures == []
    assert stage.printed == ["made given"] * 2
    stage.close()


def test_it_takes_a_message_as_self_only(tmp_path: Path) -> None:
    text = hook("validate_set_binding", 'msg:header("Subject") msg.header(ok, "Subject") return 0', "msg")
    stage = LuaStage(tmp_path, text)
    for _ in range(2):
        stage.decide()
    assert {failure.reason for failure in stage.told.failures} == {
        (
            "bad self for 'msys.core:_ec_message:header': msys.core:_ec_message expected, got nil "
            "(call methods with ':')"
        )
    }
    stage.close()
