"""What is in the queue of a server that does not run, read from a copy of its spool.

In: the spool directory. Out: the messages in it by id and by number. The copy is opened by the engine as a
start of the server would open it, so what this finds is what the next server will find.
"""

import shutil
import tempfile
from pathlib import Path

from outrider.base.clock import SystemClock
from outrider.base.files import OsFiles
from outrider.base.log import ListLog
from outrider.sim.numbered import failure_report, message_number
from outrider.spool.directory import SpoolDirectory
from outrider.spool.engine import EmbeddedEngine
from outrider.spool.filters import QueueFilter
from outrider.spool.options import SpoolOptions
from tests.crash.kill_account import Key, Queue
from tests.crash.kill_world import SEGMENT_OCTETS

_PAGE = 1000


def is_in_use(spool: Path) -> bool:
    """True while any process writes a log of it."""
    directory = SpoolDirectory(OsFiles(), str(spool))
    return any(directory.is_alive(number) for number in directory.logs())


async def read_queue(spool: Path) -> Queue:
    """The queue of a spool that nobody uses; the spool itself is not touched.

    Raises:
        SpoolError: A message in it cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="outrider-kill-") as folder:
        copy = Path(folder) / "spool"
        shutil.copytree(spool, copy)
        options = SpoolOptions(segment_octets=SEGMENT_OCTETS)
        engine = await EmbeddedEngine.open(OsFiles(), str(copy), options, SystemClock(), ListLog())
        try:
            return await _read(engine)
        finally:
            await engine.close()


async def _read(engine: EmbeddedEngine) -> Queue:
    names: set[Key] = set()
    keys: set[Key] = set()
    after = -1
    while entries := await engine.list(QueueFilter(), _PAGE, after):
        after = entries[-1].entry
        for entry in entries:
            stored, content = await engine.read(entry.ref, entry.entry)
            recipient = str(stored.deliveries[entry.index].recipient.address)
            names.add((stored.message_id, recipient))
            if number := message_number(content):
                keys.add((number, recipient))
            else:
                number, failed = failure_report(content)
                keys.update((number, each) for each in failed)
    return Queue(frozenset(names), frozenset(keys))
