"""Processes are killed while a script personalises: nothing is lost, and nobody gets another's message."""

import json
import smtplib
import threading
from functools import partial
from pathlib import Path

from tests.e2e.outrider_process import OutriderProcess, serving
from tests.e2e.practice import await_restart, kill_child, practising, provider, queue_is
from tests.peers.processes import wait_until

WORLD = provider("one", "one.test", "127.30.10.1")
RECIPIENTS = 6
KILLS = ("worker-0", "worker-1", "dispatcher", "worker-0", "worker-1")

SCRIPT = """
import asyncio
async def each_rcpt(mail):
    await asyncio.sleep(0)
    mail.message.header.set("X-For", mail.rcpt_to)
"""
POLICY = """
[[policy.script]]
name = "personal"
source = "personal.py"
"""


class Sender:
    """Hands in messages until it is told to end; knows which were acknowledged."""

    def __init__(self, server: OutriderProcess) -> None:
        self._port = server.ports["smtp"]
        self.acknowledged: set[int] = set()
        self.number = 0
        self.ends = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def has(self, count: int) -> bool:
        """So many were acknowledged by now."""
        return len(self.acknowledged) >= count

    def _run(self) -> None:
        while not self.ends.is_set():
            self.number += 1
            recipients = [f"r{self.number}-{at}@one.test" for at in range(RECIPIENTS)]
            text = b"Subject: %d\r\n\r\ntext\r\n" % self.number
            try:
                with smtplib.SMTP("127.0.0.1", self._port, timeout=20) as client:
                    client.sendmail("shop@shop.test", recipients, text)
                self.acknowledged.add(self.number)
            except (OSError, smtplib.SMTPException):
                continue  # its worker was killed, and it may have come or not


def received(store: Path) -> list[tuple[list[str], list[str]]]:
    """Of each message that arrived: for whom it was sent, and whom its header names."""
    found = []
    for path in store.rglob("*.eml"):
        try:
            envelope = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            continue  # it is being written
        header = path.read_bytes().partition(b"\r\n\r\n")[0].decode()
        named = [line[7:] for line in header.split("\r\n") if line.startswith("X-For: ")]
        found.append((envelope["recipients"], named))
    return found


def test_kills_lose_no_variant_and_mix_none_up(tmp_path: Path) -> None:
    store, folder = tmp_path / "received", tmp_path / "server"
    folder.mkdir()
    (folder / "personal.py").write_text(SCRIPT, encoding="utf-8")
    with practising(WORLD, store) as practice, serving(folder, practice.configuration(more=POLICY)) as server:
        sender = Sender(server)
        sender.thread.start()
        try:
            for name in KILLS:
                wait_until(partial(sender.has, len(sender.acknowledged) + 5), "mail to flow")
                await_restart(server, name, kill_child(server, name))
        finally:
            sender.ends.set()
            sender.thread.join()
        wanted = {f"r{number}-{at}@one.test" for number in sender.acknowledged for at in range(RECIPIENTS)}
        wait_until(
            lambda: wanted <= {each for recipients, _ in received(store) for each in recipients},
            "all that was acknowledged",
        )
        wait_until(queue_is(server, 0), "the queue is empty")
        wait_until(lambda: len(received(store)) == len(list(store.rglob("*.eml"))), "all was written")
        found = received(store)
    assert len(sender.acknowledged) >= 5 * len(KILLS)
    assert [each for each in found if each[0] != each[1]] == []
    unacknowledged = {recipients[0] for recipients, _ in found} - wanted
    whole = {each.partition("-")[0] for each in unacknowledged}
    assert len(unacknowledged) == RECIPIENTS * len(whole)  # of a frame that was stored, every variant arrived
