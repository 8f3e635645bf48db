"""A server on a damaged spool: what is damaged is told, all else goes out, nothing finished comes back.

Each message has two recipients: one is delivered before the damage, the other waits. After the damage the one
that waits is delivered, unless it was hit itself; the one that was delivered never is again.
"""

import asyncio
import json
import os
import smtplib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from outrider.base.clock import SystemClock
from outrider.base.files import OsFiles
from outrider.model.changes import ContentRef, Finished, Stored
from outrider.model.dispatch import Position
from outrider.sim.options import WorldOptions
from outrider.sim.server import PracticeInternet
from outrider.spool.directory import SpoolDirectory
from outrider.spool.options import SpoolOptions
from outrider.spool.reader import FrameReader
from tests.crash.kill_world import befriend
from tests.e2e.outrider_process import OutriderProcess, configuration_for, start_server
from tests.patience import PATIENCE_SECONDS

COUNT = 6
HIT = 3
"""Number of the message that is damaged where only one is."""
SENDER = "shop@example.test"
SHAPING = "retry_interval_seconds = 0.5\nmax_retry_interval_seconds = 0.5"


def world_options() -> WorldOptions:
    """One provider that takes everything, one that takes nothing yet."""
    not_yet = {"on": "rcpt", "reply": "451 4.3.0 Not now"}
    return WorldOptions.model_validate(
        {
            "provider": [
                {
                    "name": name,
                    "domains": [f"{name}.test"],
                    "mx": [{"name": f"mx.{name}.test", "address": f"127.0.21.{number}"}],
                    "rule": rules,
                }
                for number, (name, rules) in enumerate((("prompt", []), ("later", [not_yet])), start=1)
            ]
        }
    )


class Site:
    """A server whose mail waits, and the practice internet around it."""

    def __init__(self, folder: Path, world: PracticeInternet) -> None:
        self.folder = folder
        self.world = world
        self.server: OutriderProcess

    @property
    def spool(self) -> Path:
        return self.folder / "state" / "spool"

    async def start(self, environment: dict[str, str] | None = None) -> None:
        self.server = await asyncio.to_thread(start_server, self.folder, environment)

    async def stop(self) -> None:
        assert await asyncio.to_thread(self.server.stop) == 0
        self.close()

    def close(self) -> None:
        self.server.kill()
        if self.server.process.stdout is not None:
            self.server.process.stdout.close()

    def taken(self, provider: str) -> dict[str, int]:
        """Number → how often the provider took it."""
        counts = self.world.providers[provider].counts
        return {number: count for (number, _), count in counts.deliveries.items()}

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        clock = SystemClock()
        deadline = clock.now() + PATIENCE_SECONDS
        while not condition():
            if clock.now() > deadline:
                raise AssertionError(f"not in time: {what}\n{self.server.log()[-5000:]}")
            await asyncio.sleep(0.02)

    def said(self, event: str) -> list[dict[str, Any]]:
        """Lines of the server's log about an event."""
        lines = self.server.log().splitlines()
        return [json.loads(line) for line in lines if f'"event":"{event}"' in line]

    async def queued(self, *filters: str) -> int:
        answer = await asyncio.to_thread(self.server.command, "queue", "count", *filters)
        count: int = answer["count"]
        return count

    def frames(self) -> dict[str, ContentRef]:
        """Number of each stored message → its frame."""
        directory = SpoolDirectory(OsFiles(), str(self.spool))
        reader = FrameReader(directory, SpoolOptions())
        found = {}
        for log in directory.logs():
            for scanned in reader.scan(log, Position(0, 0)):
                for change in scanned.changes:
                    if isinstance(change, Stored):
                        _, content = reader.read(scanned.ref, change.first_entry)
                        number = content.partition(b"X-Sim-Number: ")[2].partition(b"\r\n")[0]
                        found[number.decode()] = scanned.ref
        reader.close()
        return found

    def finishes(self) -> int:
        """Finished entries in the logs."""
        directory = SpoolDirectory(OsFiles(), str(self.spool))
        reader = FrameReader(directory, SpoolOptions())
        frames = [frame for log in directory.logs() for frame in reader.scan(log, Position(0, 0))]
        reader.close()
        return sum(isinstance(change, Finished) for frame in frames for change in frame.changes)

    def segment(self, ref: ContentRef) -> Path:
        return self.spool / "logs" / str(ref.log) / f"{ref.segment:08d}.log"

    def lose_checkpoint(self) -> None:
        for path in self.spool.glob("checkpoint.sqlite*"):
            path.unlink()

    def quarantined(self) -> list[str]:
        return sorted(path.name for path in (self.spool / "quarantine").iterdir())


def names(*but: int) -> dict[str, int]:
    """Each message once, but those."""
    return {f"damage-{number}": 1 for number in range(COUNT) if number not in but}


def send(port: int, numbers: Sequence[int]) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE_SECONDS) as client:
        client.ehlo("client.test")
        for number in numbers:
            content = f"From: <{SENDER}>\r\nX-Sim-Number: damage-{number}\r\n\r\n{'Hello. ' * 60}\r\n"
            assert client.sendmail(SENDER, ["one@prompt.test", "two@later.test"], content) == {}


@asynccontextmanager
async def waiting_site(folder: Path) -> AsyncIterator[Site]:
    """A stopped server: of each message one recipient is done and one waits. The world is friendly by now."""
    options = world_options()
    async with PracticeInternet(options, clock=SystemClock()) as world:
        more = (
            f'[net]\nnameservers = ["127.0.0.1:{world.dns_port}"]\n'
            'allowed_target_networks = ["127.0.0.0/8"]\n'
            f"[shaping.default]\nsmtp_port = {world.smtp_port}\n{SHAPING}"
        )
        (folder / "outrider.toml").write_text(configuration_for({}, workers=1, more=more), encoding="utf-8")
        site = Site(folder, world)
        await site.start()
        try:
            await asyncio.to_thread(send, site.server.ports["smtp"], range(COUNT))
            later = world.providers["later"].counts
            await site.until(
                lambda: site.taken("prompt") == names() and later.deferred >= COUNT, "all are tried"
            )
            await site.stop()
            assert site.finishes() == COUNT
            befriend(world, options)
            yield site
        finally:
            site.close()
        assert site.taken("prompt") == names(), "a finished recipient was resurrected"


def flip(site: Site, ref: ContentRef) -> None:
    with site.segment(ref).open("r+b") as file:
        file.seek(ref.offset + ref.length // 2)
        octet = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes((octet[0] ^ 1,)))


def zero(site: Site, ref: ContentRef) -> None:
    with site.segment(ref).open("r+b") as file:
        file.seek(ref.offset)
        file.write(bytes(ref.length))


@pytest.mark.parametrize("damage", [flip, zero])
async def test_a_damaged_frame_found_by_a_start_is_kept_aside(
    tmp_path: Path, damage: Callable[[Site, ContentRef], None]
) -> None:
    async with waiting_site(tmp_path) as site:
        damage(site, site.frames()[f"damage-{HIT}"])
        site.lose_checkpoint()
        await site.start()
        await site.until(lambda: site.taken("later") == names(HIT), "all others arrive")
        assert await site.queued() == 0
        assert len(site.quarantined()) == 1
        (told,) = site.said("spool.damaged")
        assert told["level"] == "error"
        assert Path(told["kept"]).name == site.quarantined()[0]
        await site.stop()


@pytest.mark.parametrize("damage", [flip, zero])
async def test_a_damaged_frame_found_when_it_is_due_is_held(
    tmp_path: Path, damage: Callable[[Site, ContentRef], None]
) -> None:
    async with waiting_site(tmp_path) as site:
        damage(site, site.frames()[f"damage-{HIT}"])
        await site.start()
        await site.until(lambda: site.taken("later") == names(HIT), "all others arrive")
        await site.until(lambda: len(site.said("spool.unreadable")) == 1, "the damaged one is told")
        assert await site.queued() == await site.queued("--held") == 1
        await site.stop()


async def test_a_cut_segment_costs_what_was_cut_off(tmp_path: Path) -> None:
    async with waiting_site(tmp_path) as site:
        frames = site.frames()
        first = frames[f"damage-{HIT}"]
        os.truncate(site.segment(first), first.offset + first.length // 2)
        cut = [number for number in range(COUNT) if frames[f"damage-{number}"].offset >= first.offset]
        await site.start()
        await site.until(lambda: site.taken("later") == names(*cut), "all before the cut arrive")
        await site.until(lambda: len(site.said("spool.unreadable")) == len(cut), "those cut off are told")
        assert await site.queued("--held") == len(cut)
        await site.stop()


async def test_what_is_appended_costs_nothing(tmp_path: Path) -> None:
    async with waiting_site(tmp_path) as site:
        with site.segment(site.frames()["damage-0"]).open("ab") as file:
            file.write(b"\xf5OF\x1a garbage " * 40)
        site.lose_checkpoint()
        await site.start()
        await site.until(lambda: site.taken("later") == names(), "all arrive")
        assert await site.queued() == 0
        await site.stop()


async def test_an_unreadable_segment_stops_nothing_else(tmp_path: Path) -> None:
    async with waiting_site(tmp_path) as site:
        path = site.segment(site.frames()["damage-0"])
        environment = {}
        path.chmod(0)
        if os.access(path, os.R_OK):  # root reads everything: the file primitive refuses instead
            environment["OUTRIDER_FAULTS"] = f"open:*/{path.parent.name}/{path.name}:1:EACCES:0"
        await site.start(environment)
        await site.until(lambda: len(site.said("spool.unreadable")) == COUNT, "each is told")
        await asyncio.to_thread(send, site.server.ports["smtp"], [COUNT])
        await site.until(lambda: site.taken("later") == {f"damage-{COUNT}": 1}, "new mail arrives")
        assert await site.queued("--held") == COUNT
        path.chmod(0o600)
        await site.stop()
        await site.start()
        await asyncio.to_thread(site.server.command, "queue", "release", "--held", "--yes")
        await site.until(lambda: site.taken("later") == {**names(), f"damage-{COUNT}": 1}, "all arrive")
        assert await site.queued() == 0
        await site.stop()
        del site.world.providers["prompt"].counts.deliveries[f"damage-{COUNT}", "one@prompt.test"]


async def test_a_lost_checkpoint_is_rebuilt_from_the_logs(tmp_path: Path) -> None:
    async with waiting_site(tmp_path) as site:
        site.lose_checkpoint()
        await site.start()
        await site.until(lambda: site.taken("later") == names(), "all arrive")
        assert await site.queued() == 0
        assert site.quarantined() == []
        await site.stop()


async def test_a_damaged_checkpoint_is_kept_aside_and_rebuilt(tmp_path: Path) -> None:
    async with waiting_site(tmp_path) as site:
        path = site.spool / "checkpoint.sqlite"
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.write(os.urandom(size))
        await site.start()
        await site.until(lambda: site.taken("later") == names(), "all arrive")
        assert await site.queued() == 0
        assert len(site.said("spool.checkpoint_damaged")) == 1
        assert site.quarantined()
        await site.stop()
