"""Processes are killed while a script refuses one of several: his end and the others' mail are one."""

import re
from pathlib import Path

from tests.crash.kill_sender import RECIPIENTS, acknowledged_under_kills, all_received
from tests.e2e.outrider_process import OutriderProcess, serving
from tests.e2e.practice import events_of, practising, provider, queue_is
from tests.peers.processes import wait_until

WORLD = provider("one", "one.test", "127.30.12.1") + provider("shop", "shop.test", "127.30.12.2")
LAST = RECIPIENTS - 1

SCRIPT = f"""
import asyncio
from outrider.policy.api import Refuse
async def each_rcpt(mail):
    await asyncio.sleep(0)
    if mail.rcpt_to.endswith("-{LAST}@one.test"):
        return Refuse(550, "5.7.1 no mail for you")
"""
POLICY = """
[[policy.script]]
name = "refuses"
source = "refuses.py"
"""
_ABOUT = re.compile(rb"Final-Recipient: rfc822; r(\d+)-%d@one\.test" % LAST)


def reported(store: Path) -> set[int]:
    """Messages about whose last recipient the sender got a report."""
    texts = [path.read_bytes() for path in store.rglob("*.eml")]
    return {int(found[1]) for text in texts for found in _ABOUT.finditer(text)}


def bounced(server: OutriderProcess) -> set[str]:
    """Whom events say to be bounced."""
    return {event["recipient"] for event in events_of(server, "bounce")}


def numbers_of(addresses: set[str]) -> set[int]:
    return {int(each[1:].partition("-")[0]) for each in addresses}


def test_no_kill_parts_a_refusal_from_the_mail_of_the_others(tmp_path: Path) -> None:
    store, folder = tmp_path / "received", tmp_path / "server"
    folder.mkdir()
    (folder / "refuses.py").write_text(SCRIPT, encoding="utf-8")
    with practising(WORLD, store) as practice, serving(folder, practice.configuration(more=POLICY)) as server:
        acknowledged = acknowledged_under_kills(server)
        wait_until(queue_is(server, 0), "the queue is empty")
        wait_until(lambda: acknowledged <= reported(store), "a report on each")
        taken = {each for recipients, _ in all_received(store) for each in recipients}
        others = {each for each in taken if each.endswith("@one.test")}
        whole = numbers_of(others)
        refused = {f"r{number}-{LAST}@one.test" for number in whole}
        wait_until(lambda: refused <= bounced(server), "the events of all ends")
        bounces = bounced(server)
        told = reported(store)
    assert acknowledged <= whole
    assert others == {f"r{number}-{at}@one.test" for number in whole for at in range(LAST)}
    assert bounces == refused
    assert told == whole
