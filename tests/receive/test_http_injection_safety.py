"""Every text that JSON can hold against everything that has ever been smuggled through one.

The fields come from the models: a new one is tried by itself, with all payloads, in a message that is right
otherwise. Either the request is refused and nothing is stored, or the message is as without it but for
the value, which a reader finds exactly; and its octets are mail that no receiver can read in two ways.
"""

import asyncio
import copy
import email
import email.header
import email.policy
import html
import json
import re
from collections.abc import Iterator
from email.message import Message
from typing import Any, get_args

import msgspec
import pytest

from outrider.model.flow import Submission
from outrider.receive.http_models import MessageRequest
from tests.hostility.raw_receiver import ways_to_end
from tests.receive.http_site import HttpSite

PAYLOADS = {
    "cr": "a\rb",
    "lf": "a\nb",
    "crlf": "a\r\nb",
    "field": "a\r\nBcc: eve@evil.example",
    "field-lf": "a\nBcc: eve@evil.example",
    "body": "a\r\n\r\n<script>",
    "end": "a\r\n.\r\nMAIL FROM:<eve@evil.example>\r\n",
    "dots": ".\r\n..\r\n.a\r\n",
    "dot": ".",
    "end-lf": "a\n.\nb",
    "end-cr": "a\r.\rb",
    "nul": "a\0b",
    "vt": "a\x0bb",
    "ff": "a\x0cb",
    "esc": "a\x1b[2Jb",
    "del": "a\x7fb",
    "c1": "a\x85b",
    "ls": "a\u2028Bcc: eve@evil.example",
    "ps": "a\u2029b",
    "bidi": "a\u202efdp.exe",
    "isolate": "a\u2066b\u2069",
    "zero-width": "a\u200bb\ufeff",
    "half": "a\ud800b",
    "half-low": "a\udc00",
    "beyond": "a\U0001f600b",
    "encoded-word": "=?utf-8?q?a=0D=0ABcc:_eve@evil.example?=",
    "quote": 'a"b\\',
    "comment": "a(b)c<eve@evil.example>",
    "comma": "a, eve@evil.example",
    "route": "@evil.example:a@b.example",
    "percent": "a%0d%0aBcc:eve@evil.example",
    "boundary": "--=_\r\n--=m_\r\n--=r_\r\n",
    "placeholder": "{{name}}",
    "placeholder-open": "{{",
    "path": "../../etc/passwd",
    "parameter": "text/plain; name=x; boundary==_",
    "spaces": "   ",
    "empty": "",
    "overlong": "x" * 70_000,
    "long-word": "x" * 1_200,
    "long-line": "x " * 40_000,
    "tag": "</a><script>alert(1)</script>",
}

BASES: dict[str, dict[str, Any]] = {
    "one": {
        "from": {"address": "shop@sender.example", "name": "Shop"},
        "to": [{"address": "a@example.com", "name": "A"}, "b@example.com"],
        "cc": [{"address": "c@example.com", "name": "C"}],
        "bcc": [{"address": "d@example.com", "name": "D"}],
        "reply_to": [{"address": "r@sender.example", "name": "R"}],
        "subject": "Subject",
        "text": "Text\n",
        "html": "<p>Html</p>\n",
        "headers": {"X-Own": "own", "X-Many": ["one", "two"]},
        "attachments": [
            {"content": "AAEC", "content_type": "image/png", "filename": "f.png", "content_id": "id"},
            {"content": "AAEC", "content_type": "image/png", "filename": "g.png"},
        ],
        "metadata": {"m": "meta"},
        "stream": "news",
        "send_at": "2026-09-22T00:00:00Z",
        "idempotency_key": "key",
    },
    "personal": {
        "from": "shop@sender.example",
        "recipients": [
            {
                "address": "a@example.com",
                "name": "A",
                "variables": {"name": "Ann"},
                "metadata": {"n": "meta"},
            }
        ],
        "subject": "Hi {{name}}",
        "text": "Dear {{name}}\n",
        "html": '<p title="{{name}}">{{name}} {{common}}</p>\n',
        "headers": {"X-Own": "for {{name}}"},
        "variables": {"common": "all"},
    },
}


def texts(value: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], bool]]:
    """Places of all texts; True is for the name of a member rather than its value."""
    if isinstance(value, str):
        yield place, False
    elif isinstance(value, dict):
        for name, member in value.items():
            yield (*place, name), True
            yield from texts(member, (*place, name))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from texts(item, (*place, number))


PLACES = [(base, place, is_name) for base, message in BASES.items() for place, is_name in texts(message)]


def with_payload(base: str, place: tuple[str | int, ...], payload: str, *, is_name: bool) -> dict[str, Any]:
    message = copy.deepcopy(BASES[base])
    inner: Any = message
    for step in place[:-1]:
        inner = inner[step]
    if is_name:
        items = [(payload if name == place[-1] else name, each) for name, each in inner.items()]
        inner.clear()
        inner.update(items)
    else:
        inner[place[-1]] = payload
    return message


def submit(message: dict[str, Any]) -> tuple[int, Any, list[Submission]]:
    site = HttpSite()
    answer = asyncio.run(site.post(json.dumps(message).encode("utf-8", "surrogatepass")))
    return answer.status, answer.document, site.intake.submitted


def read(submission: Submission) -> Message:
    wire = submission.content.wire
    return email.message_from_bytes(
        (b"\r\n" + wire).replace(b"\r\n.", b"\r\n")[2:], policy=email.policy.compat32
    )


def structure(message: Message) -> Any:
    """Names of all fields and the nesting of parts; no value."""
    names = [name for name in message.keys() if name != "X-Own"]  # noqa: SIM118 - repeated fields count
    payload = message.get_payload()
    parts = (
        [structure(part) for part in payload if isinstance(part, Message)]
        if isinstance(payload, list)
        else []
    )
    return names, parts


def decoded(value: str | None) -> str:
    return str(
        email.header.make_header(email.header.decode_header(re.sub(r"\r\n(?=[ \t])", "", value or "")))
    )


def shown_name(field: str) -> str:
    """The name of the first mailbox of a decoded field."""
    name = re.split(r" ?<[a-z]+@(?:example\.com|sender\.example)>", field)[0]
    return re.sub(r"\\(.)", r"\1", name[1:-1]) if name[:1] == '"' else name


def body(part: Message) -> str:
    octets = part.get_payload(decode=True)
    assert isinstance(octets, bytes)
    return octets.decode(part.get_content_charset() or "ascii")


def leaf(message: Message, kind: str) -> str:
    return next(body(part) for part in message.walk() if part.get_content_type() == kind)


def lines(text: str) -> str:
    text = re.sub(r"\r\n|\r|\n", "\r\n", text)
    return text if not text or text.endswith("\r\n") else text + "\r\n"


def read_back(place: tuple[str | int, ...], message: Message, submission: Submission) -> str | None:
    """What a reader finds for the text at `place`; None where nobody reads it in the message."""
    recipients = submission.envelope.recipients
    match place:
        case ("subject",):
            return decoded(message["subject"])
        case ("headers", "X-Own"):
            return decoded(message["x-own"])
        case ("headers", "X-Many", int() as number):
            return decoded(message.get_all("x-many", [])[number])
        case ("metadata" | "recipients", *_) if place[-2] == "metadata":
            return dict(recipients[0].metadata)[str(place[-1])]
        case ("attachments", int() as number, "filename"):
            parts = [part for part in message.walk() if part.get_content_type() == "image/png"]
            return parts[number].get_filename() or ""
        case ("stream",):
            return submission.origin.stream
        case ("from" | "reply_to" | "to" | "cc", *_) if place[-1] == "name":
            return shown_name(decoded(message[str(place[0]).replace("_", "-")]))
    return None


BASELINE = {base: structure(read(submit(message)[2][0])) for base, message in BASES.items()}


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize(
    ("base", "place", "is_name"),
    PLACES,
    ids=[f"{base}-{'name-' * is_name}{'.'.join(map(str, place))}" for base, place, is_name in PLACES],
)
def test_a_payload_is_refused_or_found_exactly(
    base: str, place: tuple[str | int, ...], payload: str, *, is_name: bool
) -> None:
    value = PAYLOADS[payload]
    status, document, submitted = submit(with_payload(base, place, value, is_name=is_name))
    if status != 202:
        assert status in (400, 403, 413, 422), document
        assert submitted == []
        assert document["status"] == status
        return
    (submission,) = submitted
    wire = submission.content.wire
    bare = wire.replace(b"\r\n", b"")
    assert not {0x0D, 0x0A, 0} & set(bare)
    assert ways_to_end(wire) == []
    assert max(map(len, wire.split(b"\r\n"))) <= 998
    assert b"\r\nBcc:" not in wire.partition(b"\r\n\r\n")[0]
    assert submission.origin.tenant == "acme"
    assert all(str(each.address).endswith("example.com") for each in submission.envelope.recipients)
    message = read(submission)
    if not is_name and place[-1] != "content_id" and value:
        assert structure(message) == BASELINE[base]
        check_exact(base, place, value, message, submission)


def check_exact(
    base: str, place: tuple[str | int, ...], value: str, message: Message, submission: Submission
) -> None:
    if base == "personal":
        if place[-2:-1] == ("variables",) and place[-1] == "name":
            assert decoded(message["subject"]) == f"Hi {value}"
            assert leaf(message, "text/plain") == lines(f"Dear {value}\n")
            shown = html.escape(value)
            assert leaf(message, "text/html").startswith(lines(f'<p title="{shown}">{shown} all</p>')[:-2])
        return
    if place in (("text",), ("html",)):
        kind = "text/plain" if place == ("text",) else "text/html"
        assert leaf(message, kind) == lines(value)
        return
    found = read_back(place, message, submission)
    if found is not None:
        assert found == value


def test_every_field_of_the_models_is_tried() -> None:
    """A new field fails here until one of the messages above has it."""
    tried = {tuple(str(step) for step in place if isinstance(step, str)) for _, place, _ in PLACES}

    def fields(model: Any, prefix: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        for field in msgspec.structs.fields(model):
            name = (*prefix, field.encode_name)
            yield name
            for inner in inner_models(field.type):
                yield from fields(inner, name)

    missing = [name for name in fields(MessageRequest, ()) if name not in tried]
    assert missing == []


def inner_models(kind: Any) -> list[Any]:
    found = [kind] if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else []
    return found + [model for inner in get_args(kind) for model in inner_models(inner)]
