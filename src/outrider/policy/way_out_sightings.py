"""What live scripts were asked on the way out, and what they said, told to whoever has others asked the same.

In: a question and its answer. Out: messages that stand alone, since each question has a session of its own.

Theory: what is each message's own, as a time or an edited content, is told as such, so that differences of
one kind are counted as one; contents are compared by a digest.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b

import msgspec

from outrider.model.flow import Content, Disposition
from outrider.model.way_out import Departure, Ended, Leaving, Ruling

Notes = tuple[tuple[str, str], ...]


class Said(msgspec.Struct, frozen=True, array_like=True):
    """What was said of one recipient.

    Attributes:
        text: In words; nothing in it is the message's own.
        content: Digest of an edited content; empty otherwise.
        notes: For the event.
    """

    text: str
    content: bytes = b""
    notes: Notes = ()


class Departed(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """Recipients were about to go; `said` of each of them."""

    leaving: Leaving
    said: tuple[Said, ...]


class Concluded(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """A reply has come, or a recipient has ended; `said` of it."""

    ended: Ended
    said: Said


Outward = Departed | Concluded


def of_departures(content: Content, departures: Sequence[Departure]) -> tuple[Said, ...]:
    """What was said before the wire."""
    return tuple([_of_departure(content, each) for each in departures])


def _of_departure(content: Content, departure: Departure) -> Said:
    if departure is content:
        return Said("goes as it is")
    if isinstance(departure, Content):
        return Said("edited", blake2b(departure.wire, digest_size=16).digest())
    if departure.discard:
        return Said(f"discarded: {departure.discard}")
    return Said(f"{'refused' if departure.seconds is None else 'held back'}: {departure.reply}")


def of_ruling(ruling: Ruling) -> Said:
    """What was made of a reply."""
    own = "" if ruling.seconds is None else ", at a time of its own"
    text = f"{Disposition(ruling.verdict.disposition).name.lower()}{own}"
    return Said(text, notes=tuple(sorted(ruling.metadata.items())))


def of_notes(notes: Mapping[str, str]) -> Said:
    """What was noted of a recipient that ends."""
    return Said("seen", notes=tuple(sorted(notes.items())))


def differences(live: Said, shadow: Said) -> list[tuple[str, str]]:
    """What is not alike."""
    if live.text != shadow.text:
        return [(live.text, shadow.text)]
    found = [("edited", "edited otherwise")] if live.content != shadow.content else []
    notes, others = dict(live.notes), dict(shadow.notes)
    return found + [
        (
            f"note {name} {'this' if name in notes else 'none'}",
            f"note {name} {'another' if name in others else 'none'}",
        )
        for name in sorted({*notes, *others})
        if notes.get(name) != others.get(name)
    ]
