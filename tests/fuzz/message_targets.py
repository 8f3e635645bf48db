"""What is fuzzed of messages that policy reads and changes: parts, headers, addresses."""

import contextlib
import random
import re

from outrider.receive.submitter import Submitter
from outrider.wire.headers import FieldError
from outrider.wire.message.content import decoded, maybe_text, set_text
from outrider.wire.message.editable import EditableMessage
from outrider.wire.message.header import Header
from outrider.wire.message.limits import EditError, MessageLimitError, MessageLimits
from outrider.wire.message.makers import make_multipart, make_text
from outrider.wire.message.search import Bound, replace_text
from outrider.wire.message.tree import Part, read_part
from outrider.wire.smtp.content import normalise_plain, unstuff
from tests.fuzz.door_targets import BOUND
from tests.fuzz.engine import Target, must

LIMITS = MessageLimits(depth=20, parts=200, header_octets=4096, fields=100)


def read_all(part: Part) -> None:
    for each in part.walk():
        text = maybe_text(each)
        must(text is None or text.encode("utf-8") is not None, "half a character")
        decoded(each)
        for name, value in each.header.items():
            must(bool(name) and "\r" not in value and "\n" not in value and "\0" not in value, (name, value))
        must(len(each.filename.encode()) >= 0 and each.disposition is not None, "a name")


def change(part: Part, chance: random.Random) -> None:
    match chance.randrange(6):
        case 0:
            set_text(part, chance.choice(["new\n", "--b\n.\n", "grün"]))
        case 1:
            part.header.set("X-New", "text → text")
        case 2:
            part.unlink()
        case 3:
            make_multipart("mixed", [make_text("a")]).insert_before(part)
        case 4:
            replace_text(part, re.compile("[a-f]").search, lambda _: "ß", Bound(matches=50))
        case _:
            part.add_last(make_text("--b--\n--c d\n"))


def message_parts(octets: bytes, chance: random.Random) -> None:
    content = normalise_plain(octets)
    message = EditableMessage(content, limits=LIMITS)
    with contextlib.suppress(MessageLimitError, EditError):
        read_all(message.root)
        must(message.content() is content, "reading is no change")
        must(message.root.octets() == unstuff(content), "the window is the message")
        for _ in range(chance.randrange(1, 4)):
            change(chance.choice(list(message.walk())), chance)
    made = message.content()
    must(normalise_plain(unstuff(made)) == made, ("wire form", made))
    with contextlib.suppress(MessageLimitError):
        parts = [part.media_type for part in message.walk()]
        must(parts == [part.media_type for part in read_part(message.root.octets()).walk()], ("parts", made))


def message_header(octets: bytes, chance: random.Random) -> None:
    plain = unstuff(normalise_plain(octets))
    header = Header(plain.partition(b"\r\n\r\n")[0].lstrip(b"\r\n"))
    before = header.octets()
    for name in header.names():
        must(not name or bool(header.get_all(name)), ("found", name))
    must(header.octets() == before, "looking is no change")
    text = chance.choice([octets.decode("utf-8", "replace")[:200], "plain"])
    with contextlib.suppress(FieldError):
        header.insert(chance.randrange(len(header) + 1), "X-New", text)
        found = Header(header.octets()).get_all("x-new")
        must(text.replace("\t", " ") in found, ("read again", text, found))
        must(header.octets().count(b"\r\n") >= before.count(b"\r\n"), "a field is lost")


def message_authors(octets: bytes, chance: random.Random) -> None:
    del chance
    value = octets.replace(b"\0", b"").replace(b"\r", b"").replace(b"\n", b"\r\n ")
    section = b"From:" + value + b"\r\n"
    found = Header(section).addresses("From")
    for each in found.addresses:
        must(each.address is None or each.spec == str(each.address), ("one address", each))
    if Submitter(BOUND, "news").refuse_author(section, section.lower()) is None:
        # (Controls and what is not ASCII are space for one and text for another, but never a domain.)
        seen = {
            each.domain.strip()
            for each in found.addresses
            if each.address is not None or each.domain.isascii()
        }
        seen.discard("")
        must(seen <= {"own.example"}, ("another author", seen, value))


NESTED = (
    b"From: =?utf-8?q?=C3=BC?= <a@own.example>\r\n"
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\npre\r\n--b\r\n"
    b"Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    b"a=FC=\r\nb\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\n.dot\r\n--b\r\n"
    b'Content-Type: multipart/digest;\r\n boundary="c d"\r\n\r\n'
    b"--c d\r\n\r\nA: 1\r\n\r\nx\r\n--c d--\r\n--b\r\n"
    b"Content-Type: application/x; name*0*=utf-8''%C3; name*1*=%BC\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\n"
    b"YWJj\r\n--b--\r\nepi\r\n"
)

TARGETS = (
    Target(
        "message-parts",
        "Whatever a message is, and whatever is changed in it, it stays wire form and reads as it was set.",
        (
            NESTED,
            b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n--b\r\n\r\n",
            b"\r\nbody\r\n",
            b"x\r\n",
        ),
        message_parts,
    ),
    Target(
        "message-header",
        "Each field of a header section is found by its name, and one that is added is read again.",
        (NESTED, b"A : 1\r\nb\r\n c\r\n: d\r\n\r\n", b" lead\r\nA: 1\r\n\r\n"),
        message_header,
    ),
    Target(
        "message-authors",
        "No reader of addresses sees an author whom the check of submitters did not.",
        (
            b' "a, b" <a@own.example>, c@own.example (x)',
            b" G: a@own.example, b <@r.test:c@own.example>;",
            b" =?utf-8?q?a?= <a@own.example>",
            b" a@own.example <b@own.example>",
        ),
        message_authors,
    ),
)
