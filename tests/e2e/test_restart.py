"""Starts, stops and deaths: nothing that was accepted is lost, and nobody is in the way of a new server."""

import asyncio
import contextlib
import os
import signal
import smtplib
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from outrider.base.clock import SystemClock
from outrider.base.files import OsFiles
from outrider.base.ids import MessageId
from outrider.base.log import ListLog
from outrider.model.address import Address
from outrider.model.changes import Stored
from outrider.model.flow import Delivery, Origin, Recipient
from outrider.spool.directory import SpoolDirectory
from outrider.spool.options import SpoolOptions
from outrider.spool.writer import LogWriter
from tests.e2e.outrider_process import PROGRAM, OutriderProcess, serving, start_server
from tests.e2e.practice import (
    DEFERS,
    Practice,
    await_restart,
    kill_child,
    log_lines,
    pids,
    provider,
    queue_is,
    send,
)
from tests.patience import PATIENCE_SECONDS
from tests.peers.processes import free_port, wait_until

WORLD = (
    provider("plain", "plain.test", "127.30.4.1")
    + provider("later", "later.test", "127.30.4.2", DEFERS)
    + provider("slow", "slow.test", "127.30.4.3", "behaviour = { delay = { body = 2.5 } }")
)
Serve = Callable[[str], OutriderProcess]


def close_output(server: OutriderProcess) -> None:
    server.kill()
    assert server.process.stdout is not None
    server.process.stdout.close()


def has_granted(server: OutriderProcess, times: int) -> bool:
    return len(log_lines(server, "dispatcher.granting")) >= times


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] == "Z"


def test_the_number_of_workers_may_change_with_mail_queued(practice: Practice, tmp_path: Path) -> None:
    practice.shut("later")
    tallies = []
    for run, workers in (("four", 4), ("one", 1), ("three", 3)):
        with serving(tmp_path / "server", practice.configuration(workers=workers)) as server:
            load = practice.load(
                server.ports["smtp"], count=80, run=run, domains=[("later.test", 1.0)], connections=8
            )
            tallies.append(load.result(60))
            assert sorted(one["number"] for one in server.command("status")["workers"]) == list(
                range(workers)
            )
            if workers == 3:
                practice.open("later")
                wait_until(lambda: practice.owes_nothing(*tallies), "all that was acknowledged was taken")
                wait_until(queue_is(server, 0), "the queue is empty")
            else:
                assert server.command("queue", "count")["count"] == 80 * len(tallies)
            assert server.stop() == 0
    assert [tally.messages["acknowledged"] for tally in tallies] == [80, 80, 80]
    assert max(practice.taken().values()) == 1


def test_sigterm_lets_a_session_and_a_delivery_finish(practice: Practice, serve: Serve) -> None:
    server = serve(practice.configuration(workers=1))
    port = server.ports["smtp"]
    before = practice.seen("slow").recipients
    send(port, "customer@slow.test")
    wait_until(lambda: practice.seen("slow").connections == 1, "a delivery is under way")
    with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE_SECONDS) as client:
        client.ehlo("client.test")
        client.mail("shop@sender.test")
        client.rcpt("customer@plain.test")
        client.putcmd("data")
        assert client.getreply()[0] == 354
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: bool(log_lines(server, "worker.draining")), "the worker drains")
        client.send(b"Subject: in flight\r\n\r\nWritten while the server drains.\r\n.\r\n")
        code, text = client.getreply()
        assert code == 250, text
        client.close()  # no QUIT: the server has ended the session
    assert server.process.wait(timeout=PATIENCE_SECONDS) == 0
    assert practice.seen("slow").recipients == before + 1
    with serving(server.folder, practice.configuration(workers=1)) as again:
        wait_until(queue_is(again, 0), "the queue is empty")
    # once it has stopped: an event is written a moment after the queue hears of what it tells
    deliveries = [event["domain"] for event in again.events() if event["type"] == "delivery"]
    assert deliveries.count("slow.test") == 1
    assert deliveries.count("plain.test") == 1


def test_ctrl_c_ends_the_processes_in_their_order(practice: Practice, tmp_path: Path) -> None:
    with serving(tmp_path / "server", practice.configuration()) as server:
        send(server.ports["smtp"], "customer@later.test")
        os.killpg(server.process.pid, signal.SIGINT)  # as a terminal does: to all of them
        assert server.process.wait(timeout=PATIENCE_SECONDS) == 0
        ended = [line["name"] for line in log_lines(server, "process.ended")]
    assert sorted(ended[:2]) == ["worker-0", "worker-1"]
    assert ended[2:] == ["dispatcher", "control"]
    assert (server.folder / "state" / "throttles").exists()


def test_a_connection_in_the_backlog_survives_the_worker(practice: Practice, serve: Serve) -> None:
    server = serve(practice.configuration(workers=1))
    pid = kill_child(server, "worker-0", signal.SIGSTOP)
    waiting = [
        socket.create_connection(("127.0.0.1", server.ports["smtp"]), timeout=PATIENCE_SECONDS)
        for _ in range(5)
    ]
    try:
        os.kill(pid, signal.SIGKILL)
        await_restart(server, "worker-0", pid)
        for each in waiting:
            assert each.recv(3) == b"220"
    finally:
        for each in waiting:
            each.close()
    send(server.ports["smtp"], "customer@plain.test")
    wait_until(queue_is(server, 0), "the queue is empty")


@contextlib.contextmanager
def second_server(config: Path, log_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A server that is started and not waited for."""
    with log_path.open("wb") as log:
        second = subprocess.Popen(
            [*PROGRAM, "serve", "-c", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    try:
        yield second
    finally:
        second.kill()
        second.wait(timeout=PATIENCE_SECONDS)
        assert second.stdout is not None
        second.stdout.close()


def waits_until_stopped(first: OutriderProcess, config: Path, log: Path) -> None:
    """A server with this configuration waits, and starts when the first one is gone."""
    with second_server(config, log) as second:
        wait_until(lambda: "server.waits_for_lock" in log.read_text(), "the second waits")
        assert first.command("status")["granting"]
        assert first.stop() == 0
        assert second.stdout is not None
        assert second.stdout.readline().startswith("Ready")
        second.send_signal(signal.SIGTERM)
        assert second.wait(timeout=PATIENCE_SECONDS) == 0


def test_a_second_server_waits_for_the_spool(practice: Practice, tmp_path: Path) -> None:
    with serving(tmp_path / "server", practice.configuration()) as first:
        waits_until_stopped(first, first.config, tmp_path / "second.log")


def test_a_second_server_that_waited_listens_where_the_first_did(practice: Practice, tmp_path: Path) -> None:
    with serving(tmp_path / "server", practice.configuration()) as first:
        again = first.folder / "again.toml"
        text = first.config.read_text(encoding="utf-8")
        port = first.ports["smtp"]
        again.write_text(text.replace("\nport = 0", f"\nport = {port}", 1), encoding="utf-8")
        waits_until_stopped(first, again, tmp_path / "second.log")


def test_a_second_server_waits_though_somebody_removed_the_lock(practice: Practice, tmp_path: Path) -> None:
    with serving(tmp_path / "server", practice.configuration()) as first:
        (first.folder / "state" / "server.lock").unlink()
        waits_until_stopped(first, first.config, tmp_path / "second.log")


def test_a_second_server_waits_for_the_run_directory(practice: Practice, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="outrider-run-") as sockets:
        server = f'run_directory = "{sockets}"'
        with serving(tmp_path / "server", practice.configuration(server=server)) as first:
            other = first.folder / "other.toml"
            text = first.config.read_text(encoding="utf-8")
            other.write_text(text.replace('"state"', '"elsewhere"'), encoding="utf-8")
            waits_until_stopped(first, other, tmp_path / "second.log")


def test_a_worker_without_its_dispatcher_says_so(practice: Practice, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="outrider-run-") as sockets:
        configuration = practice.configuration(server=f'run_directory = "{sockets}"')
        with serving(tmp_path / "server", configuration) as server:
            path = Path(sockets) / "dispatcher.sock"
            path.unlink()
            path.write_text("another's")  # a name that is free would be taken again
            kill_child(server, "worker-0")
            wait_until(lambda: bool(log_lines(server, "link.none")), "it says what it waits for")
            (line, *_) = log_lines(server, "link.none")
            assert line["path"].endswith("dispatcher.sock")
            assert "remove that" in line["advice"]
            path.unlink()
            wait_until(lambda: len(log_lines(server, "link.welcome")) == 3, "and goes on once it is gone")


def test_a_port_that_a_reload_gave_up_is_free_whoever_was_started_since(
    practice: Practice, tmp_path: Path
) -> None:
    """No process keeps a listening socket that is another's: clients would be let in and hear nothing."""
    port = free_port()
    door = f'[[http]]\nname = "door"\nport = {port}\n'
    with serving(tmp_path / "server", practice.configuration(more=door)) as server:
        with_door = server.config.read_text(encoding="utf-8")
        for dies in ("", "control", "dispatcher", "worker-0"):
            if dies:
                await_restart(server, dies, kill_child(server, dies))
                wait_until(lambda: server.command("status")["granting"], "it works again")
            server.config.write_text(with_door.replace(door, ""), encoding="utf-8")
            server.command("reload")
            wait_until(lambda: is_refused(port), f"nobody listens there, {dies or 'nobody'} was started anew")
            server.config.write_text(with_door, encoding="utf-8")
            server.command("reload")
            assert not is_refused(port)


def is_refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS).close()
    except ConnectionRefusedError:
        return True
    return False


def test_children_go_with_their_supervisor(practice: Practice, tmp_path: Path) -> None:
    practice.shut("later")
    with serving(tmp_path / "server", practice.configuration()) as server:
        send(server.ports["smtp"], "customer@later.test")
        children = pids(server)
        assert set(children) == {"control", "dispatcher", "worker-0", "worker-1"}
        server.process.kill()
        server.process.wait(timeout=PATIENCE_SECONDS)
        wait_until(lambda: all(map(is_gone, children.values())), "the children have ended")
        again = start_server(server.folder)
        try:
            assert again.command("queue", "count")["count"] == 1
            assert again.stop() == 0
        finally:
            close_output(again)


def test_a_stuck_worker_is_ended_and_its_mail_goes_out(practice: Practice, serve: Serve) -> None:
    practice.shut("later")
    before = practice.seen("later").recipients
    # longer than a busy machine keeps any of the others from beating
    server = serve(practice.configuration(workers=2, server="watchdog_seconds = 10"))
    load = practice.load(
        server.ports["smtp"], count=40, run="stuck", domains=[("later.test", 1.0)], connections=8
    )
    load.result(60)
    pid = kill_child(server, "worker-1", signal.SIGSTOP)
    wait_until(lambda: bool(log_lines(server, "process.stuck")), "the supervisor sees it")
    assert [line["pid"] for line in log_lines(server, "process.stuck")] == [pid]
    practice.open("later")
    wait_until(lambda: practice.seen("later").recipients == before + 40, "all were taken")
    wait_until(queue_is(server, 0), "the queue is empty")
    assert [number for number, count in practice.taken().items() if count > 1] == []


def test_the_dispatcher_dies_under_load(practice: Practice, serve: Serve) -> None:
    server = serve(practice.configuration())
    load = practice.load(server.ports["smtp"], seconds=6, rate=150, run="load", domains=[("plain.test", 1.0)])
    wait_until(partial(has_granted, server, 1), "the first one grants")
    for death in (1, 2):
        # the supervisor waits a little longer each time before it starts one that keeps dying
        kill_child(server, "dispatcher")
        wait_until(partial(has_granted, server, 1 + death), "a new one grants")
    tally = load.result(60)
    wait_until(lambda: practice.owes_nothing(tally), "all that was acknowledged was taken")
    wait_until(queue_is(server, 0), "the queue is empty")
    assert tally.messages["acknowledged"] == tally.messages.total() > 500
    assert max(practice.taken().values()) == 1


async def leave_a_message(server: OutriderProcess, recipient: str) -> None:
    """What a worker leaves behind that dies between its first 250 and its hello to the dispatcher."""
    directory = SpoolDirectory(OsFiles(), str(server.folder / "state" / "spool"))
    log = LogWriter(directory, SpoolOptions(), SystemClock(), ListLog())
    address = Address(*recipient.split("@"))
    delivery = Delivery(Recipient(address), address.domain)
    content = b"Subject: left behind\r\n\r\nText.\r\n"
    origin = Origin("smtp", "ESMTP", "127.0.0.1", "client.test", None, None)
    stored = Stored(
        MessageId("left-behind-000001"),
        log.reserve(1),
        SystemClock().wall(),
        origin,
        Address("shop", "sender.test"),
        (delivery,),
        None,
        None,
        False,
        0,
        24,
        len(content),
    )
    log.commit([stored], [[content]], lambda ref: None)
    await log.close()


def test_what_a_worker_took_that_never_said_hello_goes_out(practice: Practice, serve: Serve) -> None:
    server = serve(practice.configuration(workers=1))
    before = practice.seen("plain").recipients
    asyncio.run(leave_a_message(server, "customer@plain.test"))
    wait_until(lambda: practice.seen("plain").recipients == before + 1, "it goes out without a restart")
    wait_until(queue_is(server, 0), "the queue is empty")
    wait_until(
        lambda: (
            [each["type"] for each in server.events() if each.get("message_id") == "left-behind-000001"]
            == ["reception", "delivery"]
        ),
        "its events are there",
    )


def test_a_fault_in_the_configuration_is_exit_78(tmp_path: Path) -> None:
    (tmp_path / "outrider.toml").write_text(
        '[server]\nhostnam = "x"\nworkers = 0\n\n[recrod]\nredaction = "some"\n', encoding="utf-8"
    )
    line = [*PROGRAM, "serve", "-c", str(tmp_path / "outrider.toml")]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 78
    for fault in ("did you mean hostname?", "server.workers", "did you mean record?"):
        assert fault in done.stderr
    assert not (tmp_path / "outrider-state").exists()


def test_an_address_that_is_taken_is_exit_78(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (tmp_path / "outrider.toml").write_text(
            # its sockets' names are limited, and a test's folder may be deep
            f'[server]\nrun_directory = "run"\n\n[[listener]]\nname = "smtp"\nport = {port}\n',
            encoding="utf-8",
        )
        line = [*PROGRAM, "serve", "-c", str(tmp_path / "outrider.toml")]
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 78
    assert "listener.smtp" in done.stderr
