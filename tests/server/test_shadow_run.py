"""The way of sightings to a shadow, and its process: nothing waits, losses are counted, an end is told."""

import asyncio
import signal
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.base.clock import FakeClock
from outrider.base.errors import ConfigError, UnavailableError
from outrider.base.files import OsFiles
from outrider.base.log import ListLog
from outrider.model.hooks import HookPhase
from outrider.model.ports import PolicySession
from outrider.model.way_out import Ruling
from outrider.policy.sightings import Asked, Closed, Message, Missed, Opened, Reset, Settled
from outrider.policy.way_out_sightings import Concluded, Departed, Outward, Said, of_ruling
from outrider.server import shadows as shadows_module
from outrider.server.requests import RefusedError
from outrider.server.settings import Settings
from outrider.server.shadow_link import BUFFER_OCTETS_MAX, FRAME_OCTETS_MAX, SightingReader, Tap
from outrider.server.shadows import FILE, Shadows, scripts_in
from tests.policy.acting import SMTP, submission
from tests.policy.leaving import UNKNOWN, ended_of, leaving_of


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


def test_what_was_asked_on_the_way_out_arrives_alone_or_is_counted() -> None:
    tap = Tap(Path("absent"))
    transport = opened(tap)
    ruling = Ruling(ended_of(UNKNOWN).verdict, None, {"rule": "one"})
    told: list[Outward] = [
        Departed(leaving_of(), (Said("edited", b"digest"),)),
        Concluded(ended_of(UNKNOWN), of_ruling(ruling)),
    ]
    tap.outward(told[0])
    transport.waiting = BUFFER_OCTETS_MAX
    tap.outward(told[1])
    transport.waiting = 0
    tap.outward(told[1])
    assert SightingReader().feed(transport.octets) == [told[0], Missed(1), told[1]]


def test_what_the_socket_does_not_take_is_dropped_with_its_session() -> None:
    tap = Tap(Path("absent"))
    transport = opened(tap)
    seen, other = session(tap), session(tap)
    transport.waiting = BUFFER_OCTETS_MAX
    seen.connect(SMTP)
    transport.waiting = 0
    seen.reset()  # of a session that lost something no more is told than that it ended
    seen.close()
    other.connect(SMTP)
    found = SightingReader().feed(transport.octets)
    told = Asked(2, HookPhase.CONNECT, SMTP, "continue")
    assert found == [Opened(1, SMTP), Opened(2, SMTP), Missed(1), Closed(1), told]
    assert tap._broken == set()


def test_a_session_that_ends_while_there_is_no_room_is_ended_later() -> None:
    """The shadow has room for so many sessions; one that it never hears the end of would keep its place."""
    tap = Tap(Path("absent"))
    transport = opened(tap)
    seen, other = session(tap), session(tap)
    transport.waiting = BUFFER_OCTETS_MAX
    seen.close()
    assert session(tap).connect(SMTP) is None  # there was no room to say that it began
    transport.waiting = 0
    other.reset()
    found = SightingReader().feed(transport.octets)
    assert found == [Opened(1, SMTP), Opened(2, SMTP), Closed(1), Missed(1), Reset(2)]


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


SIGHTINGS: list[Message] = [
    Opened(1, SMTP),
    Asked(1, HookPhase.RCPTTO, SMTP, "550 5.1.1 no", recipients=submission().envelope.recipients),
    Settled(1, submission("a@one.test", "b@two.test"), "continue"),
    Reset(1),
    Closed(1),
    Missed(3),
]


@given(cuts=st.lists(st.integers(0, 2_000), max_size=12))
def test_however_the_octets_are_split(cuts: list[int]) -> None:
    encoded = [msgspec.msgpack.encode(each) for each in SIGHTINGS]
    octets = b"".join(len(each).to_bytes(4, "big") + each for each in encoded)
    reader = SightingReader()
    found: list[Message] = []
    places = sorted({0, len(octets), *(cut % len(octets) for cut in cuts)})
    for start, end in pairwise(places):
        found += reader.feed(octets[start:end])
    assert found == SIGHTINGS


@pytest.mark.parametrize("octets", [(FRAME_OCTETS_MAX + 1).to_bytes(4, "big"), b"\0\0\0\1\xc1"])
def test_octets_that_are_no_sightings(octets: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        SightingReader().feed(octets)


DATA = "def data(mail): pass\n"


class Site:
    """What a control process knows of a server with one script."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.live = folder / "live.py"
        self.live.write_text(DATA, encoding="utf-8")
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


async def test_a_process_that_does_not_answer_can_be_ended(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    shadows = site.shadows()
    try:
        await shadows.start([("live", str(site.live))], "ann")
        process = shadows._process
        assert process is not None
        monkeypatch.setattr(shadows_module, "ANSWER_SECONDS", 0.05)
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(UnavailableError, match="does not answer"):
            await shadows.report()
        last = await shadows.stop()
        assert (last["running"], last["ended"]) == (False, "its process did not answer and was killed")
        assert process.returncode == -signal.SIGKILL
        monkeypatch.undo()
        assert (await shadows.start([("live", str(site.live))], "ann"))["running"]
    finally:
        await shadows.close()


async def test_a_process_begins_in_its_own_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadows_module, "ANSWER_SECONDS", 0.0)  # much less than a start of Python takes
    shadows = site.shadows()
    try:
        assert (await shadows.start([("live", str(site.live))], "ann"))["running"]
    finally:
        await shadows.close()


async def test_an_answer_that_comes_too_late_is_not_that_of_the_next_question(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    shadows = site.shadows()
    try:
        await shadows.start([("live", str(site.live))], "ann")
        process = shadows._process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        monkeypatch.setattr(shadows_module, "ANSWER_SECONDS", 0.05)
        for _ in range(3):
            with pytest.raises(UnavailableError, match="does not answer"):
                await shadows.report()
        monkeypatch.undo()
        process.send_signal(signal.SIGCONT)
        assert (await shadows.report())["asked"] == 0
        assert process.stdout is not None
        assert process.stdout._buffer == b""  # type: ignore[attr-defined]  # each answer has been read
    finally:
        await shadows.close()


async def test_what_a_script_prints_is_no_answer(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    site.live.write_text("import os\nprint('hello')\nos.write(1, b'there')\n" + DATA, encoding="utf-8")
    shadows = site.shadows()
    try:
        assert (await shadows.start([("live", str(site.live))], "ann"))["running"]
        assert (await shadows.report())["asked"] == 0
    finally:
        await shadows.close()
    said = capfd.readouterr().err
    assert "there" in said


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
