"""What scripts of the way out say of attempts, and what is written then."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import pytest

from outrider.model.address import Address
from outrider.model.changes import Finished, Retried, Stored
from outrider.model.dispatch import Closed, Settle
from outrider.model.flow import Disposition, Outcome, Path, Phase, Recipient, Verdict
from outrider.model.hooks import HookPhase
from outrider.model.reply import Reply
from outrider.model.way_out import Departure, Ended, Leaving, Ruling, Stay
from outrider.server import way_out
from outrider.server.dispatcher import EXPIRED
from tests.server.conftest import PATH, EgressWorld, granted_entry, stored_message

T = TypeVar("T")
OK = Reply(250, "2.0.0", ("Ok",))
UNKNOWN = Reply(550, "5.1.1", ("No such user",))
LATER = Reply(451, "4.7.1", ("Later",))
ALL = frozenset({HookPhase.OUTBOUND, HookPhase.RESPONSE, HookPhase.DISPOSAL})


@dataclass
class Scripts:
    """`model.ports.WayOutPolicy` of a test."""

    phases: frozenset[HookPhase] = ALL
    ruling: Ruling | None = None
    notes: Mapping[str, str] = field(default_factory=dict)
    gate: asyncio.Event | None = None
    asked: list[Ended] = field(default_factory=list)
    ends: list[Ended] = field(default_factory=list)

    def outbound(self, leaving: Leaving) -> Sequence[Departure]:
        raise AssertionError("it is asked by the slot")

    def response(self, ended: Ended) -> Ruling | Awaitable[Ruling]:
        self.asked.append(ended)
        return self._when(self.ruling or Ruling(ended.verdict))

    def disposal(self, ended: Ended) -> Mapping[str, str] | Awaitable[Mapping[str, str]]:
        self.ends.append(ended)
        return self._when(self.notes)

    def _when(self, answer: T) -> T | Awaitable[T]:
        return answer if self.gate is None else self._later(self.gate, answer)

    @staticmethod
    async def _later(gate: asyncio.Event, answer: T) -> T:
        await gate.wait()
        return answer


@dataclass
class Desk:
    """An egress with scripts, and a message."""

    world: EgressWorld
    scripts: Scripts
    stored: Stored

    def outcome(self, reply: Reply, phase: Phase = Phase.RCPT, index: int = 0, attempts: int = 0) -> None:
        outcome = Outcome(reply, phase, host="mx.example.net")
        self.world.egress.outcome(PATH, 5, granted_entry(index, attempts=attempts), self.stored, outcome)

    def stays(self, stay: Stay, attempts: int = 0) -> None:
        outcome = Outcome(stay.reply, Phase.QUEUE, ours=True)
        granted = granted_entry(attempts=attempts)
        self.world.egress.stays(PATH, 5, granted, self.stored, outcome, stay)

    @property
    def kinds(self) -> list[str]:
        return [
            change.kind if isinstance(change, Finished) else type(change).__name__.lower()
            for change in self.world.log.changes
        ]

    @property
    def change(self) -> Finished | Retried:
        change = self.world.log.changes[0]
        assert isinstance(change, Finished | Retried)
        return change


@pytest.fixture
async def desk(egress_world: EgressWorld) -> Desk:
    recipients = [
        Recipient(Address(name, "example.net"), metadata=(("order", "7"),)) for name in ("joe", "ann")
    ]
    made = Desk(egress_world, Scripts(), stored_message(*recipients))
    egress_world.egress.way_out.take(made.scripts)
    egress_world.keep(made.stored)
    return made


async def turn() -> None:
    """What is due in this turn of the loop, and in the next two."""
    for _ in range(3):
        await asyncio.sleep(0)


# before the wire


async def test_held_back_is_no_attempt(desk: Desk) -> None:
    desk.stays(Stay(LATER, 90.0), attempts=2)
    await turn()
    change = desk.change
    assert isinstance(change, Retried)
    assert (change.attempts, change.due_time) == (2, desk.world.clock.wall() + 90)
    assert (change.attempted.outcome.reply, change.attempted.outcome.ours) == (LATER, True)
    assert desk.scripts.asked == [], "policy has decided; it is not asked what its own words mean"


async def test_held_back_ends_with_its_time(desk: Desk) -> None:
    seconds = 432_000.0  # shaping's default of message_expiration_seconds
    desk.world.clock.step_wall(desk.stored.received_time + seconds - 10 - desk.world.clock.wall())
    desk.stays(Stay(LATER, 90.0))
    await turn()
    assert isinstance(desk.change, Retried)
    assert desk.change.due_time == desk.stored.received_time + seconds
    desk.world.clock.advance(10)
    desk.stays(Stay(LATER, 90.0))
    await turn()
    assert desk.kinds[-2:] == ["expired", "stored"]
    assert [each.kind for each in desk.scripts.ends] == ["expired"]


async def test_a_permanent_refusal_bounces_with_its_reason(desk: Desk) -> None:
    desk.stays(Stay(Reply(550, "5.7.1", ("No licence",))))
    await turn()
    [(changes, [[wire]])] = desk.world.log.frames
    assert [type(change) for change in changes] == [Finished, Stored]
    assert desk.change.attempted.verdict == Verdict(Disposition.PERMANENT, "own-policy")
    assert b"Diagnostic-Code: x-outrider; 550 5.7.1 No licence" in bytes(wire)
    assert b"Remote-MTA" not in bytes(wire)
    assert desk.kinds == ["bounced", "stored"]


async def test_a_transient_refusal_counts_and_backs_off(desk: Desk) -> None:
    desk.stays(Stay(LATER), attempts=2)
    await turn()
    assert isinstance(desk.change, Retried)
    assert desk.change.attempts == 3
    assert desk.change.due_time > desk.world.clock.wall() + 1_000, "as the back-off says"


async def test_discarded_is_recorded_by_name_and_told_to_nobody(desk: Desk) -> None:
    desk.scripts.notes = {"rule": "stock"}
    desk.stays(Stay(Reply(550, "5.7.0", ("Discarded by policy",)), discard="sold out"))
    await turn()
    assert desk.kinds == ["discarded"]
    assert isinstance(desk.change, Finished)
    assert desk.change.reason == "sold out"
    assert desk.change.attempted.verdict.bounce_class == "discarded"
    assert desk.change.attempted.metadata == (("order", "7"), ("rule", "stock"))
    assert [each.kind for each in desk.scripts.ends] == ["discarded"]


# after it


async def test_a_ruling_holds(desk: Desk) -> None:
    desk.scripts.ruling = Ruling(Verdict(Disposition.TRANSIENT, "mailbox-unknown"), 90.0, {"rule": "grey"})
    desk.outcome(UNKNOWN, attempts=1)
    await turn()
    change = desk.change
    assert isinstance(change, Retried)
    assert (change.attempts, change.due_time) == (2, desk.world.clock.wall() + 90)
    assert change.attempted.outcome.reply == UNKNOWN, "the host's reply stays as it is"
    assert change.attempted.metadata == (("order", "7"), ("rule", "grey"))
    [asked] = desk.scripts.asked
    assert (asked.attempts, asked.kind, asked.index) == (2, "", 0)


async def test_a_deferral_can_be_ended_and_is_disposed_of(desk: Desk) -> None:
    desk.scripts.ruling = Ruling(Verdict(Disposition.PERMANENT, "greylisted"))
    desk.outcome(LATER)
    await turn()
    assert desk.kinds == ["bounced", "stored"]
    assert [(each.kind, each.outcome.reply) for each in desk.scripts.ends] == [("bounced", LATER)]


async def test_a_delivery_is_written_before_any_script_hears_of_it(desk: Desk) -> None:
    desk.scripts.gate = asyncio.Event()
    desk.outcome(OK, Phase.BODY)
    await turn()
    assert (desk.kinds, desk.scripts.asked) == (["delivered"], []), "it is written, and not yet in the log"
    desk.world.egress.way_out.written(desk.world.log.changes)
    assert [each.outcome.reply for each in desk.scripts.asked] == [OK]
    desk.world.egress.way_out.written(desk.world.log.changes)
    assert (len(desk.scripts.asked), desk.scripts.ends) == (1, []), "once"
    await desk.world.egress.way_out.close()


async def test_what_waits_is_written_when_it_is_answered_and_its_slot_ends_after_it(desk: Desk) -> None:
    gate = desk.scripts.gate = asyncio.Event()
    desk.outcome(UNKNOWN)
    desk.outcome(LATER, index=1)
    desk.world.egress.closed(5, None, 1)
    await turn()
    assert (desk.world.log.changes, desk.world.link.said) == ([], [])
    assert desk.world.egress.slots == {1: 5, 2: 5}, "a new dispatcher is not told of them before"
    gate.set()
    for _ in range(10):
        await asyncio.sleep(0)
    assert sorted(desk.kinds) == ["bounced", "retried", "stored"]
    assert desk.world.link.said == [Closed(5, None, 1)]
    assert not desk.world.egress.way_out.busy


async def test_what_takes_too_long_at_the_end_counts_as_failed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(way_out, "DRAIN_SECONDS", 0.01)
    desk.scripts.gate = asyncio.Event()
    desk.outcome(UNKNOWN)
    desk.outcome(LATER, index=1)
    await desk.world.egress.drain()
    await turn()
    assert desk.kinds == ["retried", "retried"], "nobody is bounced because a script gave no answer"


@pytest.mark.parametrize("kind", ["attempt", "expire"])
async def test_what_never_reaches_a_connection_is_told_too(desk: Desk, kind: str) -> None:
    no_route = Outcome(Reply(550, "5.1.2", ("No such domain",)), Phase.RESOLVE, ours=True)
    outcome = no_route if kind == "attempt" else Outcome(EXPIRED, Phase.QUEUE, ours=True)
    desk.world.egress.settle(Settle(PATH, outcome, (granted_entry(attempts=3),), kind))
    await turn()
    assert [each.outcome for each in desk.scripts.asked] == ([no_route] if kind == "attempt" else [])
    assert [each.kind for each in desk.scripts.ends] == ["bounced" if kind == "attempt" else "expired"]


async def test_mail_for_the_server_itself_is_nobody_s_affair(desk: Desk) -> None:
    path = Path("inbound", "default", "inbound:bounce")
    for reply, phase in ((UNKNOWN, Phase.RCPT), (OK, Phase.BODY)):
        desk.world.egress.outcome(path, 5, granted_entry(), desk.stored, Outcome(reply, phase))
    await turn()
    assert (desk.scripts.asked, desk.scripts.ends) == ([], [])
    assert desk.kinds == ["delivered", "bounced", "stored"]


async def test_without_scripts_of_a_phase_nobody_is_asked(desk: Desk) -> None:
    desk.scripts.phases = frozenset({HookPhase.OUTBOUND})
    desk.world.egress.way_out.take(desk.scripts)
    desk.outcome(UNKNOWN)
    await turn()
    assert (desk.scripts.asked, desk.scripts.ends) == ([], [])
    assert desk.kinds == ["bounced", "stored"]
    assert desk.world.egress.way_out.is_asked
    desk.world.egress.way_out.take(None)
    assert not desk.world.egress.way_out.is_asked


async def test_scripts_that_go_meanwhile_answer_what_they_were_asked(desk: Desk) -> None:
    gate = desk.scripts.gate = asyncio.Event()
    desk.scripts.ruling = Ruling(Verdict(Disposition.TRANSIENT, "mailbox-unknown"), 90.0)
    desk.outcome(UNKNOWN)
    desk.world.egress.way_out.take(None)
    gate.set()
    await turn()
    await turn()
    assert desk.kinds == ["retried"]
