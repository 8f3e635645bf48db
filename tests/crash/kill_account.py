"""The account of a kill run: each acknowledged message is somewhere, and each duplicate has its reason.

In: what the generator heard, what the simulator took, what was killed, the events, the queue. Out: an
`Account` with the last line of `make kill` and one line for everything that cannot be explained.

Theory: a receiver may take a message that nobody remembers to have sent only when the sender died between the
receiver's 250 and the sync of its own mark. So of all the times that the simulator took one recipient of one
message, one is the recorded delivery: the last before its event. Any other is *explained* only if

1. it was before the recorded one: nothing is sent again once its end was recorded;
2. the process that sent it was killed (whose a connection is, is looked up when it is opened, among the
   living and in what the last victims held when they died);
3. that was at most `IN_FLIGHT_SECONDS` after it, or the receiver was slower than the kill; where the machine
   stood still around the kill, by as much more;
4. the log of the killed process holds no end of the recipient: its only final event comes from another log.

Everything else is unexplained: also what was refused or never sent and arrived, a message taken in twice, and
events that are lost or doubled.

Not here: the run itself (`kill_round`).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Key = tuple[str, str]
"""A message and one of its recipients."""

FINAL = frozenset(("delivery", "bounce", "expiration", "purge", "discard"))
IN_FLIGHT_SECONDS = 1.0
# a finish is written in the turn that reads the reply and synced within 20 ms; the rest is for a busy machine
LATE_SECONDS = 2.0
# the slowest provider of the run thinks for 0.2 s before it takes a content that had arrived before the kill


@dataclass(frozen=True, slots=True)
class Sighting:
    """The simulator took a message for one recipient.

    Attributes:
        message_id: Id that the server gave the message.
        number: The generator's number; empty for a report of the server.
        recipient: Whose mailbox.
        at: Unix seconds.
        sender: Process at the other end of the connection; 0 when it was not found.
    """

    message_id: str
    number: str
    recipient: str
    at: float
    sender: int

    @property
    def key(self) -> Key:
        """What is counted: a numbered message, or a report by its id."""
        return (self.number or self.message_id, self.recipient)


@dataclass(frozen=True, slots=True)
class Kill:
    """A SIGKILL.

    Attributes:
        at: Unix seconds.
        victims: Names of those that died of it.
        pids: Those of them that deliver mail.
        logs: Numbers of the logs that they wrote.
        late_seconds: By how much processor or disk were late around it.
    """

    at: float
    victims: tuple[str, ...]
    pids: frozenset[int] = frozenset()
    logs: frozenset[int] = frozenset()
    late_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Ending:
    """The one final event of an entry."""

    kind: str
    at: float
    log: int


@dataclass(slots=True)
class Record:
    """What the events say.

    Attributes:
        endings: Final event by (message id, recipient).
        open: Received and without a final event.
        faults: Events that are doubled, or miss what they belong to.
    """

    endings: dict[Key, Ending] = field(default_factory=dict)
    open: set[Key] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Queue:
    """What was in the queue.

    Attributes:
        names: (message id, recipient) of its entries.
        keys: (number, recipient) of numbered messages, and of those that reports in it are about.
    """

    names: frozenset[Key] = frozenset()
    keys: frozenset[Key] = frozenset()


def read_record(events: Iterable[Mapping[str, Any]]) -> Record:
    """The record from all events of all files, in any order."""
    record = Record()
    ids: Counter[str] = Counter()
    received: dict[int, Key] = {}
    finals: defaultdict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for event in events:
        if "id" in event and event["type"] != "opened":
            ids[event["id"]] += 1
        if event["type"] == "reception":
            if event["entry"] in received:
                record.faults.append(f"entry {event['entry']} has two receptions")
            received[event["entry"]] = (event["message_id"], event["recipient"])
        elif event["type"] in FINAL:
            finals[event["entry"]].append(event)
    record.faults += [
        f"event {event_id} is there {count} times" for event_id, count in ids.items() if count > 1
    ]
    for entry, ends in finals.items():
        kinds = [str(event["type"]) for event in ends]
        if len(ends) > 1:
            record.faults.append(f"entry {entry} has {len(ends)} final events: {', '.join(kinds)}")
        if entry not in received:
            record.faults.append(f"entry {entry} has a final event and no reception")
            continue
        last = ends[-1]
        at = datetime.fromisoformat(str(last["time"])).timestamp()
        record.endings[received[entry]] = Ending(kinds[-1], at, int(str(last["id"]).partition(".")[0]))
    record.open = {key for entry, key in received.items() if entry not in finals}
    return record


def explain(sightings: Sequence[Sighting], ending: Ending | None, kills: Sequence[Kill]) -> list[str]:
    """Why the simulator took one recipient of one message each time but the recorded one.

    Returns:
        One text for each time beyond the recorded one; it starts with `unexplained` where there is no reason.
    """
    taken = sorted(sightings, key=lambda sighting: sighting.at)
    recorded = None
    if ending is not None and ending.kind == "delivery":
        recorded = next((one for one in reversed(taken) if one.at <= ending.at), None)
        if recorded is None:
            return [
                "unexplained: a delivery was recorded before the simulator took it",
                *("" for _ in taken[1:]),
            ]
    reasons = []
    for one in taken:
        if one is recorded:
            continue
        if recorded is not None and one.at > recorded.at:
            reasons.append("unexplained: sent again after its delivery was recorded")
        else:
            reasons.append(_reason(one, taken, ending, kills))
    return reasons


def _reason(one: Sighting, taken: Sequence[Sighting], ending: Ending | None, kills: Sequence[Kill]) -> str:
    for kill in kills:
        after, late = kill.at - one.at, kill.late_seconds
        if one.sender not in kill.pids or not -LATE_SECONDS - late <= after <= IN_FLIGHT_SECONDS + late:
            continue
        if ending is not None and ending.log in kill.logs:
            continue
        return f"reply in flight when {', '.join(kill.victims)} was killed, {_apart(after)}"
    near = min(kills, key=lambda kill: abs(kill.at - one.at), default=None)
    nearest = f"{near} came {_apart(near.at - one.at)}" if near else "no kill"
    times = ", ".join(f"at {each.at:.3f} by {each.sender}" for each in taken)
    return f"unexplained: sent by process {one.sender}; {nearest}; taken {times}; its end is {ending}"


def _apart(seconds: float) -> str:
    return f"{abs(seconds) * 1000:.0f} ms {'after the reply' if seconds >= 0 else 'before it'}"


@dataclass(slots=True)
class Account:
    """See the module; counts are of (message, recipient).

    Attributes:
        rounds: Kills.
        acknowledged: The server owes these.
        delivered: Acknowledged and taken by the simulator.
        queued: Acknowledged, not taken, and in the queue.
        bounced: Acknowledged, not taken, and a failure report came back.
        lost: Acknowledged and nowhere.
        duplicates: Taken more often than once, each time beyond the first.
        reasons: Reason of each explained duplicate.
        unexplained: One line for each thing without an explanation.
    """

    rounds: int = 0
    acknowledged: int = 0
    delivered: int = 0
    queued: int = 0
    bounced: int = 0
    lost: list[Key] = field(default_factory=list)
    duplicates: int = 0
    reasons: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """True when nothing is lost and everything has an explanation."""
        return not self.lost and not self.unexplained

    def line(self) -> str:
        """The last line of `make kill`."""
        return (
            f"rounds={self.rounds} acknowledged={self.acknowledged} delivered={self.delivered} "
            f"queued={self.queued} bounced={self.bounced} lost={len(self.lost)} "
            f"duplicates={self.duplicates} unexplained={len(self.unexplained)}"
        )


def draw_up(
    fates: Mapping[str, Iterable[Key]],
    sightings: Iterable[Sighting],
    reported: Iterable[Key],
    queue: Queue,
    kills: Sequence[Kill],
    record: Record,
) -> Account:
    """The account of a whole run.

    Args:
        fates: `acknowledged`, `refused` and `unknown` → (number, recipient), from the generator's journal.
        sightings: Everything that the simulator took.
        reported: (number, recipient) of failure reports that it took.
        queue: What was in it after the last stop.
        kills: In order.
        record: From the events.
    """
    account = Account(rounds=len(kills), unexplained=list(record.faults))
    taken: defaultdict[Key, list[Sighting]] = defaultdict(list)
    for sighting in sightings:
        taken[sighting.key].append(sighting)
    _find_all(account, set(fates["acknowledged"]), taken, set(reported), queue.keys)
    known = {key: fate for fate in ("acknowledged", "unknown", "refused") for key in fates[fate]}
    for key, times in taken.items():
        if times[0].number and known.get(key, "refused") == "refused":
            word = "was refused" if key in known else "was never sent"
            account.unexplained.append(f"{key[0]} to {key[1]} {word} and arrived")
        _explain_duplicates(account, key, times, kills, record)
    seen = {(one.message_id, one.recipient) for times in taken.values() for one in times}
    for name, ending in record.endings.items():
        if ending.kind == "delivery" and name not in seen:
            account.unexplained.append(f"{name[0]} to {name[1]} has a delivery event and never arrived")
    account.unexplained += [
        f"{message_id} to {recipient} left the queue without a final event"
        for message_id, recipient in sorted(record.open - queue.names)
    ]
    account.unexplained += [
        f"{message_id} to {recipient} is in the queue after its final event"
        for message_id, recipient in sorted(queue.names & record.endings.keys())
    ]
    return account


def _find_all(
    account: Account,
    acknowledged: set[Key],
    taken: Mapping[Key, Sequence[Sighting]],
    reported: set[Key],
    queued: AbstractSet[Key],
) -> None:
    account.acknowledged = len(acknowledged)
    for key in sorted(acknowledged):
        if key in taken:
            account.delivered += 1
        elif key in reported:
            account.bounced += 1
        elif key in queued:
            account.queued += 1
        else:
            account.lost.append(key)


def _explain_duplicates(
    account: Account, key: Key, times: Sequence[Sighting], kills: Sequence[Kill], record: Record
) -> None:
    account.duplicates += len(times) - 1
    names = {(one.message_id, one.recipient) for one in times}
    if len(names) > 1:
        account.unexplained.append(f"{key[0]} to {key[1]} was taken in {len(names)} times")
    for name in sorted(names):
        ending = record.endings.get(name)
        if ending is None and name not in record.open:
            account.unexplained.append(f"{key[0]} to {key[1]} arrived and has no reception event")
        mine = [one for one in times if (one.message_id, one.recipient) == name]
        reasons = explain(mine, ending, kills)
        if ending is None and len(reasons) == 1 and reasons[0].startswith("unexplained"):
            continue  # taken once, and its finish is not recorded yet: the run was stopped in between
        for reason in reasons:
            if reason.startswith("unexplained"):
                account.unexplained.append(f"{key[0]} to {key[1]}: {reason}")
            else:
                account.reasons.append(reason)
