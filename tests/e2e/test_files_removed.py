"""Somebody tidies up under a running server: sockets come back, and no mail is lost by it."""

import shutil
import smtplib
from pathlib import Path

import pytest

from tests.e2e.outrider_process import OutriderProcess, configuration_for, serving, start_server
from tests.hostility.raw_receiver import raw_receiver
from tests.patience import PATIENCE_SECONDS
from tests.peers.processes import wait_until


def send(server: OutriderProcess, names: list[str]) -> None:
    with smtplib.SMTP("127.0.0.1", server.ports["smtp"], timeout=PATIENCE_SECONDS) as client:
        for name in names:
            client.sendmail("a@sender.test", [f"{name}@one.test"], b"Subject: hello\r\n\r\nHello\r\n")


def restored(server: OutriderProcess, event: str) -> int:
    return server.log().count(f'"event":"{event}"')


@pytest.mark.parametrize("removed", ["spool/logs", "spool"])
def test_mail_outlives_the_removal_of_the_spool_and_of_the_sockets(tmp_path: Path, removed: str) -> None:
    before, after = [f"before{number}" for number in range(10)], [f"after{number}" for number in range(10)]
    sockets = tmp_path / "run"
    with raw_receiver() as receiver:
        text = configuration_for({"one.test": receiver.port})
        text = text.replace("[server]\n", f'[server]\nrun_directory = "{sockets}"\n')
        with serving(tmp_path / "server", text) as server:
            server.command("path", "suspend", "*", "--reason", "they wait", "--yes")
            send(server, before)
            shutil.rmtree(sockets)
            shutil.rmtree(server.folder / "state" / removed)
            send(server, after)
            wait_until(lambda: restored(server, "socket.restored") == 4, "all sockets are there again")
            assert server.command("queue", "count")["count"] == 20
            assert server.command("status")["queue"]["unreadable"] == 0
            wait_until(lambda: restored(server, "spool.file_restored") >= 6, "the files of three logs")
            server.kill()
            if server.process.stdout is not None:
                server.process.stdout.close()
            again = start_server(server.folder)
            server.process, server.ports = again.process, again.ports
            (suspension,) = server.command("path", "suspensions")
            server.command("path", "resume", str(suspension["number"]))
            wait_until(lambda: len(receiver.taken) == 20, "all of it goes out")
            wait_until(lambda: server.command("queue", "count")["count"] == 0, "the queue is empty")
    names = sorted(taken.recipients[0].partition("@")[0] for taken in receiver.taken)
    assert names == sorted(before + after)
