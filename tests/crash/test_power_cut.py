"""Power cut at every point of a trace: every acknowledged message is found on what is left."""

import asyncio
import shutil
from pathlib import Path
from random import Random

import pytest

from outrider.base.clock import FakeClock
from outrider.base.files import OsFiles
from outrider.base.log import ListLog, NullLog
from outrider.model.changes import Entry
from outrider.spool.engine import EmbeddedEngine
from outrider.spool.filters import QueueFilter
from tests.spool.samples import finished, retried, small_as, spool_keys, stored
from tests.spool.tracing import Disk, TracingFiles

DAY = 86_400.0


def only_checkpoint(_: str, names: list[str]) -> list[str]:
    """For `copytree`: everything but the database. SQLite syncs it itself, which is not ours to prove."""
    return [name for name in names if not name.startswith("checkpoint.sqlite")]


async def live(root: Path, files: TracingFiles, rounds: int, random: Random, codec: str) -> dict[int, bytes]:
    """A busy life; each acknowledgement is marked in the trace. Returns the contents of all messages."""
    clock = FakeClock()
    engine = await EmbeddedEngine.open(
        files, str(root / "spool"), small_as(codec), clock, NullLog(), keys=spool_keys()
    )
    contents: dict[int, bytes] = {}
    alive: list[int] = []
    for number in range(rounds):
        size = random.choice([200, 1_000, 3_000, 20_000])
        content = b"%07d\n" % number + random.randbytes(size)  # zstd cannot make it smaller
        first = engine.reserve(2)
        contents[first] = contents[first + 1] = content
        message = stored(first, content, ("one.example", "two.example"), number=number)
        await engine.commit([message], [[content[:100], content[100:]]])
        files.mark(f"accepted {first}")
        files.mark(f"accepted {first + 1}")
        alive += (first, first + 1)
        if number % 3 == 2:
            for _ in range(5):
                entry = alive.pop(random.randrange(len(alive)))
                await engine.commit([finished(entry)])
                files.mark(f"finished {entry}")
        if number % 7 == 3:
            for lease in await engine.lease(None, 2, 60):
                change = retried(lease.entry, clock.wall() + DAY)
                await engine.commit([change], epoch=lease.epoch)
                files.mark(f"retried {lease.entry.entry} {change.attempts}")
        if number % 10 == 9:
            clock.at += 10_000
            await engine.index.checkpoint()
            shutil.copytree(root / "spool", root / f"checkpoint-{number}", ignore=only_checkpoint)
            files.mark(f"checkpoint {number}")
            await engine.reclaimer.run()
    await engine.crash()
    return contents


class HastyFiles(OsFiles):
    """Files without syncs: what is checked here is what was found, not what is written."""

    def fdatasync(self, fd: int) -> None:
        pass

    def sync_directory(self, path: str) -> None:
        pass


async def check(root: Path, disk: Disk, contents: dict[int, bytes], *, say: str) -> None:
    """Start on what is left: everything acknowledged is there, nothing finished is."""
    log = ListLog()
    engine = await EmbeddedEngine.open(
        HastyFiles(), str(root / "spool"), small_as("plain"), FakeClock(), log, keys=spool_keys()
    )
    try:
        found: dict[int, Entry] = {}
        after = -1
        while entries := await engine.list(QueueFilter(), 1_000, after):
            after = entries[-1].entry
            found.update((entry.entry, entry) for entry in entries)
        accepted: set[int] = set()
        gone: set[int] = set()
        attempts: dict[int, int] = {}
        for mark in disk.marks:
            what, number, *rest = mark.split()
            if what == "checkpoint":
                continue
            if what == "accepted":
                accepted.add(int(number))
            elif what == "finished":
                gone.add(int(number))
            else:
                attempts[int(number)] = int(rest[0])
        # what came after the last mark may have happened or not
        unmarked_finish = len(accepted - gone - found.keys())
        assert unmarked_finish <= 1, f"{say}: lost {sorted(accepted - gone - found.keys())}"
        assert not gone & found.keys(), f"{say}: resurrected {sorted(gone & found.keys())}"
        assert len(found.keys() - accepted) <= 2, f"{say}: {sorted(found.keys() - accepted)}"
        for at, entry in found.items():
            _, content = await engine.read(entry.ref, at)
            assert content == contents[at], f"{say}: content of {at}"
            assert entry.attempts >= attempts.get(at, 0), f"{say}: attempts of {at}"
    finally:
        await engine.crash()


def cut_at(tmp_path: Path, rounds: int, every: int, hows: tuple[str, ...], codec: str = "plain") -> int:
    """Live, then check the spool at every `every`th step in each way; returns how many were checked."""
    random = Random(20)
    live_root = tmp_path / "live"
    live_root.mkdir()
    files = TracingFiles(str(live_root))
    contents = asyncio.run(live(live_root, files, rounds, random, codec))
    disk = Disk()
    checked = 0
    for number, step in enumerate(files.steps):
        disk.apply(step)
        if number % every and step.kind not in {"unlink", "rename"}:
            continue
        for how in hows:
            root = tmp_path / "cut"
            for checkpoint in {"", *[mark for mark in disk.marks if mark.startswith("checkpoint")][-1:]}:
                disk.rebuild(root, how, random)
                if checkpoint:
                    (root / "spool").mkdir(exist_ok=True)
                    shutil.copytree(
                        live_root / checkpoint.replace(" ", "-"), root / "spool", dirs_exist_ok=True
                    )
                say = f"step {number} ({step.kind} {step.name}), {how}, {checkpoint or 'no checkpoint'}"
                asyncio.run(check(root, disk, contents, say=say))
                shutil.rmtree(root)
                checked += 1
    assert any(step.kind == "unlink" and step.name.endswith(".log") for step in files.steps)
    return checked


def test_every_acknowledged_message_survives_a_power_cut(tmp_path: Path) -> None:
    assert cut_at(tmp_path, rounds=60, every=7, hows=("dropped", "kept", "torn")) > 100


def test_messages_in_encrypted_frames_survive_a_power_cut(tmp_path: Path) -> None:
    assert cut_at(tmp_path, rounds=40, every=11, hows=("dropped", "torn"), codec="both") > 40


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_every_acknowledged_message_survives_a_power_cut_at_every_step(tmp_path: Path) -> None:
    assert cut_at(tmp_path, rounds=200, every=1, hows=("dropped", "kept", "torn", "torn", "torn")) > 1_000
