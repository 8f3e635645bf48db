"""What is fuzzed of policy's own formats: notes in a header, sightings of a shadow run, traces."""

import random
import re

import msgspec

from outrider.base.errors import LocalProtocolError
from outrider.model.flow import Content, Traits
from outrider.model.hooks import HookPhase
from outrider.policy.answers import Refuse
from outrider.policy.sightings import Asked, Closed, Opened, Settled, Sighting
from outrider.policy.traces import TraceError, parse_trace, submission_of
from outrider.receive.context_field import NOTES_MAX, TEXT_CHARACTERS, Noted, take_notes
from outrider.server.shadow_link import SightingReader
from outrider.wire.smtp.content import checked, normalise_plain
from tests.fuzz.engine import Target, must, pieces
from tests.policy.acting import SMTP, submission

_FIELD = re.compile(rb"^x-outrider-context[ \t]*:", re.IGNORECASE | re.MULTILINE)


def notes(octets: bytes, chance: random.Random) -> None:
    plain = b"From: a@own.example\r\n" + octets
    try:
        whole = normalise_plain(plain)
    except LocalProtocolError:
        return
    header = whole.wire[: whole.header_octets]
    content = Content(whole.wire, Traits.NONE, whole.header_octets)
    noted = take_notes(content, header, header.lower())
    if not isinstance(noted, Noted):
        return
    left = noted.content.wire[: noted.content.header_octets]
    must(_FIELD.search(left) is None, "a field is left")
    must(left.startswith(b"From: a@own.example\r\n"), "another field is gone")
    must(noted.content.wire.endswith(whole.wire[whole.header_octets :]), "the body is another")
    must(len(noted.notes) <= NOTES_MAX, "too many notes")
    must(all(len(text) <= TEXT_CHARACTERS for _, text in noted.notes), "a note is too long")
    del chance


def sightings(octets: bytes, chance: random.Random) -> None:
    reader = SightingReader()
    try:
        for piece in pieces(octets, chance):
            reader.feed(piece)
    except msgspec.MsgspecError:
        return
    must(len(reader._buffer) <= len(octets), "more is kept than came")


def traces(octets: bytes, chance: random.Random) -> None:
    try:
        made = submission_of(parse_trace(octets))
    except TraceError:
        return
    must(checked(made.content.wire).header_octets == made.content.header_octets, "no wire form")
    must(len(made.envelope.recipients) > 0, "nobody to send to")
    del chance


def refusals(octets: bytes, chance: random.Random) -> None:
    try:
        reply = Refuse(chance.randrange(380, 620), octets.decode("utf-8", "surrogateescape")).reply
    except ValueError:
        return
    must(all(line.isprintable() and line for line in reply.lines), "a line that is none")
    must((reply.enhanced or "")[0] == str(reply.code)[0], "two classes")


def _framed(*found: Sighting) -> bytes:
    encoded = [msgspec.msgpack.encode(each) for each in found]
    return b"".join(len(each).to_bytes(4, "big") + each for each in encoded)


TARGETS = (
    Target(
        "header-notes",
        "Notes are within their bounds, no field of them is left, and nothing else is touched.",
        (
            b"X-Outrider-Context: a=1\r\nSubject: x\r\n\r\nbody\r\n",
            b"x-outrider-context\t:\r\n b = 2\r\n\tc\r\nX-Outrider-Context: d=\r\n\r\n",
            b"Subject: x-outrider-context: a=b\r\n\r\n",
        ),
        notes,
    ),
    Target(
        "sightings",
        "Octets of a worker are sightings or the error that is named, however they are split.",
        (
            _framed(Opened(1, SMTP), Asked(1, HookPhase.EHLO, SMTP, "continue", "name"), Closed(1)),
            _framed(Settled(1, submission("a@one.test"), "550 5.7.1 no")),
        ),
        sightings,
    ),
    Target(
        "traces",
        "A line is a message in wire form with recipients, or the error that is named.",
        (
            b'{"recipients": ["a@b.test"], "mail_from": "", "header": "A: b\\n.c: d\\n", "notes": {}}',
            b'{"recipients": ["a@b.test", "\\u00f6@b.test"], "received_time": 1e9}',
        ),
        traces,
    ),
    Target(
        "refusals",
        "What a script says to a client is lines that print, of one class, or a ValueError.",
        (b"5.7.1 Not today\nnor tomorrow", b"4.3.0", b"\xc3\xb6\r\n\x00"),
        refusals,
    ),
)
