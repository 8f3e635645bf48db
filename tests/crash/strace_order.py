"""The order oracle: what must have happened on disk before a 250 or a 202 leaves.

In: the calls of a trace, and the acknowledged messages. Out: every breach, in words.

For each message: the reply's write begins after the end of a sync of the log segment that began after the end
of the message's last write to it. For each segment and each log: its directory was synced after it was made
and before a frame was written to it. A sync that failed counts for nothing.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.crash.strace_log import Call

WRITES = frozenset(("write", "writev", "pwrite64", "pwritev", "pwritev2"))
SENDS = frozenset(("write", "writev", "sendto", "sendmsg"))
SYNCS = frozenset(("fdatasync", "fsync"))
MAKES_DIRECTORY = frozenset(("mkdir", "mkdirat"))
SEGMENT = re.compile(r"(.*/logs/\d+)/\d+\.log")
_PLACE = re.compile(r", (\d+)$")
_STATUS = "HTTP/1.1 202"


@dataclass(slots=True)
class Findings:
    """What the oracle saw.

    Attributes:
        messages: Messages whose order was checked.
        syncs: Syncs that made them durable.
        segments: Segments that they were written to.
        breaches: What was not in order.
    """

    messages: int = 0
    syncs: set[int] = field(default_factory=set)
    segments: set[str] = field(default_factory=set)
    breaches: list[str] = field(default_factory=list)


def check(calls: Sequence[Call], acknowledged: Mapping[str, str]) -> Findings:
    """Check all of `acknowledged`: id of the message → text that ends its content and stands nowhere else."""
    findings = Findings()
    writes = [call for call in calls if call.name in WRITES and SEGMENT.fullmatch(call.target)]
    sends = [call for call in calls if call.name in SENDS and call.target.startswith("TCP")]
    syncs = [call for call in calls if call.name in SYNCS and call.result == 0]
    for message_id, end in acknowledged.items():
        findings.messages += 1
        reply = _reply(sends, message_id)
        if reply is None:
            findings.breaches.append(f"{message_id}: its reply is not in the trace")
            continue
        mine = [call for call in writes if end in call.arguments]
        if not mine:
            findings.breaches.append(f"{message_id}: was acknowledged and never written to a log")
            continue
        last = max(mine, key=lambda call: call.ended)
        synced = [
            call
            for call in syncs
            if call.target == last.target and call.began > last.ended and call.ended < reply.began
        ]
        if synced:
            findings.syncs.add(synced[0].began)
        else:
            findings.breaches.append(
                f"{message_id}: no sync of {last.target} between its last write, line {last.ended + 1} of "
                f"the trace, and its reply, line {reply.began + 1}"
            )
        findings.segments.add(last.target)
    for segment in sorted(findings.segments):
        findings.breaches += _names(calls, syncs, writes, segment)
    return findings


def _reply(sends: Sequence[Call], message_id: str) -> Call | None:
    """The first octets of the reply that acknowledges a message."""
    for place, call in enumerate(sends):
        if message_id not in call.arguments:
            continue
        if f"queued as {message_id}" in call.arguments and '"250' in call.arguments:
            return call
        for head in sends[place::-1]:  # the head of an HTTP response may leave before its body
            if head.target == call.target and _STATUS in head.arguments:
                return head
    return None


def _names(calls: Sequence[Call], syncs: Sequence[Call], writes: Sequence[Call], segment: str) -> list[str]:
    """Breaches of the order in which the names of a segment and of its log become durable."""
    found = SEGMENT.fullmatch(segment)
    assert found is not None
    log = found[1]
    first = next(call for call in writes if call.target == segment and not _is_header(call))
    made = {
        segment: [
            call
            for call in calls
            if call.name == "openat" and call.path == segment and "O_CREAT" in call.arguments
        ],
        log: [
            call for call in calls if call.name in MAKES_DIRECTORY and call.path == log and call.result == 0
        ],
    }
    breaches = []
    for name, makings in made.items():
        parent = name.rpartition("/")[0]
        if not makings:
            breaches.append(f"{name}: was used and its making is not in the trace")
        elif not any(
            call.target == parent and call.began > makings[0].ended and call.ended < first.began
            for call in syncs
        ):
            breaches.append(f"{name}: its name was not synced before its first frame, line {first.began + 1}")
    return breaches


def _is_header(call: Call) -> bool:
    """True for the write of a segment's header, which stands at its beginning."""
    arguments = call.arguments
    if call.name == "pwritev2":  # its flags stand behind the offset
        arguments = arguments.rpartition(",")[0]
    place = _PLACE.search(arguments)
    return place is not None and place[1] == "0"
