"""A reload while mail goes: nothing is dropped or lost, new limits hold, and a fault changes nothing."""

import json
import signal
import smtplib
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509

from outrider.sim.counts import SlidingMax
from tests.e2e.outrider_process import (
    PROGRAM,
    OutriderProcess,
    configuration_for,
    serving,
    start_server,
)
from tests.e2e.practice import (
    DEFERS,
    Practice,
    await_events,
    events_of,
    log_lines,
    pids,
    practising,
    provider,
    queue_is,
    send,
)
from tests.patience import PATIENCE_SECONDS
from tests.peers.processes import free_port, wait_until

WORLD = (
    provider("shut", "shut.test", "127.30.7.3", DEFERS)
    + provider("paced", "paced.test", "127.30.7.1")
    + provider("narrow", "narrow.test", "127.30.7.2", "behaviour = { delay = { body = 0.005 } }")
)


@pytest.fixture
def practice() -> Iterator[Practice]:
    with practising(WORLD) as practice:
        yield practice


def shaping(*, rate: str, connections: int) -> str:
    return (
        f'[[shaping.override]]\nsite = "mx.paced.test"\nmax_message_rate = "{rate}"\n'
        f'[[shaping.override]]\nsite = "mx.narrow.test"\nmax_connections = {connections}\n'
    )


def rewrite(server: OutriderProcess, old: str, new: str) -> None:
    text = server.config.read_text(encoding="utf-8")
    assert old in text
    server.config.write_text(text.replace(old, new), encoding="utf-8")


def outrider(server: OutriderProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [*PROGRAM, *arguments, "-c", str(server.config)]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)


def names(answer: Any, *, needs_restart: bool) -> list[str]:
    return [change["name"] for change in answer["changes"] if change["needs_restart"] is needs_restart]


def test_limits_change_under_load_and_nothing_is_dropped_or_lost(practice: Practice, tmp_path: Path) -> None:
    before, after = shaping(rate="200/second", connections=6), shaping(rate="20/5", connections=1)
    configuration = practice.configuration(workers=2, more=before)
    with serving(tmp_path / "outrider", configuration) as server:
        started = pids(server)
        domains = [("paced.test", 1.0), ("narrow.test", 1.0)]
        load = practice.load(server.ports["smtp"], count=400, run="a", domains=domains, connections=8)
        wait_until(lambda: practice.seen("narrow").recipients > 30, "mail goes")
        with smtplib.SMTP("127.0.0.1", server.ports["smtp"], timeout=PATIENCE_SECONDS) as client:
            client.ehlo("client.test")
            client.mail("shop@sender.test")
            rewrite(server, before, after)
            assert set(names(server.command("config", "diff"), needs_restart=False)) == {
                "shaping.override.0.max_message_rate",
                "shaping.override.1.max_connections",
            }
            answer = server.command("reload")
            practice.seen("paced").recipients_in_window = SlidingMax(5.0)
            assert answer["ok"]
            assert client.rcpt("late@narrow.test")[0] == 250, "a transaction goes on"
            assert client.data(b"Subject: x\r\n\r\nHello\r\n")[0] == 250
        tally = load.result(60)
        assert tally.messages["acknowledged"] == 400
        assert pids(server) == started, "no process was started for it"
        wait_until(lambda: practice.seen("narrow").connections <= 1, "surplus connections end")
        practice.seen("narrow").connections_most = 0
        rewrite(server, 'max_message_rate = "20/5"', 'max_message_rate = "500/second"')
        more = practice.load(
            server.ports["smtp"], count=40, run="b", domains=[("narrow.test", 1.0)], connections=4
        )
        wait_until(lambda: practice.owes_nothing(more.result(60)), "the narrow path's mail was taken")
        assert practice.seen("narrow").connections_most <= 1
        assert practice.seen("paced").recipients_in_window.most <= 20
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: practice.owes_nothing(tally), "all that was acknowledged was taken", 60)
        assert practice.seen("narrow").report()["duplicates"] == 0
        assert practice.seen("paced").report()["duplicates"] == 0
        # on a busy machine there are other notices, of stress
        wait_until(lambda: epochs(server) == [2, 3], "both reloads are told")
        wait_until(lambda: len(audited(server)) == 3, "both are in the audit log")
        by_signal, *by_command = audited(server)
        assert by_signal["actor"] == "signal"
        assert json.loads(by_signal["details"])["changed"] == "shaping.override.0.max_message_rate"
        assert [row["action"] for row in by_command] == ["config.reload.result", "config.reload"]
        assert server.stop() == 0
        assert not log_lines(server, "process.failed")
        assert not log_lines(server, "process.died")


def epochs(server: OutriderProcess) -> list[int]:
    """The reloads that events tell of."""
    notices = [event for event in events_of(server, "notice") if event["name"] == "config.reloaded"]
    return [event["fields"]["epoch"] for event in notices]


def audited(server: OutriderProcess) -> list[Any]:
    """Rows of the audit log about reloads, the newest first."""
    rows: list[Any] = server.command("audit", "list", "--action", "config.reload")
    return rows


def greeting(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as client:
        return client.recv(100)


def listens(port: int) -> bool:
    try:
        return greeting(port).startswith(b"220")
    except ConnectionError:  # who is let in and hears nothing waits for a door that nobody closed
        return False


def test_listeners_come_go_and_change(practice: Practice, tmp_path: Path) -> None:
    first, second, third = free_port(), free_port(), free_port()
    door = '[[listener]]\nname = "second"\nport = {port}\ntrusted_networks = ["127.0.0.0/8"]\n'
    of_the_start = f'[[listener]]\nname = "first"\nport = {first}\n'
    with serving(tmp_path / "outrider", practice.configuration(workers=2, more=of_the_start)) as server:
        assert listens(first)
        rewrite(server, of_the_start, "")
        server.command("reload")
        assert not listens(first)
        (server.folder / "conf.d").mkdir()
        extra = server.folder / "conf.d" / "10-second.toml"
        extra.write_text(door.format(port=second), encoding="utf-8")
        answer = server.command("reload")
        assert "listener.second.port" in names(answer, needs_restart=False)
        assert f"{extra}:3" in {change["origin"] for change in answer["changes"]}
        send(second, "a@narrow.test")

        with smtplib.SMTP("127.0.0.1", second, timeout=PATIENCE_SECONDS) as client:
            client.ehlo("client.test")
            extra.write_text(door.format(port=third), encoding="utf-8")
            server.command("reload")
            send(third, "b@narrow.test")
            assert not listens(second)
            extra.unlink()
            server.command("reload")
            assert not listens(third)
            assert listens(server.ports["smtp"])
            client.sendmail("shop@sender.test", ["c@narrow.test"], b"Subject: x\r\n\r\nHello\r\n")

        rewrite(server, 'trusted_networks = ["127.0.0.0/8"]', "trusted_networks = []")
        server.command("reload")
        with smtplib.SMTP("127.0.0.1", server.ports["smtp"], timeout=PATIENCE_SECONDS) as client:
            client.ehlo("client.test")
            client.mail("shop@sender.test")
            assert client.rcpt("d@narrow.test")[0] == 550
        await_events(server, 3, "delivery")
        assert server.stop() == 0
        assert not log_lines(server, "process.failed")
        assert not log_lines(server, "process.died")


def test_a_fault_changes_nothing_and_a_restart_is_named(practice: Practice, tmp_path: Path) -> None:
    with serving(tmp_path / "outrider", practice.configuration(workers=1)) as server:
        good = server.config.read_text(encoding="utf-8")
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            server.config.write_text(good + f'[[listener]]\nname = "x"\nport = {port}\n', encoding="utf-8")
            refused = outrider(server, "reload")
        assert refused.returncode == 78
        assert f"127.0.0.1:{port} is in use" in refused.stdout

        rewrite(server, 'name = "x"', 'name = "x"\ntls = "starttls"\ncertificate = "no"\nprivate_key = "no"')
        refused = outrider(server, "reload")
        assert refused.returncode == 78
        assert "worker-0 cannot" in refused.stdout

        server.config.write_text(good.replace("workers = 1", "workers = 0\nhostnam = 1"), encoding="utf-8")
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: len(log_lines(server, "config.reload_refused")) == 3, "the signal was heard")
        faults = log_lines(server, "config.reload_refused")[-1]["faults"]
        assert len(faults) == 2
        assert "did you mean hostname?" in " ".join(faults)
        assert outrider(server, "reload").returncode == 78
        assert outrider(server, "status").returncode == 0, "who mends it may look and act meanwhile"

        server.config.write_text(good.replace("workers = 1", "workers = 2"), encoding="utf-8")
        answer = server.command("reload")
        assert names(answer, needs_restart=True) == ["server.workers"]
        assert names(answer, needs_restart=False) == []
        send(server.ports["smtp"], "a@narrow.test")
        await_events(server, 1, "delivery")
        assert events_of(server, "delivery")
        assert len(pids(server)) == 3
        assert server.stop() == 0


@pytest.mark.parametrize(("before", "after"), [(3, 1), (1, 3)])
def test_the_number_of_workers_changes_at_a_restart(
    practice: Practice, tmp_path: Path, before: int, after: int
) -> None:
    """What lies in the logs of workers that are gone is delivered by those that are there."""
    folder = tmp_path / "outrider"
    with serving(folder, practice.configuration(workers=before)) as server:
        load = practice.load(
            server.ports["smtp"],
            count=60,
            domains=[("shut.test", 1.0)],
            connections=12,
            connection_messages=2,
        )
        tally = load.result(60)
        assert tally.messages["acknowledged"] == 60
        logs = {event["id"].split(".")[0] for event in await_events(server, 60, "reception")}
        assert len(logs) == before, "every worker's log holds mail"
        wait_until(queue_is(server, 60), "all of it is queued")
        assert server.stop() == 0
        rewrite(server, f"workers = {before}\n", f"workers = {after}\n")
        assert server.process.stdout is not None
        server.process.stdout.close()
        again = start_server(folder)
        try:
            assert len([name for name in pids(again) if name.startswith("worker")]) == max(before, after)
            assert len(again.command("status")["workers"]) == after
            practice.open("shut")
            wait_until(lambda: practice.owes_nothing(tally), "all that was acknowledged was taken")
            wait_until(queue_is(again, 0), "an empty queue")
            assert practice.seen("shut").report()["duplicates"] == 0
            assert again.stop() == 0
        finally:
            again.kill()
            assert again.process.stdout is not None
            again.process.stdout.close()


def serial_of(port: int) -> int:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE_SECONDS) as client:
        client.starttls(context=context)
        assert isinstance(client.sock, ssl.SSLSocket)
        certificate = client.sock.getpeercert(binary_form=True)
    assert certificate is not None
    return x509.load_der_x509_certificate(certificate).serial_number


def test_certificates_are_read_again(practice: Practice, tmp_path: Path) -> None:
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"

    def renew() -> int:
        issued = trustme.CA().issue_cert("outrider.example.test")
        issued.cert_chain_pems[0].write_to_path(str(certificate))
        issued.private_key_pem.write_to_path(str(key))
        return x509.load_pem_x509_certificate(issued.cert_chain_pems[0].bytes()).serial_number

    first = renew()
    configuration = practice.configuration(workers=2).replace(
        "[[listener]]",
        f'[[listener]]\ntls = "starttls"\ncertificate = "{certificate}"\nprivate_key = "{key}"',
        1,
    )
    with serving(tmp_path / "outrider", configuration) as server:
        assert serial_of(server.ports["smtp"]) == first
        second = renew()
        with smtplib.SMTP("127.0.0.1", server.ports["smtp"], timeout=PATIENCE_SECONDS) as client:
            assert server.command("reload")["changes"] == []
            assert {serial_of(server.ports["smtp"]) for _ in range(8)} == {second}
            context = ssl._create_unverified_context()
            client.starttls(context=context)
            assert client.noop()[0] == 250
        assert server.stop() == 0


SCRIPTS = {
    "first.py": "def mailfrom(connection, sender): connection.context['seen'] = sender\n",
    "second.lua": """
        local mod = {}
        function mod:validate_mailfrom(str, ac, vctx) return msys.core.VALIDATE_CONT end
        msys.registerModule("second", mod)
    """,
}
WITH_SCRIPTS = """
[[policy.script]]
name = "first"
source = "first.py"
[[policy.script]]
name = "second"
source = "second.lua"
"""
SECOND = """
[[listener]]
name = "second"
address = "127.0.0.1"
port = 0
"""
ROUNDS = 2


def descriptors(server: OutriderProcess) -> dict[str, int]:
    """How many each process has open."""
    found = {**pids(server), "supervisor": server.process.pid}
    return {name: len(list(Path(f"/proc/{pid}/fd").iterdir())) for name, pid in found.items()}


def test_reloads_leave_no_descriptor_behind(tmp_path: Path) -> None:
    """Whatever one opens it closes, in every process: listeners that come and go, scripts, faulty ones."""
    configuration = configuration_for({}, workers=1, more=WITH_SCRIPTS)

    def reload(configured: str, script: str) -> bool:
        (tmp_path / "second.lua").write_text(script, encoding="utf-8")
        server.config.write_text(configured, encoding="utf-8")
        return outrider(server, "reload").returncode == 0

    def counted() -> dict[str, int]:
        assert reload(configuration, SCRIPTS["second.lua"])
        return descriptors(server)

    for name, text in SCRIPTS.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    with serving(tmp_path, configuration) as server:
        configuration = server.config.read_text(encoding="utf-8")
        assert reload(configuration + SECOND, SCRIPTS["second.lua"])  # what a name has counted is kept
        before = counted()
        for _ in range(ROUNDS):
            assert reload(configuration + SECOND, SCRIPTS["second.lua"])
            assert not reload(configuration + SECOND, "error('not today')")
            assert reload(configuration, SCRIPTS["second.lua"])
            assert not reload(configuration + SECOND, "error('not today')"), "what it opened is closed again"
        wait_until(lambda: counted() == before, f"as many descriptors as before, {before}")
        assert not log_lines(server, "process.died")
