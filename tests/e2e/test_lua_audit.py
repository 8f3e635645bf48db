"""Scripts that ask what the listeners count by network, over two workers, and when one of them dies."""

import signal
import smtplib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.outrider_process import OutriderProcess, serving
from tests.e2e.practice import await_restart, kill_child, log_lines, practising, provider, send
from tests.patience import PATIENCE_SECONDS
from tests.peers.processes import wait_until

WORLD = provider("one", "one.test", "127.30.26.1")
LIMIT = 12

SCRIPT = f"""
require("msys.core") require("msys.audit") require("msys.extended.vctx") require("msys.extended.ac")
local mod = {{}}

function mod:validate_connect(ac, vctx)
  if msys.audit.connections("86400,2", {{cidr = "/32", startv = 0, endv = 1}}) > {LIMIT} then
    vctx:disconnect(421, "4.7.0 too many connections")
    return msys.core.VALIDATE_DONE
  end
  return msys.core.VALIDATE_CONT
end

function mod:validate_mailfrom(str, ac, vctx)
  local a, both = msys.audit, {{cidr = "/24", startv = 0, endv = 1}}
  if tostring(str):find("ask@", 1, true) then
    local found = {{a.connections("86400,2", both), a.receptions("86400,2", both),
      a.rejections("86400,2", both), ac:inbound_session_count("/24")}}
    vctx:set_code(550, "5.7.1 " .. table.concat(found, " "))
  end
  return msys.core.VALIDATE_CONT
end

function mod:validate_rcptto(msg, str, ac, vctx)
  if tostring(str):find("nobody@", 1, true) then vctx:set_code(550, "5.1.1 nobody") end
  return msys.core.VALIDATE_CONT
end

msys.registerModule("audited", mod)
"""
POLICY = """
[policy]
audit_monitors = ["86400,2"]
[[policy.script]]
name = "audited"
source = "audited.lua"
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OutriderProcess]:
    (tmp_path / "audited.lua").write_text(SCRIPT, encoding="utf-8")
    with practising(WORLD) as practice, serving(tmp_path, practice.configuration(more=POLICY)) as server:
        yield server


def connect(stack: ExitStack, server: OutriderProcess) -> smtplib.SMTP:
    """A session of one of the workers, open until the stack ends."""
    client = smtplib.SMTP("127.0.0.1", server.ports["smtp"], timeout=PATIENCE_SECONDS)
    client.ehlo("client.test")
    return stack.enter_context(client)


def asked(client: smtplib.SMTP) -> list[int]:
    """Connections, receptions, rejections and open sessions, as a script sees them."""
    code, text = client.mail("ask@sender.test")
    assert code == 550, text
    return [int(word) for word in text.split()[1:]]


def is_open(client: smtplib.SMTP) -> bool:
    """Its worker lives."""
    try:
        return client.noop()[0] == 250
    except (OSError, smtplib.SMTPServerDisconnected):
        client.close()
        return False


def test_a_script_limits_the_rate_and_sees_what_all_workers_counted(server: OutriderProcess) -> None:
    with ExitStack() as stack:
        clients = [connect(stack, server) for _ in range(6)]  # whichever worker takes it
        found = asked(clients[0])
        assert found == [6, 0, 0, 6]
        clients[1].mail("ann@sender.test")
        assert clients[1].rcpt("nobody@one.test")[0] == 550
        assert asked(clients[2]) == [6, 0, 2, 6]
        clients[3].quit()
        wait_until(lambda: asked(clients[4])[3] == 5, "the end of a session is seen")
        send(server.ports["smtp"], "joe@one.test")
        wait_until(lambda: asked(clients[5])[1] == 1, "a reception is seen")
        wait_until(lambda: asked(clients[0])[3] == 5, "its session has ended")
        assert asked(clients[4])[0] == 7
        for _ in range(LIMIT - 7):
            connect(stack, server)
        rejected = asked(clients[4])[2]
        with pytest.raises(smtplib.SMTPConnectError) as refused:
            connect(stack, server)
        assert refused.value.smtp_code == 421
        # the connection that is turned away, and the answer to the question before
        assert asked(clients[4])[2] == rejected + 2
    assert log_lines(server, "policy.failed") == log_lines(server, "policy.audit_not_counted") == []
    assert server.stop() == 0


def test_sessions_of_a_worker_that_is_killed_are_not_open(server: OutriderProcess) -> None:
    with ExitStack() as stack:
        clients = [connect(stack, server) for _ in range(8)]
        assert asked(clients[0])[3] == 8
        for count, name in enumerate(("worker-0", "worker-1"), 9):
            await_restart(server, name, kill_child(server, name, signal.SIGKILL))
            clients = [client for client in clients if is_open(client)]
            clients.append(connect(stack, server))
            wait_until(lambda: asked(clients[-1])[3] == len(clients), "those that are left")  # noqa: B023 - at once
            assert asked(clients[-1])[0] == count  # what happened stays
