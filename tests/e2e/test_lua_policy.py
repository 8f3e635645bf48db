"""Scripts written for Momentum run unchanged in a running server."""

import shutil
import smtplib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from outrider.privacy import credentials
from outrider.privacy.passwords import Passwords
from tests.e2e.outrider_process import OutriderProcess, ServerError, serving
from tests.e2e.practice import Practice, await_events, copies, events_of, id_in, log_lines, provider, reply_to
from tests.patience import PATIENCE_SECONDS
from tests.peers.processes import wait_until
from tests.wire.dkim.reference import verifies
from tests.wire.dkim.signing import pem, records

WORLD = provider("one", "one.test", "127.30.9.1")

SCRIPTS = Path(__file__).with_name("momentum")
"""As they were written for Momentum."""

CONFIGURATION = """
[policy]
wait_seconds = 300
[[policy.script]]
name = "customer_binding"
source = "customer_binding.lua"
[[policy.script]]
name = "allowance"
source = "allowance.lua"
[[policy.script]]
name = "sign_by_table"
source = "sign_by_table.lua"
[[policy.script]]
name = "shop"
source = "shop.lua"
[[data_source]]
name = "crm"
url = "sqlite:///crm.sqlite"
connect_seconds = 60
query_seconds = 60
[[data_source]]
name = "keys"
url = "sqlite:///crm.sqlite"
connect_seconds = 60
query_seconds = 60
[[binding]]
name = "vip"
ehlo_name = "vip.sender.test"
[[binding]]
name = "shared"
ehlo_name = "shared.sender.test"
"""

CONTENT = b"From: Ann <ann@sender.test>\r\nSubject: %b\r\nX-Customer: %b\r\n\r\nOn its way.\r\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server's, with scripts and database."""
    return filled(tmp_path_factory.mktemp("server"))


def filled(folder: Path) -> Path:
    shutil.copytree(SCRIPTS, folder, dirs_exist_ok=True)
    with sqlite3.connect(folder / "crm.sqlite") as database:
        database.execute("CREATE TABLE customer (id TEXT, binding TEXT)")
        database.executemany("INSERT INTO customer VALUES (?, ?)", [("acme", "vip"), ("odd", "no-such")])
        database.execute("CREATE TABLE dkim (domain TEXT, selector TEXT, pem TEXT)")
        row = ("sender.test", "ed25519", pem("ed25519").decode())
        database.execute("INSERT INTO dkim VALUES (?, ?, ?)", row)
    database.close()
    return folder


@pytest.fixture(scope="module")
def server(storing: Practice, folder: Path) -> Iterator[OutriderProcess]:
    with running(storing, folder, CONFIGURATION) as server:
        yield server


@pytest.fixture(scope="module")
def hasty(storing: Practice, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OutriderProcess]:
    """The same server, whose hooks may wait for a moment only."""
    policy = CONFIGURATION.replace("wait_seconds = 300", "wait_seconds = 0.5")
    with running(storing, filled(tmp_path_factory.mktemp("hasty")), policy) as server:
        yield server


@contextmanager
def running(storing: Practice, folder: Path, policy: str) -> Iterator[OutriderProcess]:
    users = folder / "users.toml"
    passwords = Passwords(time_cost=1, memory_kib=8)
    user = credentials.User("joe", passwords.hash("long enough"), "lab", frozenset({"sender.test"}))
    passwords.close()
    credentials.add_user(users, user)
    text = storing.configuration(more=policy, users_file=users)
    text = text.replace("trusted_networks", "auth_without_tls = true\ntrusted_networks", 1)
    text = text.replace("[[http]]", "[listener.limits]\nidle_commands = 20_000\n\n[[http]]", 1)
    with serving(folder, text) as server:
        yield server


def handed_in(server: OutriderProcess, subject: str = "order", customer: str = "acme") -> tuple[int, str]:
    """The reply to a message."""
    return reply_to(server, CONTENT % (subject.encode(), customer.encode()))


def id_of(reply: tuple[int, str]) -> str:
    """Of a message that was taken."""
    assert reply[0] == 250, reply
    return id_in(reply[1])


def received(store: Path, message_id: str) -> bytes:
    [found] = copies(store, message_id)
    return found


@pytest.mark.parametrize(("customer", "binding"), [("acme", "vip"), ("nobody", "shared"), ("odd", "shared")])
def test_the_database_says_which_binding_sends(server: OutriderProcess, customer: str, binding: str) -> None:
    message_id = id_of(handed_in(server, customer=customer))
    [event] = await_events(server, 1, "delivery", message_id=message_id)
    assert event["binding"] == binding


def test_the_database_says_which_key_signs(server: OutriderProcess, store: Path) -> None:
    message_id = id_of(handed_in(server))
    await_events(server, 1, "delivery", message_id=message_id)
    message = received(store, message_id)
    assert verifies(message, records("ed25519"))
    assert b"\r\nX-Marked: v1\r\n" in message


def test_scripts_say_what_ehlo_announces(server: OutriderProcess) -> None:
    with smtplib.SMTP("127.0.0.1", server.ports["smtp"], timeout=PATIENCE_SECONDS) as client:
        client.ehlo("client.test")
        assert client.esmtp_features["xpractice"] == "one"
        assert client.has_extn("pipelining")
        assert not client.has_extn("chunking")


def test_scripts_know_both_ends_of_a_connection(server: OutriderProcess, store: Path) -> None:
    with smtplib.SMTP("127.0.0.1", server.ports["smtp"], timeout=PATIENCE_SECONDS) as client:
        assert client.sock is not None
        ours = client.sock.getsockname()[1]
        client.ehlo("client.test")
        client.mail("ann@sender.test")
        client.rcpt("joe@one.test")
        code, text = client.data(CONTENT % (b"ends", b"acme"))
    message_id = id_of((code, text.decode()))
    await_events(server, 1, "delivery", message_id=message_id)
    message = received(store, message_id)
    assert b"\r\nX-Ends: 127.0.0.1:%d 127.0.0.1:%d\r\n" % (ours, server.ports["smtp"]) in message
    assert b"\r\nX-Relay: true\r\n" in message


def test_a_user_who_used_up_his_allowance_hears_so(server: OutriderProcess) -> None:
    def asked(client: smtplib.SMTP, count: int) -> list[bytes]:
        """The replies to so many MAIL."""
        assert client.sock is not None
        reader = client.sock.makefile("rb")
        found = []
        for at in range(0, count, 100):
            client.sock.sendall(b"MAIL FROM:<a@sender.test>\r\nRSET\r\n" * min(100, count - at))
            for _ in range(min(100, count - at)):
                found.append(reader.readline())
                assert (line := reader.readline()).startswith(b"250 "), (found[-3:], line)
        return found

    def login() -> smtplib.SMTP:
        client = smtplib.SMTP("127.0.0.1", server.ports["smtp"], timeout=PATIENCE_SECONDS)
        client.login("joe", "long enough")
        return client

    with login() as client:
        replies = asked(client, 5_001)
    assert all(reply.startswith(b"250 ") for reply in replies[:5_000])
    assert replies[5_000] == b"451 4.7.1 hourly allowance used up\r\n"
    for _ in range(4):  # whichever worker has the connection
        with login() as client:
            assert asked(client, 1) == [b"451 4.7.1 hourly allowance used up\r\n"]
    assert handed_in(server)[0] == 250  # nobody's allowance


def test_what_a_hook_sets_is_heard_in_the_session(server: OutriderProcess) -> None:
    with smtplib.SMTP("127.0.0.1", server.ports["smtp"], timeout=PATIENCE_SECONDS) as client:
        assert client.docmd("EHLO", "bad.test") == (550, b"5.7.1 not you")
        assert client.ehlo("client.test")[0] == 250
        assert client.mail("ann@sender.test")[0] == 250
        assert client.rcpt("nobody@one.test") == (550, b"5.1.1 nobody")
        assert client.rcpt("joe@one.test")[0] == 250
        client.rset()
        assert client.mail("gone@sender.test")[0] == 421
        assert client.file is not None
        assert client.file.readline() == b""


@pytest.mark.parametrize(
    ("subject", "code", "kind"),
    [
        ("raise", 421, "ScriptError"),
        ("spin", 421, "BudgetError"),
    ],
)
def test_a_hook_that_fails_costs_no_message(
    server: OutriderProcess, subject: str, code: int, kind: str
) -> None:
    assert handed_in(server, subject)[0] == code
    wait_until(
        lambda: ["shop", "each_rcpt", kind] in [failure[:3] for failure in failures(server)],
        "an event of the failure",
    )
    if subject == "raise":
        shop = (SCRIPTS / "shop.lua").read_text(encoding="utf-8")
        [line] = [at for at, text in enumerate(shop.splitlines(), 1) if "as asked" in text]
        assert ["shop", "each_rcpt", kind, line] in failures(server)


@pytest.mark.parametrize("subject", ["wait", "again"])
def test_a_hook_that_waits_too_long_costs_no_message(hasty: OutriderProcess, subject: str) -> None:
    def too_slow() -> int:
        return [failure[:3] for failure in failures(hasty)].count(["shop", "each_rcpt", "TooSlowError"])

    def is_told() -> bool:  # where the machine stands still, a hook before it may be too slow as well
        assert handed_in(hasty, subject)[0] == 451
        return too_slow() > before

    before = too_slow()
    wait_until(is_told, "an event of the failure")


def failures(server: OutriderProcess) -> list[list[object]]:
    """Script, phase, kind and line of each failure."""
    fields = [each["fields"] for each in events_of(server, "notice") if each["name"] == "policy.failed"]
    return [[each["script"], each["phase"], each["reason"], each["line"]] for each in fields]


def test_a_discarded_message_is_never_sent(server: OutriderProcess) -> None:
    message_id = id_of(handed_in(server, "discard"))
    wait_until(lambda: server.command("queue", "count")["count"] == 0, "nothing waits")
    assert events_of(server, "delivery", message_id=message_id) == []


def test_a_message_that_a_hook_sends_goes_out_too(server: OutriderProcess, store: Path) -> None:
    message_id = id_of(handed_in(server, "copy"))
    await_events(server, 1, "delivery", message_id=message_id)
    wait_until(
        lambda: any(each["recipient"] == "archive@one.test" for each in events_of(server, "delivery")),
        "the copy is delivered",
    )


def test_a_reload_takes_other_scripts_and_keeps_the_old_ones_on_an_error(
    storing: Practice, tmp_path: Path, store: Path
) -> None:
    shutil.copytree(SCRIPTS, tmp_path, dirs_exist_ok=True)
    more = "".join(
        f'[[policy.script]]\nname = "{name}"\nsource = "{name}.lua"\n' for name in ("shop", "timer")
    )
    with serving(tmp_path, storing.configuration(more=more)) as running:
        reloaded(running, tmp_path / "lib" / "shop.lua", store)


def printed(server: OutriderProcess, text: str) -> int:
    """How often scripts printed a text."""
    return sum(each["text"] == text for each in log_lines(server, "policy.print"))


def reloaded(server: OutriderProcess, library: Path, store: Path) -> None:
    """Reload with a change, and with a fault."""
    wait_until(lambda: printed(server, "three ticks") == 2, "a timer in each worker")
    text = library.read_text(encoding="utf-8")
    library.write_text(text.replace("v1", "v2"), encoding="utf-8")
    with smtplib.SMTP("127.0.0.1", server.ports["smtp"], timeout=PATIENCE_SECONDS) as old:
        old.ehlo("client.test")
        assert old.mail("ann@sender.test")[0] == 250
        server.command("reload")
        message_id = id_of(handed_in(server))
        old.rcpt("joe@one.test")
        code, said = old.data(CONTENT % (b"old", b"acme"))
    old_id = id_of((code, said.decode()))
    for each in (message_id, old_id):
        await_events(server, 1, "delivery", message_id=each)
    assert b"\r\nX-Marked: v2\r\n" in received(store, message_id)
    assert b"\r\nX-Marked: v1\r\n" in received(store, old_id)
    wait_until(lambda: printed(server, "no more ticks") == 2, "the old scripts end")
    wait_until(lambda: printed(server, "three ticks") == 4, "the new ones have timers of their own")
    library.write_text("function mark(", encoding="utf-8")
    with pytest.raises(ServerError, match="exit 78"):
        server.command("reload")
    with pytest.raises(ServerError, match="exit 78"):
        server.command("check-config")
    message_id = id_of(handed_in(server))
    await_events(server, 1, "delivery", message_id=message_id)
    assert b"\r\nX-Marked: v2\r\n" in received(store, message_id)
