"""Processes are killed while a script personalises: nothing is lost, and nobody gets another's message."""

from pathlib import Path

from tests.crash.kill_sender import RECIPIENTS, acknowledged_under_kills, all_received, received
from tests.e2e.outrider_process import serving
from tests.e2e.practice import practising, provider, queue_is
from tests.peers.processes import wait_until

WORLD = provider("one", "one.test", "127.30.10.1")

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


def test_kills_lose_no_variant_and_mix_none_up(tmp_path: Path) -> None:
    store, folder = tmp_path / "received", tmp_path / "server"
    folder.mkdir()
    (folder / "personal.py").write_text(SCRIPT, encoding="utf-8")
    with practising(WORLD, store) as practice, serving(folder, practice.configuration(more=POLICY)) as server:
        acknowledged = acknowledged_under_kills(server)
        wanted = {f"r{number}-{at}@one.test" for number in acknowledged for at in range(RECIPIENTS)}
        wait_until(
            lambda: wanted <= {each for recipients, _ in received(store) for each in recipients},
            "all that was acknowledged",
        )
        wait_until(queue_is(server, 0), "the queue is empty")
        found = all_received(store)
    assert [each for each in found if each[0] != each[1]] == []
    unacknowledged = {recipients[0] for recipients, _ in found} - wanted
    whole = {each.partition("-")[0] for each in unacknowledged}
    assert len(unacknowledged) == RECIPIENTS * len(whole)  # of a frame that was stored, every variant arrived
