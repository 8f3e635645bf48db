"""A client that goes on handing in mail for several recipients while the server's processes are killed.

In: a server whose receivers are a practice internet that stores what it takes. Out: which messages were
acknowledged, and what arrived.
"""

import json
import smtplib
import threading
from functools import partial
from pathlib import Path

from tests.e2e.outrider_process import OutriderProcess
from tests.e2e.practice import await_restart, kill_child
from tests.patience import PATIENCE_SECONDS
from tests.peers.processes import wait_until

RECIPIENTS = 6
KILLS = ("worker-0", "worker-1", "dispatcher", "worker-0", "worker-1")


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
                with smtplib.SMTP("127.0.0.1", self._port, timeout=PATIENCE_SECONDS) as client:
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


def acknowledged_under_kills(server: OutriderProcess) -> set[int]:
    """Numbers of the messages that were acknowledged while each process of `KILLS` was killed in its turn."""
    sender = Sender(server)
    sender.thread.start()
    try:
        for name in KILLS:
            wait_until(partial(sender.has, len(sender.acknowledged) + 5), "mail to flow")
            await_restart(server, name, kill_child(server, name))
    finally:
        sender.ends.set()
        sender.thread.join()
    assert len(sender.acknowledged) >= 5 * len(KILLS)
    return sender.acknowledged


def all_received(store: Path) -> list[tuple[list[str], list[str]]]:
    """As `received`, once nothing is being written any more."""
    wait_until(lambda: len(received(store)) == len(list(store.rglob("*.eml"))), "all was written")
    return received(store)
