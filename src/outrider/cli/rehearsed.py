"""What came of messages that were tried out, as people and programs read it.

In: rehearsals, and the log that was kept meanwhile. Out: lines on standard output, or plain values for JSON.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from outrider.cli.output import print_json, say

if TYPE_CHECKING:
    from outrider.base.log import ListLog
    from outrider.policy.observed import Change
    from outrider.policy.rehearsal import Rehearsal
    from outrider.policy.way_out_rehearsal import Left


def lines_of(log: "ListLog") -> list[str]:
    """What was logged, a line each; what scripts print as they printed it."""
    lines = []
    for level, event, fields in log.lines:
        if event == "policy.print":
            lines.append(f"print: {fields['text']}")
        elif level != "debug":
            told = " ".join(f"{name}={value}" for name, value in fields.items())
            lines.append(f"{level}: {event}: {told}")
    return lines


def facts_of(found: "Rehearsal") -> dict[str, Any]:
    """What became of one message, as JSON."""
    return {
        "accepted": found.refusal is None,
        "refusal": "" if found.refusal is None else str(found.refusal),
        "refused_in": found.refused_in,
        "refused_recipients": [{"recipient": who, "reply": str(reply)} for who, reply in found.refused],
        "failures": [error.message for error in found.failures],
        "decisions": [
            {
                "script": each.script,
                "phase": str(each.phase),
                "line": each.line,
                "recipient": each.recipient,
                "answer": each.answer,
                "failure": each.failure,
                "changes": [
                    {"what": one.what, "before": one.before, "after": one.after, "line": one.line}
                    for one in each.changes
                ],
                "seconds": round(each.seconds, 6),
            }
            for each in found.decisions
        ],
        "messages": [
            {
                "mail_from": str(message.submission.envelope.mail_from or ""),
                "size": len(message.submission.content.wire),
                "discard": message.discard,
                "notes": dict(message.notes),
                "deliveries": [
                    {
                        "recipient": str(each.recipient.address),
                        "channel": each.channel,
                        "binding": each.binding,
                        "routing_domain": each.routing_domain,
                        "priority": each.priority,
                        "not_before_time": each.not_before_time,
                    }
                    for each in message.deliveries
                ],
            }
            for message in found.messages
        ],
        "leaving": [
            {
                "recipient": each.recipient,
                "fate": each.fate,
                "reply": each.reply,
                "seconds": each.seconds,
                "size": each.size,
                "notes": dict(each.notes),
            }
            for each in found.leaving
        ],
    }


def show(found: "Rehearsal", *, as_json: bool, lines: Sequence[str] = ()) -> None:
    """Print what became of one message, and what was logged meanwhile."""
    if as_json:
        print_json({**facts_of(found), "log": lines})
        return
    for line in lines:
        say(line)
    for each in found.decisions:
        where = f"{each.script}:{each.line}" if each.line else each.script
        whose = f" ({each.recipient})" if each.recipient else ""
        what = f"failed: {each.failure}" if each.failure else each.answer
        say(f"{each.phase}{whose} {where}: {what}, {each.seconds * 1e6:.0f} µs")
        for change in each.changes:
            say(f"    {_changed(change)}")
    shown = {each.failure for each in found.decisions}
    for error in found.failures:
        if error.reason not in shown:  # as of an answer that may not be given
            say(f"Failed: {error.message}")
    for who, reply in found.refused:
        say(f"Recipient {who} is refused: {reply}")
    if found.refusal is not None:
        say(f"Refused in {found.refused_in}: {found.refusal}")
        return
    for message in found.messages:
        size = len(message.submission.content.wire)
        sender = message.submission.envelope.mail_from
        fate = f"Discarded ({message.discard})" if message.discard else "Goes out"
        say(f"{fate}: {size} octets from <{sender or ''}>")
        for delivery in message.deliveries:
            first = " first" if delivery.priority else ""
            say(
                f"    to {delivery.recipient.address} by {delivery.binding}, "
                f"to the exchangers of {delivery.routing_domain}{first}"
            )
    for left in found.leaving:
        say(_left(left))


def _left(left: "Left") -> str:
    again = "for" if left.fate == "held back" else "again in"
    when = f", {again} {left.seconds:g} s" if left.seconds else ""
    size = f", {left.size} octets" if left.size else ""
    reply = f": {left.reply}" if left.reply else ""
    notes = "".join(f", {name}={text}" for name, text in left.notes)
    return f"On the way out to {left.recipient}: {left.fate}{when}{size}{reply}{notes}"


def _changed(change: "Change") -> str:
    at = f" (line {change.line})" if change.line else ""
    if change.what in {"header", "body"}:
        signs = [f"- {change.before}" if change.before else "", f"+ {change.after}" if change.after else ""]
        return f"{change.what}: {'  '.join(sign for sign in signs if sign)}{at}"
    return f"{change.what}: {change.before or 'nothing'} → {change.after or 'nothing'}{at}"


def sums_of(found: "list[Rehearsal]") -> dict[str, Any]:
    """What became of many messages, counted."""
    counts: dict[tuple[str, str, str], int] = {}
    for one in found:
        for each in one.decisions:
            what = f"failed: {each.failure}" if each.failure else each.answer
            parts = [
                change.what + " → " + change.after for change in each.changes if change.what == "binding"
            ]
            key = each.script, str(each.phase), ", ".join([what, *parts])
            counts[key] = counts.get(key, 0) + 1
    return {
        "messages": len(found),
        "accepted": sum(one.refusal is None for one in found),
        "refused": sum(one.refusal is not None for one in found),
        "failed": sum(bool(one.failures) for one in found),
        "decisions": [
            {"script": script, "phase": phase, "decision": what, "times": times}
            for (script, phase, what), times in counts.items()
        ],
    }
