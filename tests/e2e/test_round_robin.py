"""Members of a group in round robin are chosen equally often by all workers together, also over a reload."""

import smtplib
import threading
from collections import Counter
from pathlib import Path

from tests.e2e.outrider_process import OutriderProcess, serving
from tests.e2e.practice import events_of, practising, provider
from tests.patience import PATIENCE_SECONDS
from tests.peers.processes import wait_until

WORLD = provider("one", "one.test", "127.30.14.1")
NAMES = ("red", "green", "blue")
GROUP = "".join(f'[[binding]]\nname = "{name}"\n' for name in NAMES) + (
    '[[binding_group]]\nname = "pool"\nmembers = ["red", "green", "blue"]\n'
    '[policy]\ndefault_binding = "pool"\n'
)
SENDERS = 5


def send_all(server: OutriderProcess, each: int) -> None:
    """Messages over many connections at once, each in one of its own."""

    def run() -> None:
        for _ in range(each):
            with smtplib.SMTP("127.0.0.1", server.ports["smtp"], timeout=PATIENCE_SECONDS) as client:
                client.sendmail("shop@shop.test", ["joe@one.test"], b"Subject: x\r\n\r\ntext\r\n")

    threads = [threading.Thread(target=run) for _ in range(SENDERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_it_is_exact_over_all_workers(tmp_path: Path) -> None:
    with practising(WORLD) as practice, serving(tmp_path, practice.configuration(more=GROUP)) as server:
        for number in (1, 2):
            send_all(server, 3 * 4)
            count = number * SENDERS * 3 * 4
            wait_until(lambda: len(events_of(server, "reception")) == count, "all receptions")  # noqa: B023
            received = events_of(server, "reception")
            assert Counter(event["binding"] for event in received) == dict.fromkeys(NAMES, count // 3)
            server.config.write_text(server.config.read_text(encoding="utf-8") + "\n", encoding="utf-8")
            server.command("reload")
        logs = {event["id"].partition(".")[0] for event in received}
    assert len(logs) == 2  # both workers took some
