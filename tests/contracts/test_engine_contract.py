"""What every `Engine` owes, as a state machine against a model: nothing is lost, nothing comes back."""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from outrider.base.clock import FakeClock
from outrider.base.errors import SpoolError
from outrider.base.files import OsFiles
from outrider.base.log import ListLog
from outrider.model.changes import Entry
from outrider.model.last_reply import last_reply_of
from outrider.spool.engine import EmbeddedEngine
from outrider.spool.engine_port import Lease
from outrider.spool.filters import QueueFilter
from tests.spool.samples import finished, retried, small_as, spool_keys, stored

DOMAINS = ("one.example", "two.example", "three.example")
EVERYTHING = QueueFilter()
Result = TypeVar("Result")


class EngineMachine(RuleBasedStateMachine):
    """Commits, leases, administration, upkeep and crashes in any order."""

    codec = "plain"

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp(prefix="engine-")
        self.runner = asyncio.Runner()
        self.clock = FakeClock()
        self.log = ListLog()
        self.alive: dict[int, Entry] = {}
        self.contents: dict[int, bytes] = {}
        self.ids: dict[int, str] = {}
        self.leases: dict[int, Lease] = {}
        self.ever: set[int] = set()
        self.count = 0

    def do(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self.runner.run(work)

    @initialize()
    def start(self) -> None:
        self.engine = self.do(self.open())

    async def open(self) -> EmbeddedEngine:
        return await EmbeddedEngine.open(
            OsFiles(), f"{self.folder}/spool", small_as(self.codec), self.clock, self.log, keys=spool_keys()
        )

    def teardown(self) -> None:
        self.do(self.engine.close())
        self.runner.close()
        shutil.rmtree(self.folder)

    # -- messages --

    @rule(
        domains=st.lists(st.sampled_from(DOMAINS), min_size=1, max_size=3),
        size=st.sampled_from([1, 100, 2_000, 9_000, 40_000, 100_000]),
        tenant=st.sampled_from("ab"),
    )
    def accept(self, domains: list[str], size: int, tenant: str) -> None:
        self.take_in(domains, size, tenant, [], None)

    def take_in(
        self, domains: list[str], size: int, tenant: str, before: list[Any], epoch: int | None
    ) -> None:
        self.count += 1
        content = (b"%08d" % self.count) * (size // 8 + 1)
        first = self.engine.reserve(len(domains))
        assert first not in self.ever
        message = stored(first, content, domains, number=self.count, tenant=tenant)
        ref = self.do(self.engine.commit([*before, message], [[content]], epoch=epoch))
        for number, delivery in enumerate(message.deliveries):
            entry = first + number
            self.ever.add(entry)
            self.contents[entry] = content
            self.alive[entry] = Entry(
                entry,
                ref,
                number,
                "smtp",
                "default",
                delivery.routing_domain,
                tenant,
                "s",
                0,
                len(content),
                message.received_time,
                message.received_time,
                message_id=message.message_id,
            )

    @rule(count=st.integers(20, 150), size=st.sampled_from([500, 3_000]))
    def accept_many(self, count: int, size: int) -> None:
        for number in range(count):
            self.take_in([DOMAINS[number % 3]], size, "a", [], None)

    def pick(self, data: st.DataObject, leased: bool) -> int | None:
        found = sorted(number for number in self.alive if (number in self.leases) == leased)
        return data.draw(st.sampled_from(found)) if found else None

    @rule(data=st.data(), share=st.integers(1, 10))
    def finish_many(self, data: st.DataObject, share: int) -> None:
        """Finish a stretch of entries that nobody leased, so that whole segments die."""
        free = sorted(number for number in self.alive if number not in self.leases)
        if not free:
            return
        start = data.draw(st.integers(0, len(free) - 1))
        for number in free[start : start + max(1, len(free) * share // 10)]:
            self.do(self.engine.commit([finished(number)]))
            del self.alive[number]

    @rule(data=st.data(), with_bounce=st.booleans())
    def finish(self, data: st.DataObject, with_bounce: bool) -> None:
        number = self.pick(data, leased=True)
        if number is None:
            return
        epoch = self.leases.pop(number).epoch
        if with_bounce:
            self.take_in(["one.example"], 300, "a", [finished(number)], epoch)
        else:
            self.do(self.engine.commit([finished(number)], epoch=epoch))
        del self.alive[number]

    @rule(data=st.data(), leased=st.booleans(), delay=st.integers(0, 5_000))
    def try_later(self, data: st.DataObject, leased: bool, delay: int) -> None:
        number = self.pick(data, leased)
        if number is None:
            return
        entry = self.alive[number]
        lease = self.leases.pop(number, None)
        change = retried(entry, self.clock.wall() + delay)
        self.do(self.engine.commit([change], epoch=None if lease is None else lease.epoch))
        self.alive[number] = msgspec.structs.replace(
            entry,
            version=change.version,
            attempts=change.attempts,
            due_time=change.due_time,
            last=entry.last or last_reply_of(change.attempted),
        )

    # -- leases --

    @rule(limit=st.integers(1, 30), ttl=st.integers(1, 100), domain=st.sampled_from([None, *DOMAINS]))
    def lease(self, limit: int, ttl: int, domain: str | None) -> None:
        keys = None if domain is None else [("smtp", "default", domain)]
        leases = self.do(self.engine.lease(keys, limit, ttl))
        now = self.clock.wall()
        due = {
            number
            for number, entry in self.alive.items()
            if entry.due_time <= now
            and not entry.held
            and number not in self.leases
            and (domain is None or (entry.binding, entry.routing_domain) == ("default", domain))
        }
        got = {lease.entry.entry for lease in leases}
        assert got <= due
        assert len(got) == len(leases) == min(limit, len(due))
        self.leases.update((lease.entry.entry, lease) for lease in leases)

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        number = self.pick(data, leased=True)
        if number is not None:
            self.do(self.engine.release([number]))
            del self.leases[number]

    @rule(data=st.data(), ttl=st.integers(1, 100))
    def extend(self, data: st.DataObject, ttl: int) -> None:
        number = self.pick(data, leased=True)
        if number is not None:
            assert self.do(self.engine.extend([number, 5], ttl)) == [number]
            self.leases[number] = self.leases[number]._replace(until_time=self.clock.wall() + ttl)

    @rule(seconds=st.integers(0, 3_000))
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(seconds)
        now = self.clock.wall()
        self.leases = {number: lease for number, lease in self.leases.items() if lease.until_time > now}

    @rule(seconds=st.integers(-3_600, 864_000))
    def clock_steps(self, seconds: int) -> None:
        self.clock.step_wall(seconds)
        now = self.clock.wall()
        self.leases = {number: lease for number, lease in self.leases.items() if lease.until_time > now}

    @rule(data=st.data())
    def a_stranger_changes_nothing(self, data: st.DataObject) -> None:
        number = self.pick(data, leased=True)
        if number is None:
            return
        with pytest.raises(SpoolError):
            self.do(self.engine.commit([finished(number)], epoch=self.leases[number].epoch + 1))
        with pytest.raises(SpoolError):
            self.do(self.engine.commit([finished(number)]))

    # -- administration --

    @rule(
        what=st.sampled_from(["hold", "unhold", "retry", "move", "purge"]),
        domains=st.lists(st.sampled_from(DOMAINS), max_size=2, unique=True),
        tenant=st.sampled_from([None, None, "a", "b"]),
        attempts=st.sampled_from([None, None, 1]),
        held=st.sampled_from([None, None, None, True, False]),
        reply=st.sampled_from([None, None, "4.0.0*LATER", "gone"]),
        dry_run=st.booleans(),
    )
    def administer(
        self,
        what: str,
        domains: list[str],
        tenant: str | None,
        attempts: int | None,
        held: bool | None,
        reply: str | None,
        dry_run: bool,
    ) -> None:
        chosen = QueueFilter(
            tenant=tenant, routing_domains=frozenset(domains), attempts_min=attempts, held=held, reply=reply
        )
        if what == "unhold":
            chosen = msgspec.structs.replace(chosen, held=True)
        meant = [entry for entry in self.alive.values() if chosen.matches(entry)]
        engine = self.engine
        now = self.clock.wall()
        changes: dict[str, Any] = {}
        match what:
            case "hold":
                result = self.do(engine.hold(chosen, "me", "why", dry_run=dry_run))
                changes = {"held": "why"}
            case "unhold":
                result = self.do(engine.unhold(chosen, "me", dry_run=dry_run))
                changes = {"held": ""}
            case "retry":
                result = self.do(engine.retry(chosen, "me", dry_run=dry_run))
                changes = {"due_time": now}
            case "move":
                result = self.do(engine.move(chosen, "me", binding="other", dry_run=dry_run))
                changes = {"binding": "other"}
            case _:
                result = self.do(engine.purge(chosen, "me", "why", dry_run=dry_run))
        assert result.matched == len(meant)
        if dry_run:
            assert (result.changed, result.busy) == (0, 0)
            return
        assert result.busy == sum(entry.entry in self.leases for entry in meant)
        assert result.changed == len(meant) - result.busy
        for entry in meant:
            if entry.entry in self.leases:
                continue
            if what == "purge":
                del self.alive[entry.entry]
            else:
                self.alive[entry.entry] = msgspec.structs.replace(entry, version=entry.version + 1, **changes)

    # -- upkeep and crashes --

    @rule()
    def maintain(self) -> None:
        self.do(self.engine.maintain())

    @rule()
    def maintain_later(self) -> None:
        """What was postponed is looked at again."""
        self.clock.at += 10_000
        self.do(self.engine.maintain())
        self.do(self.engine.maintain())

    @rule(
        lose=st.sampled_from(["nothing", "nothing", "checkpoint", "damage", "counter"]), clean=st.booleans()
    )
    def end_and_start(self, lose: str, clean: bool) -> None:
        self.do(self.engine.close() if clean else self.engine.crash())
        self.leases.clear()
        spool = Path(self.folder) / "spool"
        if lose == "checkpoint":
            for path in spool.glob("checkpoint*"):
                path.unlink()
        elif lose == "damage":
            path = spool / "checkpoint.sqlite"
            octets = bytearray(path.read_bytes())
            octets[len(octets) // 2 :] = bytes(len(octets) - len(octets) // 2)
            path.write_bytes(octets)
            for more in spool.glob("checkpoint.sqlite-*"):
                more.unlink()
        elif lose == "counter":
            (spool / "next_log").unlink()
        self.engine = self.do(self.open())

    @precondition(lambda self: hasattr(self, "engine"))
    @invariant()
    def holds_what_it_should(self) -> None:
        found: dict[int, Entry] = {}
        after = -1
        while entries := self.do(self.engine.list(EVERYTHING, 100, after)):
            after = entries[-1].entry
            found.update((entry.entry, entry) for entry in entries)
        assert found.keys() == self.alive.keys()
        for number, entry in found.items():
            expected = msgspec.structs.replace(self.alive[number], ref=entry.ref)
            assert entry == expected
        for number in list(found)[:: max(1, len(found) // 5)]:
            message, content = self.do(self.engine.read(found[number].ref, number))
            assert content == self.contents[number]
            assert message.message_id == found[number].message_id
        table = self.engine.index.table
        assert table.alive == len(self.alive) == sum(key.alive for key in table.keys.values())
        assert table.held == sum(bool(entry.held) for entry in self.alive.values())
        assert len(table.resident) == len(self.leases)
        waiting = sum(key.disk + len(key.parked or ()) for key in table.keys.values())
        assert table.alive == waiting + table.held + len(table.resident)
        assert sum(count for count, _ in table.live.values()) == table.alive
        assert not [line for line in self.log.lines if line[1] in {"spool.damaged", "spool.callback_failed"}]


SHORT = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def test_the_embedded_engine_keeps_the_contract() -> None:
    run_state_machine_as_test(EngineMachine, settings=SHORT)


class CodedEngineMachine(EngineMachine):
    """The same; each life stores frames in a way of its own, so that logs are mixed."""

    async def open(self) -> EmbeddedEngine:
        self.lives = getattr(self, "lives", 0) + 1
        self.codec = ("both", "aes", "plain", "zstd")[self.lives % 4 - 1]
        return await super().open()


def test_an_engine_whose_frames_are_compressed_and_encrypted_keeps_the_contract() -> None:
    run_state_machine_as_test(CodedEngineMachine, settings=settings(SHORT, max_examples=10))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_the_embedded_engine_keeps_the_contract_for_long() -> None:
    run_state_machine_as_test(
        EngineMachine, settings=settings(SHORT, max_examples=300, stateful_step_count=50)
    )
