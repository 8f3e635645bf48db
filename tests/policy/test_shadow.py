"""Scripts beside the live ones: they are asked the same, change nothing, and what differs is listed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from inspect import isawaitable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from outrider.base.clock import FakeClock
from outrider.model.flow import Decided, Refusal, Submission
from outrider.model.ports import PolicySession
from outrider.policy import shadow as shadow_module
from outrider.policy.group_options import BindingGroupOptions
from outrider.policy.shadow import Shadow, ShadowBindings
from outrider.policy.sightings import Seen, Sighting
from tests.policy.acting import SMTP, Stage, submission

LIVE = """
from outrider.policy.api import Refuse
def connect(connection):
    connection.context["live"] = "yes"
def rcptto(connection, recipient):
    if recipient == "nobody@one.test":
        return Refuse(550, "5.1.1 Nobody here is nobody@one.test")
def set_binding(mail):
    mail.binding = "vip"
"""


class World:
    """Live scripts, and others beside them."""

    def __init__(
        self, folder: Path, tasks: asyncio.TaskGroup, other: str, live: str = LIVE, **more: Any
    ) -> None:
        for name in ("live", "other"):
            (folder / name).mkdir(exist_ok=True)
        self.live = Stage(folder / "live", live)
        self.shadow = Shadow(FakeClock(), tasks, **more)
        self.other = Stage(folder / "other", other)
        self.other.door._told = self.shadow
        self.shadow.door = self.other.door
        self.sightings: list[Sighting] = []

    def _tell(self, sighting: Sighting) -> None:
        decoded = msgspec.msgpack.decode(msgspec.msgpack.encode(sighting), type=Sighting)
        self.sightings.append(decoded)

    def open(self, number: int = 1) -> PolicySession:
        from outrider.policy.sightings import Opened

        self._tell(Opened(number, SMTP))
        return Seen(self.live.door.open(SMTP), number, self._tell)

    async def show(self) -> dict[str, Any]:
        """Have the shadow see what happened; its report."""
        for sighting in self.sightings:
            self.shadow.take(1, sighting)
        self.sightings.clear()
        while tasks := [each.task for each in self.shadow._sessions.values() if each.task]:
            await asyncio.wait(tasks)
        return self.shadow.report()


Make = Callable[..., World]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    async with asyncio.TaskGroup() as tasks:
        yield lambda other, **more: World(tmp_path, tasks, other, **more)


async def answered(answer: Any | Awaitable[Any]) -> Any:
    return await answer if isawaitable(answer) else answer


async def play(session: PolicySession, submitted: Submission | None = None) -> Decided | Refusal:
    """A whole session."""
    submitted = submitted or submission("joe@one.test", "ann@two.test")
    envelope = submitted.envelope
    await answered(session.connect(SMTP))
    await answered(session.ehlo(SMTP, "client.test"))
    await answered(session.mail_from(SMTP, envelope.mail_from))
    for recipient in envelope.recipients:
        await answered(session.rcpt_to(SMTP, recipient))
    await answered(session.rcpt_list(SMTP, envelope.recipients))
    decision: Decided | Refusal = await answered(session.decide(submitted))
    session.reset()
    session.close()
    return decision


def kinds(report: dict[str, Any]) -> list[tuple[str, str, str, int]]:
    return [(each["phase"], each["live"], each["shadow"], each["times"]) for each in report["differences"]]


async def test_the_same_scripts_differ_in_nothing(make: Make) -> None:
    world = make(LIVE)
    for number in range(3):
        await play(world.open(number))
    report = await world.show()
    assert (report["asked"], report["differing"], report["dropped"], report["sessions"]) == (21, 0, 0, 0)
    assert report["differences"] == report["examples"] == report["failures"] == []


async def test_what_differs_is_counted_and_the_newest_is_shown_without_addresses(make: Make) -> None:
    world = make(
        """
        from outrider.policy.api import Refuse
        def ehlo(connection, name):
            return Refuse(550, "5.7.1 Not you")
        def each_rcpt(mail):
            if mail.rcpt_to == "ann@two.test":
                mail.context["who"] = "ann"
                mail.message.header.set("Subject", "other")
                mail.routing_domain = "mx.two.test"
        """,
        shown=lambda text: text.replace("nobody@one.test", "*@one.test"),
    )
    await play(world.open(1))
    await play(world.open(2), submission("nobody@one.test"))
    report = await world.show()
    found = kinds(report)
    assert ("ehlo", "continue", "550 5.7.1 Not you", 2) in found
    assert ("rcptto", "550 5.1.1 Nobody here is *@one.test", "continue", 1) in found
    assert ("decision", "binding vip", "binding default", 3) in found
    assert ("decision", "routing domain two.test", "routing domain mx.two.test", 1) in found
    assert ("decision", "note who none", "note who another", 1) in found
    [content] = [each for each in found if each[1] == "content as it came"]
    assert content[2] == "content changed"
    assert report["differing"] == 5  # two EHLO, one RCPT, two messages
    assert "ann@" not in str(report)
    assert "nobody@" not in str(report)
    assert {each["domain"] for each in report["examples"]} >= {"one.test", "two.test"}


async def test_a_recipient_who_is_refused_alone_is_compared_by_the_reply(make: Make) -> None:
    text = """
        from outrider.policy.api import Refuse
        def set_binding(mail):
            mail.binding = "vip"
        def each_rcpt(mail):
            if mail.rcpt_to.endswith("@two.test"):
                return Refuse(%s)
        """
    live = text % "550, '5.7.1 no'"
    for other, expected in (
        (live, []),
        (text % "551, '5.1.6 gone'", [("decision", "refusal 550 5.7.1 no", "refusal 551 5.1.6 gone", 1)]),
        (LIVE, [("decision", "refusal 550 5.7.1 no", "refusal none", 1)]),
    ):
        world = make(other, live=live)
        await play(world.open(1))
        assert [each for each in kinds(await world.show()) if each[0] == "decision"] == expected


async def test_addresses_are_shown_where_everything_shows_them(make: Make) -> None:
    world = make("def data(mail): pass", with_addresses=True)
    await play(world.open(1))
    report = await world.show()
    assert [each["recipient"] for each in report["examples"]] == ["ann@two.test", "joe@one.test"]


async def test_nothing_of_the_live_session_is_changed_or_seen(make: Make) -> None:
    world = make(
        """
        def connect(connection):
            assert "live" not in connection.context
            connection.context["other"] = "yes"
        def data(mail):
            mail.discard("only here")
        """
    )
    session = world.open(1)
    decision = await play(session)
    assert isinstance(decision, Decided)
    report = await world.show()
    assert report["failures"] == []
    assert ("decision", "discard no", "discard only here", 2) in kinds(report)
    assert isinstance(session, Seen)
    assert dict(session._session._connection.context) == {"live": "yes"}  # type: ignore[attr-defined]


async def test_failures_of_the_shadow_are_told_with_script_and_line(make: Make) -> None:
    world = make("def mailfrom(connection, sender):\n    raise KeyError('x')\n")
    await play(world.open(1))
    report = await world.show()
    assert report["failures"] == [{"what": "a:2: mailfrom: ScriptError", "times": 1}]
    [(phase, live, shown, _)] = [each for each in kinds(report) if each[0] == "mailfrom"]
    assert (phase, live) == ("mailfrom", "continue")
    assert shown.endswith("(failed: a:2: mailfrom: ScriptError)")


async def test_a_slow_hook_keeps_only_its_own_session(make: Make) -> None:
    world = make(
        """
        import asyncio
        gate = asyncio.Event()
        async def mailfrom(connection, sender):
            if sender == "slow@sender.test":
                await gate.wait()
        """
    )
    slow = submission("joe@one.test", mail_from="slow@sender.test")
    await play(world.open(1), slow)
    await play(world.open(2))
    for sighting in world.sightings:
        world.shadow.take(1, sighting)
    world.sightings.clear()
    for _ in range(20):
        await asyncio.sleep(0)
    report = world.shadow.report()
    assert (report["sessions"], report["asked"]) == (1, 7 + 2)
    world.other.scripts[0]._functions[next(iter(world.other.scripts[0].phases))].__globals__["gate"].set()
    assert (await world.show())["sessions"] == 0


async def test_what_is_too_much_is_dropped_and_its_session_left_alone(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow_module, "WAITING_MAX", 10)
    monkeypatch.setattr(shadow_module, "SESSIONS_MAX", 2)
    world = make(LIVE)
    for number in range(4):
        await play(world.open(number))
    report = await world.show()
    assert report["dropped"] > 2
    assert (report["sessions"], report["differing"], report["waiting"]) == (0, 0, 0)


NOTING = """
from outrider.policy.api import Refuse
def mailfrom(connection, sender):
    connection.message["seen"] = "yes"
def data(mail):
    if "seen" not in mail.context:
        return Refuse(550, "5.7.1 Who are you?")
"""


async def test_a_session_that_lost_something_differs_for_no_reason_of_its_own(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow_module, "WAITING_MAX", 2)
    world = make(NOTING, live=NOTING)
    await play(world.open(1))
    opened, connect, ehlo, mail_from, *rest = world.sightings
    for sighting in (opened, connect, ehlo, mail_from):  # the last of them finds no room
        world.shadow.take(1, sighting)
    world.sightings.clear()
    await world.show()
    for sighting in rest:
        world.sightings = [sighting]
        await world.show()
    report = world.shadow.report()
    assert (report["dropped"], report["differing"], report["sessions"]) == (1, 0, 0)


async def test_a_session_that_began_before_is_not_looked_at(make: Make) -> None:
    world = make("def data(mail): mail.discard('x')")
    session = world.open(1)
    world.sightings.clear()
    await play(session)
    report = await world.show()
    assert (report["asked"], report["sessions"]) == (0, 0)


async def test_a_worker_that_is_gone_takes_its_sessions_along(make: Make) -> None:
    world = make(LIVE)
    world.open(1)
    assert (await world.show())["sessions"] == 1
    world.shadow.lost(1)
    assert (await world.show())["sessions"] == 0


async def test_what_is_each_messages_own_is_one_kind_of_difference(make: Make) -> None:
    world = make(
        """
        def each_rcpt(mail):
            mail.message.header.append("X-Own", mail.rcpt_to)
            mail.not_before_time = mail.received_time + mail.size + 1
        def set_binding(mail):
            mail.binding = "vip"
        """
    )
    for number in range(20):
        await play(world.open(number), submission(f"u{number}@one.test"))
    found = kinds(await world.show())
    assert sorted(found) == [
        ("decision", "content as it came", "content changed", 20),
        ("decision", "first attempt this time", "first attempt another", 20),
    ]


GROUPS = [
    BindingGroupOptions.model_validate({"name": "pool", "members": ["default", "vip"]}),
    BindingGroupOptions.model_validate({"name": "rest", "members": ["default"]}),
]


@pytest.mark.parametrize(
    ("assigned", "differ"),
    [
        ("pool", False),  # chance or turn chose a member
        ("vip", False),
        ("default", True),  # it was named, and is another one, whatever groups both are in
        ("rest", True),
    ],
)
async def test_members_of_the_group_that_the_shadow_chose_from_are_alike(
    make: Make, assigned: str, differ: bool
) -> None:
    world = make(f"def set_binding(mail): mail.binding = {assigned!r}")
    world.other.door._bindings = ShadowBindings({"default", "vip"}, GROUPS)
    await play(world.open(1))
    report = await world.show()
    assert any("binding" in each["live"] for each in report["differences"]) == differ


async def test_a_live_refusal_beside_none_and_the_other_way_round(make: Make) -> None:
    world = make("def data(mail): raise KeyError")
    await play(world.open(1), replace(submission(), notes=(("a", "b"),)))
    report = await world.show()
    [(phase, live, shown, times)] = kinds(report)
    assert (phase, live, times) == ("decision", "continue", 1)
    assert shown.startswith("421 4.3.0")
