"""The way of sightings to a shadow, and its process: nothing waits, losses are counted, an end is told."""

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.base.clock import FakeClock
from outrider.base.errors import ConfigError
from outrider.base.files import OsFiles
from outrider.base.log import ListLog
from outrider.model.hooks import HookPhase
from outrider.model.ports import PolicySession
from outrider.policy.sightings import Asked, Closed, Opened, Reset, Settled, Sighting
from outrider.server.requests import RefusedError
from outrider.server.settings import Settings
from outrider.server.shadow_link import BUFFER_OCTETS_MAX, FRAME_OCTETS_MAX, SightingReader, Tap
from outrider.server.shadows import FILE, Shadows, scripts_in
from tests.policy.acting import SMTP, submission


class Transport:
    """A socket that takes nothing until it is told to."""

    def __init__(self) -> None:
        self.waiting = 0
        self.octets = b""

    def set_write_buffer_limits(self, high: int) -> None:
        assert high == BUFFER_OCTETS_MAX

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def write(self, octets: bytes) -> None:
        self.octets += octets
        self.waiting += len(octets)


class Quiet:
    """A live session that says nothing."""

    def connect(self, _origin: object) -> None:
        return None

    def reset(self) -> None:
        pass

    def close(self) -> None:
        pass


def opened(tap: Tap) -> Transport:
    transport = Transport()
    tap.connection_made(cast("asyncio.BaseTransport", transport))
    return transport


def is_on(tap: Tap) -> bool:
    return tap.is_on


def session(tap: Tap) -> PolicySession:
    return tap.session(cast("PolicySession", Quiet()), SMTP)


def test_what_happens_arrives_in_its_order() -> None:
    tap = Tap(Path("absent"))
    assert is_on(tap) is False
    transport = opened(tap)
    assert is_on(tap) is True
    seen = session(tap)
    assert seen.connect(SMTP) is None
    seen.reset()
    seen.close()
    found = SightingReader().feed(transport.octets)
    assert found == [Opened(1, SMTP), Asked(1, HookPhase.CONNECT, SMTP, "continue"), Reset(1), Closed(1)]


def test_what_the_socket_does_not_take_is_dropped_with_its_session() -> None:
    tap = Tap(Path("absent"))
    transport = opened(tap)
    seen, other = session(tap), session(tap)
    transport.waiting = BUFFER_OCTETS_MAX
    seen.connect(SMTP)
    transport.waiting = 0
    seen.reset()  # of a session that lost something nothing more is told
    seen.close()
    other.connect(SMTP)
    found = SightingReader().feed(transport.octets)
    assert found == [Opened(1, SMTP), Opened(2, SMTP), Asked(2, HookPhase.CONNECT, SMTP, "continue")]
    assert tap.dropped == 1
    assert tap._broken == set()


def test_a_shadow_that_went_away_is_told_nothing() -> None:
    tap = Tap(Path("absent"))
    transport = opened(tap)
    seen = session(tap)
    before = transport.octets
    tap.connection_lost(None)
    assert is_on(tap) is False
    assert seen.connect(SMTP) is None
    seen.close()
    assert transport.octets == before


SIGHTINGS: list[Sighting] = [
    Opened(1, SMTP),
    Asked(1, HookPhase.RCPTTO, SMTP, "550 5.1.1 no", recipients=submission().envelope.recipients),
    Settled(1, submission("a@one.test", "b@two.test"), "continue"),
    Reset(1),
    Closed(1),
]


@given(cuts=st.lists(st.integers(0, 2_000), max_size=12))
def test_however_the_octets_are_split(cuts: list[int]) -> None:
    encoded = [msgspec.msgpack.encode(each) for each in SIGHTINGS]
    octets = b"".join(len(each).to_bytes(4, "big") + each for each in encoded)
    reader = SightingReader()
    found: list[Sighting] = []
    places = sorted({0, len(octets), *(cut % len(octets) for cut in cuts)})
    for start, end in pairwise(places):
        found += reader.feed(octets[start:end])
    assert found == SIGHTINGS


@pytest.mark.parametrize("octets", [(FRAME_OCTETS_MAX + 1).to_bytes(4, "big"), b"\0\0\0\1\xc1"])
def test_octets_that_are_no_sightings(octets: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        SightingReader().feed(octets)


class Site:
    """What a control process knows of a server with one script."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.live = folder / "live.py"
        self.live.write_text("def data(mail): pass\n", encoding="utf-8")
        (folder / "run").mkdir()
        self.log = ListLog()
        settings = {
            "server": {"state_directory": str(folder), "run_directory": str(folder / "run")},
            "policy": {"script": [{"name": "live", "source": str(self.live)}]},
        }
        self.settings = Settings.model_validate(settings)

    def shadows(self) -> Shadows:
        return Shadows(OsFiles(), FakeClock(), self.log, lambda: self.settings)

    def said(self, event: str) -> list[dict[str, Any]]:
        return [fields for _, name, fields in self.log.lines if name == event]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


async def test_a_process_that_dies_is_told_of_and_another_can_begin(site: Site) -> None:
    shadows = site.shadows()
    scripts = [("live", str(site.live))]
    try:
        assert (await shadows.start(scripts, "ann"))["running"]
        assert (site.folder / FILE).exists()
        assert (site.folder / "run" / "shadow.sock").exists()
        process = shadows._process
        assert process is not None
        process.kill()
        await process.wait()
        report = await shadows.report()
        assert not report["running"]
        assert "its process ended with -9" in report["ended"]
        assert not (site.folder / FILE).exists()
        with pytest.raises(RefusedError, match="no shadow runs: its process ended"):
            await shadows.stop()
        assert (await shadows.start(scripts, "ann"))["running"]
        assert (await shadows.stop())["asked"] == 0
    finally:
        await shadows.close()
    assert not (site.folder / "run" / "shadow.sock").exists()


async def test_scripts_that_cannot_be_loaded_leave_nothing_behind(site: Site) -> None:
    site.live.write_text("def data(: pass\n", encoding="utf-8")
    shadows = site.shadows()
    with pytest.raises(ConfigError, match=r"live\.py:1: load"):
        await shadows.start([("live", str(site.live))], "ann")
    assert shadows._process is None
    assert not (site.folder / FILE).exists()
    assert not (await shadows.report())["running"]


async def test_the_next_control_process_says_that_the_run_is_over(site: Site) -> None:
    shadows = site.shadows()
    await shadows.start([("live", str(site.live))], "ann")
    await shadows.close()
    report = await site.shadows().report()
    assert report["ended"].startswith("the run of live since ")
    assert report["ended"].endswith("ended when the server was restarted")
    assert site.said("policy.shadow_ended") == [{"reason": report["ended"]}]
    assert (await site.shadows().report())["ended"] == ""
    (site.folder / FILE).write_text("{", encoding="utf-8")
    assert "an unknown time" in (await site.shadows().report())["ended"]


def test_scripts_of_a_directory_are_asked_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("20-b.py", "10-a.lua", "notes.txt", "shop.py", "ä b.py"):
        (tmp_path / name).write_text("", encoding="utf-8")
    (tmp_path / "30-c.py").mkdir()
    assert [name for name, _ in scripts_in(tmp_path)] == [
        "script-10-a",
        "script-20-b",
        "shop",
        "script-__b",
    ]
