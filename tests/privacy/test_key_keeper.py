"""Keys that policy brings are written beside the loop, and a message waits for them."""

import asyncio
import threading
from pathlib import Path

import pytest

from outrider.base.clock import FakeClock
from outrider.base.errors import ConfigError
from outrider.base.files import OsFiles
from outrider.base.log import ListLog
from outrider.privacy import key_keeper
from outrider.privacy.key_keeper import KeyKeeper
from outrider.privacy.signing_keys import TOUCH_SECONDS, SigningKeys
from tests.patience import PATIENCE_SECONDS
from tests.wire.dkim.signing import pem

TEXT = pem("ed25519").decode()
OTHER = pem("ed25519b").decode()


class Disk(SigningKeys):
    """A disk that waits, or fails, as a test says."""

    def __init__(self, folder: Path, clock: FakeClock) -> None:
        super().__init__(OsFiles(), folder, None, clock)
        self.go = threading.Event()
        self.writes: list[tuple[str, bool]] = []
        self.is_broken = False

    def write(self, name: str, text: str) -> None:
        assert self.go.wait(PATIENCE_SECONDS)
        self.writes.append((name, threading.current_thread() is threading.main_thread()))
        if self.is_broken:
            raise ConfigError("signing key cannot be written: No space left on device")
        super().write(name, text)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def disk(tmp_path: Path, clock: FakeClock) -> Disk:
    return Disk(tmp_path / "dkim", clock)


async def test_a_new_key_has_its_name_at_once_and_is_waited_for(disk: Disk) -> None:
    keeper = KeyKeeper(disk, ListLog())
    name = keeper.keep(TEXT)
    assert keeper.keep(TEXT) == name
    assert keeper.unwritten(["file:/other.pem"]) is None
    first, second = keeper.unwritten([name, name]), keeper.unwritten([name])
    assert first is not None
    assert second is not None
    disk.go.set()
    await asyncio.gather(first, second)
    assert disk.writes == [(name, False)]
    assert keeper.unwritten([name]) is None
    assert keeper.keep(TEXT) == name
    assert keeper.unwritten([name]) is None
    assert disk.get(name).algorithm == "ed25519-sha256"


async def test_a_key_is_written_again_within_the_hour_and_waited_for(disk: Disk, clock: FakeClock) -> None:
    keeper = KeyKeeper(disk, ListLog())
    disk.go.set()
    name = keeper.keep(TEXT)
    waiting = keeper.unwritten([name])
    assert waiting is not None
    await waiting
    clock.advance(TOUCH_SECONDS)
    keeper.keep(TEXT)
    waiting = keeper.unwritten([name])
    assert waiting is not None
    await waiting
    assert len(disk.writes) == 2


async def test_a_key_that_cannot_be_written_fails_for_all_who_wait_and_is_tried_again(disk: Disk) -> None:
    log = ListLog()
    keeper = KeyKeeper(disk, log)
    disk.is_broken = True
    name, other = keeper.keep(TEXT), keeper.keep(OTHER)
    waiting = [keeper.unwritten([name]), keeper.unwritten([other, name])]
    disk.go.set()
    for each in waiting:
        assert each is not None
        with pytest.raises(ConfigError, match="No space left"):
            await each
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(log.lines) < 2:  # noqa: ASYNC110 - a line is written when its write has ended
            await asyncio.sleep(0)
    assert [event for _, event, _ in log.lines] == ["policy.key_not_kept"] * 2
    for names in ([name], [other]):  # who comes later is told too
        late = keeper.unwritten(names)
        assert late is not None
        with pytest.raises(ConfigError, match="No space left"):
            await late
    disk.is_broken = False
    again = keeper.keep(TEXT)
    waiting = [keeper.unwritten([again])]
    assert waiting[0] is not None
    await waiting[0]
    assert keeper.unwritten([name]) is None
    assert disk.get(name).algorithm == "ed25519-sha256"


async def test_failures_that_are_remembered_are_bounded(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_keeper, "FAILED_MAX", 1)
    log = ListLog()
    keeper = KeyKeeper(disk, log)
    disk.is_broken = True
    disk.go.set()
    first = keeper.keep(TEXT)
    waiting = keeper.unwritten([first])
    assert waiting is not None
    with pytest.raises(ConfigError):
        await waiting
    second = keeper.keep(OTHER)
    waiting = keeper.unwritten([second])
    assert waiting is not None
    with pytest.raises(ConfigError):
        await waiting
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(log.lines) < 2:  # noqa: ASYNC110 - a line is written when its write has ended
            await asyncio.sleep(0)
    assert keeper.unwritten([first]) is None
    late = keeper.unwritten([second])
    assert late is not None
    with pytest.raises(ConfigError):
        await late


async def test_who_gives_up_waiting_does_not_stop_the_writing(disk: Disk) -> None:
    keeper = KeyKeeper(disk, ListLog())
    name = keeper.keep(TEXT)
    waiting = keeper.unwritten([name])
    assert waiting is not None
    task = asyncio.ensure_future(waiting)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    rest = keeper.unwritten([name])
    assert rest is not None
    disk.go.set()
    await rest
    assert disk.writes == [(name, False)]


async def test_what_is_no_key_is_refused_at_once(disk: Disk) -> None:
    with pytest.raises(ConfigError, match="the text of a signing key"):
        KeyKeeper(disk, ListLog()).keep("no key")


def test_without_a_loop_it_is_written_at_once(disk: Disk) -> None:
    disk.go.set()
    name = KeyKeeper(disk, ListLog()).keep(TEXT)
    assert disk.writes == [(name, True)]
