"""HTTP injection over a real connection: what is accepted, what is refused, and how it is said."""

import asyncio
import email
import email.policy
import json
import socket
import urllib.parse
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from outrider.base.clock import FakeClock
from outrider.base.ids import IdSource
from outrider.base.log import ListLog
from outrider.model.changes import Keyed
from outrider.model.dispatch import Reserved
from outrider.model.flow import Origin, Submission
from outrider.model.ports import Keep, PolicySession, Principal
from outrider.model.reply import Reply
from outrider.net.http import HttpServer
from outrider.receive.clients import ClientCounts
from outrider.receive.http import Shared, build_app
from outrider.receive.http_limits import KeyRates
from outrider.receive.http_models import RecipientState
from outrider.receive.http_options import HttpOptions
from outrider.wire.smtp import replies
from tests.receive.http_site import Answer
from tests.receive.principals import FakePrincipal

KEY = "k-secret"
HEAD = (
    f"POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
    "Content-Type: application/json\r\n"
)
ACCEPTED = Reply(250, "2.0.0", ("Ok",))
MESSAGE = {"from": "shop@sender.example", "to": ["alice@example.com"], "subject": "Hi", "text": "Hello\n"}
RAW = b"From: shop@sender.example\r\nSubject: Hi\r\n\r\nHello\r\n"


class Keys:
    async def password(self, user: str, password: str, client: str = "") -> Principal | None:
        return None

    async def api_key(self, key: str, client: str = "") -> Principal | None:
        domains = frozenset({"sender.example", ".sub.example"})
        known = {KEY: ("shop-key", "acme"), "other": ("other-key", "other")}
        return FakePrincipal(*known[key], domains) if key in known else None

    def is_shut(self, tenant: str) -> bool:
        return False


class FakeIntake:
    """Answers at once with `reply`, or when the test says so."""

    def __init__(self) -> None:
        self.reply: Reply | None = ACCEPTED
        self.refusing: Reply | None = None
        self.submitted: asyncio.Queue[tuple[Submission, Callable[[Reply], None]]] = asyncio.Queue()
        self.refusals: list[tuple[Origin, str, str, Reply]] = []
        self.failure: Exception | None = None
        self.keys: list[Sequence[Sequence[Keyed]]] = []

    def submit(
        self, submission: Submission, done: Callable[[Reply], None], session: PolicySession | None = None
    ) -> None:
        if self.failure is not None:
            raise self.failure
        self.submitted.put_nowait((submission, done))
        if self.reply is not None:
            done(self.reply)

    def submit_all(
        self,
        submissions: Sequence[Submission],
        keys: Sequence[Sequence[Keyed]],
        done: Callable[[Reply], None],
        keep: Keep | None = None,
    ) -> None:
        if self.failure is not None:
            raise self.failure
        self.keys.append(keys)
        for submission in submissions:
            self.submitted.put_nowait((submission, done))
        if self.reply is not None:
            done(self.reply)

    def refusal(self) -> Reply | None:
        return self.refusing

    def refused(self, origin: Origin, mail_from: str, recipient: str, reply: Reply) -> None:
        self.refusals.append((origin, mail_from, recipient, reply))

    def only(self) -> Submission:
        submission, _ = self.submitted.get_nowait()
        assert self.submitted.empty()
        return submission


class NoReservations:
    """Nobody asks for a key here; see test_http_idempotency."""

    async def reserve(self, key: bytes, body: bytes) -> Reserved:
        raise AssertionError("no request has a key")

    def release(self, key: bytes) -> None:
        raise AssertionError("no request has a key")


class States:
    async def lookup(self, message_id: str) -> list[RecipientState] | None:
        if message_id != "01k9q4m2x7f3a8w0z1":
            return None
        return [RecipientState("*@example.com", "delivered", "acme", attempts=1, reply="250 Ok")]


class Site:
    """A listener under test and its client."""

    def __init__(self, server: HttpServer, port: int, intake: FakeIntake, log: ListLog) -> None:
        self.server = server
        self.port = port
        self.intake = intake
        self.log = log

    async def ask(
        self, method: str, path: str, body: bytes = b"", key: str | None = KEY, **fields: str | list[str]
    ) -> Answer:
        lines = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {len(body)}"]
        if key is not None:
            lines.append(f"Authorization: Bearer {key}")
        for name, values in fields.items():
            for value in [values] if isinstance(values, str) else values:
                lines.append(f"{name.replace('_', '-')}: {value}")
        return await self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    async def send(self, octets: bytes) -> Answer:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(octets)
            return await read_answer(reader)
        finally:
            writer.close()
            await writer.wait_closed()

    async def post(self, message: Any, **more: Any) -> Answer:
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        return await self.ask("POST", "/v1/messages", body, content_type="application/json", **more)

    async def post_raw(self, octets: bytes, query: str = "", **more: Any) -> Answer:
        if not query and "outrider_mail_from" not in more:
            query = "?from=shop@sender.example&to=alice@example.com"
        return await self.ask("POST", f"/v1/messages{query}", octets, content_type="message/rfc822", **more)


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in head[1:-2])
    body = await reader.readexactly(int(fields["content-length"]))
    return Answer(int(head[0].split()[1]), fields, body)


Start = Callable[..., Any]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    servers: list[HttpServer] = []

    async def started(**options: Any) -> Site:
        chosen = HttpOptions(**options)
        clock, log, intake = FakeClock(), ListLog(), FakeIntake()
        app = build_app(
            chosen,
            hostname="mx.sender.example",
            intake=intake,
            authenticator=Keys(),
            lookup=States(),
            shared=Shared(NoReservations(), ClientCounts(), KeyRates(chosen.key_recipients_per_second)),
            ids=IdSource(clock, 5),
            clock=clock,
            log=log,
        )
        listener = socket.create_server(("127.0.0.1", 0))
        server = HttpServer(app, chosen.http_limits, clock, log)
        servers.append(server)
        await server.start([listener])
        return Site(server, listener.getsockname()[1], intake, log)

    yield started
    for server in servers:
        await server.close(1)


@pytest.fixture
async def site(start: Start) -> Site:
    made: Site = await start()
    return made


def plain_of(submission: Submission) -> bytes:
    wire = submission.content.wire
    return (b"\r\n" + wire).replace(b"\r\n.", b"\r\n")[2:]


async def test_a_message_from_json_is_accepted(site: Site) -> None:
    answer = await site.post(MESSAGE)
    submission = site.intake.only()
    assert answer.status == 202
    assert answer.document == {"id": submission.message_id, "recipients": 1, "durability": "durable"}
    assert answer.fields["location"] == f"/v1/messages/{submission.message_id}"
    assert str(submission.envelope.mail_from) == "shop@sender.example"
    assert [str(each.address) for each in submission.envelope.recipients] == ["alice@example.com"]
    assert submission.origin == Origin("http", "HTTP", "127.0.0.1", "", "shop-key", None, "acme", "default")
    message = email.message_from_bytes(plain_of(submission), policy=email.policy.default)
    assert message.keys() == [
        *("Received", "Date", "From", "To", "Subject", "Message-ID", "MIME-Version", "Content-Type"),
        "Content-Transfer-Encoding",
    ]
    assert message["Message-ID"] == f"<{submission.message_id}@mx.sender.example>"
    assert message["Date"] == "Mon, 21 Sep 2026 14:13:20 +0000"
    assert "with HTTP id " + submission.message_id in message["Received"]
    assert message.get_content() == "Hello\r\n"


async def test_copies_are_recipients_and_blind_ones_are_not_shown(site: Site) -> None:
    named = {"address": "Bob@Example.ORG", "name": "Bob, B."}
    more = {
        "cc": [named],
        "bcc": ["eve@example.net", "alice@example.com"],
        "reply_to": ["help@sender.example"],
    }
    answer = await site.post({**MESSAGE, **more})
    submission = site.intake.only()
    assert answer.document["recipients"] == 3
    assert [str(each.address) for each in submission.envelope.recipients] == [
        "alice@example.com",
        "Bob@example.org",
        "eve@example.net",
    ]
    assert b"eve@" not in submission.content.wire
    assert b'Cc: "Bob, B." <Bob@example.org>\r\n' in submission.content.wire
    assert b"Reply-To: help@sender.example\r\n" in submission.content.wire


async def test_the_answer_waits_until_the_message_is_safe(site: Site) -> None:
    site.intake.reply = None
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    body = json.dumps(MESSAGE).encode()
    writer.write(f"{HEAD}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    _, done = await site.intake.submitted.get()
    # Another connection is served in between; nothing has come back on this one.
    assert (await site.ask("GET", "/healthz")).status == 200
    assert reader._buffer == bytearray()  # type: ignore[attr-defined]
    done(ACCEPTED)
    assert (await read_answer(reader)).status == 202
    writer.close()
    await writer.wait_closed()


async def test_a_raw_message_keeps_its_octets(site: Site) -> None:
    octets = b"Subject: raw\r\nFrom: shop@sender.example\r\n"
    octets += b"Message-ID: <1@x>\r\nDate: x\r\n\r\n.dot\r\n..two\r\n\xff\r\n"
    answer = await site.post_raw(octets, "?from=shop@sender.example&to=a@example.com&to=b@example.org")
    submission = site.intake.only()
    assert answer.status == 202
    assert answer.document["recipients"] == 2
    received, _, rest = plain_of(submission).partition(b"Subject: raw")
    assert received.startswith(b"Received: from unknown ([127.0.0.1])")
    assert b"Subject: raw" + rest == octets
    assert b"\r\n..dot\r\n...two\r\n" in submission.content.wire


async def test_the_envelope_may_stand_in_fields(site: Site) -> None:
    answer = await site.post_raw(
        RAW,
        outrider_mail_from="<shop@sender.example>",
        outrider_rcpt_to=["alice@example.com", "björn@example.org"],
    )
    submission = site.intake.only()
    assert answer.status == 202
    assert [str(each.address) for each in submission.envelope.recipients] == [
        "alice@example.com",
        "björn@example.org",
    ]
    assert submission.envelope.smtputf8


@pytest.mark.parametrize(
    "fields",
    [
        ["a@example.com", "<b@example.com>", '"c,d"@example.com'],
        ['a@example.com, <b@example.com>,"c,d"@example.com'],
        [", a@example.com ,,\t<b@example.com>", '"c,d"@example.com,'],
    ],
)
async def test_several_fields_may_have_been_made_one(site: Site, fields: list[str]) -> None:
    """RFC 9110 §5.3: whoever passes them on may join them by commas."""
    answer = await site.post_raw(RAW, outrider_mail_from="shop@sender.example", outrider_rcpt_to=fields)
    assert answer.status == 202, answer.document
    found = [str(each.address) for each in site.intake.only().envelope.recipients]
    assert found == ["a@example.com", "b@example.com", '"c,d"@example.com']


@pytest.mark.parametrize(
    "field", [",", "", '"a@example.com', 'a@example.com,"b', "a@example.com b@example.com"]
)
async def test_a_list_without_addresses_is_refused(site: Site, field: str) -> None:
    answer = await site.post_raw(RAW, outrider_mail_from="shop@sender.example", outrider_rcpt_to=field)
    assert (answer.status, answer.document["code"]) == (400, "bad_parameter")
    assert site.intake.submitted.empty()


async def test_the_null_sender_may_send(site: Site) -> None:
    assert (await site.post_raw(RAW, "?from=<>&to=alice@example.com")).status == 202
    assert site.intake.only().envelope.mail_from is None


async def test_header_beyond_ascii_needs_smtputf8(site: Site) -> None:
    assert (
        await site.post_raw("From: shop@sender.example\r\nSubject: Grüße\r\n\r\nx\r\n".encode())
    ).status == 202
    assert site.intake.only().envelope.smtputf8


@pytest.mark.parametrize(
    ("query", "pointers"),
    [
        ("?to=a@example.com", ["from"]),
        ("?from=a@sender.example&from=b@sender.example&to=a@example.com", ["from"]),
        ("?from=a@sender.example", ["to"]),
        ("?from=a&to=b&to=c@example.com&to=%40", ["from", "to/0", "to/2"]),
        ("?from=a@sender.example&to=a%0D%0ARCPT%20TO:<eve@example.com>", ["to/0"]),
        ("?from=a@sender.example&to=%FF@example.com", [""]),
        ("?from=a@sender.example&to=%ED%A0%80@example.com", [""]),
        ("?from=a@sender.example&to=a@example.com&stream=x&stream=y", ["stream"]),
    ],
)
async def test_envelope_parameters_are_checked_all_at_once(
    site: Site, query: str, pointers: list[str]
) -> None:
    answer = await site.post_raw(RAW, query)
    assert answer.status == 400
    assert answer.document["code"] == "bad_parameter"
    assert [fault["pointer"] for fault in answer.document["errors"]] == pointers
    assert site.intake.submitted.empty()


async def test_a_plus_in_a_query_is_a_space_and_the_fault_says_so(site: Site) -> None:
    query = "?from=shop@sender.example&to=a"
    [fault] = (await site.post_raw(RAW, f"{query}+b@example.com")).document["errors"]
    assert "%2B" in fault["detail"]
    assert (await site.post_raw(RAW, f"{query}%2Bb@example.com")).status == 202
    assert str(site.intake.only().envelope.recipients[0].address) == "a+b@example.com"


async def test_two_places_for_the_sender_are_one_too_many(site: Site) -> None:
    answer = await site.post_raw(
        RAW, "?from=shop@sender.example&to=a@example.com", outrider_mail_from="shop@sender.example"
    )
    assert answer.status == 400


@pytest.mark.parametrize(
    ("body", "code", "pointers"),
    [
        (b"{", "bad_json", []),
        (b"", "bad_json", []),
        (b"\xff", "bad_json", []),
        (b"[" * 100_000, "invalid", [""]),
        (b"[]", "invalid", [""]),
        ({}, "invalid", ["/from"]),
        ({**MESSAGE, "to": [{"name": "B"}]}, "invalid", ["/to/0/address"]),
        ({**MESSAGE, "size": "1 RCPT TO:<x>"}, "invalid", ["/size"]),
        ({**MESSAGE, "x" * 100_000: 1}, "invalid", ["/" + "x" * 64]),
        ({**MESSAGE, "subject": 5}, "invalid", ["/subject"]),
        ({**MESSAGE, "to": ["a@example.com", 5]}, "invalid", ["/to/1"]),
        (
            {**MESSAGE, "to": ["a", "b@example.com", "c@"], "from": "x"},
            "invalid",
            ["/from", "/to/0", "/to/2"],
        ),
        ({**MESSAGE, "to": []}, "invalid", ["/to"]),
        ({"from": "shop@sender.example", "to": ["a@example.com"]}, "invalid", ["/text"]),
        ({**MESSAGE, "subject": "a\r\nBcc: eve@example.com"}, "invalid", ["/subject"]),
        ({**MESSAGE, "headers": {"X-A\r\nBcc": "x"}}, "invalid", ["/headers/X-A\r\nBcc"]),
        ({**MESSAGE, "headers": {"Bcc": "eve@example.com"}}, "invalid", ["/headers/Bcc"]),
        ({**MESSAGE, "text": "a\0b"}, "invalid", ["/text"]),
        (
            {**MESSAGE, "from": {"address": "shop@sender.example", "name": "a\u2028b"}},
            "invalid",
            ["/from/name"],
        ),
    ],
)
async def test_json_is_checked_with_pointers(site: Site, body: Any, code: str, pointers: list[str]) -> None:
    answer = await site.post(body)
    assert answer.fields["content-type"] == "application/problem+json"
    assert answer.status in (400, 422)
    assert answer.document["code"] == code
    assert answer.document["status"] == answer.status
    assert answer.document["type"] == f"/v1/problems/{code}"
    assert [fault["pointer"] for fault in answer.document.get("errors", [])] == pointers
    assert site.intake.submitted.empty()


@pytest.mark.parametrize(
    ("more", "pointer", "meant"),
    [
        ({"subjcet": "Hello"}, "/subjcet", "subject"),
        ({"from": {"adress": "shop@sender.example"}}, "/from/adress", "address"),
        ({"attachments": [{"contnt": "AAEC"}]}, "/attachments/0/contnt", "content"),
        ({"to": ["a@example.com", {"address": "b@example.com", "nam": "B"}]}, "/to/1/nam", "name"),
    ],
)
async def test_a_field_that_is_misspelt_is_named_with_what_was_meant(
    site: Site, more: dict[str, Any], pointer: str, meant: str
) -> None:
    [fault] = (await site.post({**MESSAGE, **more})).document["errors"]
    assert fault == {"pointer": pointer, "detail": f"is not a field; did you mean {meant}?"}


@pytest.mark.parametrize(
    ("authorization", "error"),
    [
        *[(text, "") for text in ("", "Basic abc", "Bearer", "Bearer ", KEY)],
        ("Bearer wrong", ', error="invalid_token"'),
    ],
)
async def test_nothing_is_done_without_a_key(site: Site, authorization: str, error: str) -> None:
    """RFC 6750 §3: the challenge has a parameter, and an error only where a key was there."""
    for method, path in (("POST", "/v1/messages"), ("GET", "/v1/messages/01k9q4m2x7f3a8w0z1")):
        answer = await site.ask(method, path, key=None, authorization=authorization)
        assert answer.status == 401
        assert answer.fields["www-authenticate"] == f'bearer realm="outrider"{error}'
        assert answer.document["code"] == "no_key"
    assert site.intake.submitted.empty()


async def test_a_key_sends_as_its_own_domains_only(site: Site) -> None:
    answer = await site.post({**MESSAGE, "from": "ceo@bank.example"})
    assert (answer.status, answer.document["code"]) == (403, "sender_denied")
    assert site.intake.refusals[0][1:] == ("ceo@bank.example", "", replies.sender_denied("bank.example"))
    assert (await site.post_raw(RAW, "?from=ceo@bank.example&to=alice@example.com")).status == 403
    assert (await site.post({**MESSAGE, "from": "x@a.sub.example"})).status == 202
    assert (await site.post({**MESSAGE, "from": "x@sub.example"})).status == 403


@pytest.mark.parametrize("kind", ["text/plain", "", "application/jsonp", "multipart/form-data; boundary=x"])
async def test_other_media_types_are_not_read(site: Site, kind: str) -> None:
    answer = await site.ask("POST", "/v1/messages", b"{}", content_type=kind)
    assert (answer.status, answer.document["code"]) == (415, "unsupported_type")
    assert answer.fields["accept"] == "application/json, message/rfc822"


@pytest.mark.parametrize("coding", ["gzip", "br", "identity, gzip", "GZIP"])
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/batches"])
async def test_a_content_that_is_encoded_is_not_read(site: Site, path: str, coding: str) -> None:
    """RFC 9110 §15.5.16: 415 for a coding too, with Accept-Encoding."""
    kind = "application/json" if path == "/v1/messages" else "application/x-ndjson"
    body = json.dumps(MESSAGE).encode()
    answer = await site.ask("POST", path, body, content_type=kind, content_encoding=coding)
    assert (answer.status, answer.document["code"]) == (415, "unsupported_type")
    assert answer.fields["accept-encoding"] == "identity"
    assert site.intake.submitted.empty()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ("Authorization: Bearer wrong\r\nContent-Type: application/json\r\n", b"401"),
        (f"Authorization: Bearer {KEY}\r\nContent-Type: text/plain\r\n", b"415"),
        (f"Authorization: Bearer {KEY}\r\nContent-Type: message/rfc822\r\n", b"400"),  # no envelope
        (f"Authorization: Bearer {KEY}\r\nContent-Type: application/json\r\n", b"100"),
    ],
    ids=["key", "type", "envelope", "right"],
)
async def test_nobody_is_told_to_send_what_is_refused_anyway(site: Site, fields: str, said: bytes) -> None:
    """RFC 9110 §10.1.1: a final status takes the place of 100."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    head = (
        f"POST /v1/messages HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: 9\r\nExpect: 100-continue\r\n\r\n"
    )
    writer.write(head.encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 " + said)
    writer.close()


@pytest.mark.parametrize(
    "path", ["/v1/messages/", "/healthz/", "//healthz", "/V1/messages", "/v1/messages/a/b"]
)
async def test_another_path_is_not_there(site: Site, path: str) -> None:
    for method in ("GET", "POST"):
        answer = await site.ask(method, path)
        assert (answer.status, answer.document["code"]) == (404, "not_found")
        assert "location" not in answer.fields


@pytest.mark.parametrize("kind", ["application/json", "message/rfc822"])
@pytest.mark.parametrize(("octets", "said"), [(65_536, b"100"), (65_537, b"413")])
async def test_who_asks_first_does_not_send_what_is_too_big(
    start: Start, kind: str, octets: int, said: bytes
) -> None:
    """RFC 9110 §10.1.1."""
    site = await start(message_octets=65_536)
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(
        f"POST /v1/messages?from=shop@sender.example&to=alice@example.com HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {KEY}\r\nContent-Type: {kind}\r\nContent-Length: {octets}\r\n"
        "Expect: 100-continue\r\n\r\n".encode()
    )
    assert (await reader.readline()).startswith(b"HTTP/1.1 " + said)
    writer.close()


async def test_identity_is_no_encoding(site: Site) -> None:
    assert (await site.post(MESSAGE, content_encoding="identity")).status == 202


@pytest.mark.parametrize(
    "fields",
    [
        {"authorization": [f"Bearer {KEY}", "Bearer other"]},
        {"idempotency_key": ["a", "b"]},
        {"idempotency_key": ["a", "a"]},
        {"content_type": ["application/json", "message/rfc822"]},
    ],
    ids=lambda fields: next(iter(fields)),
)
async def test_a_field_that_may_stand_once_does(site: Site, fields: dict[str, list[str]]) -> None:
    """RFC 9110 §5.3: else who stands before us may read another one than we do."""
    kind = {"content_type": ["application/json"]} | fields
    key = None if "authorization" in fields else KEY
    answer = await site.ask("POST", "/v1/messages", json.dumps(MESSAGE).encode(), key=key, **kind)
    assert (answer.status, answer.document["code"]) == (400, "bad_parameter")
    assert answer.document["errors"][0]["pointer"] == next(iter(fields)).replace("_", "-")
    assert site.intake.submitted.empty()


async def test_a_media_type_may_have_parameters(site: Site) -> None:
    body = json.dumps(MESSAGE).encode()
    kind = "Application/JSON; charset=utf-8"
    assert (await site.ask("POST", "/v1/messages", body, content_type=kind)).status == 202


@pytest.mark.parametrize("excess", [-1, 0, 1, 65_536, 200_000])
async def test_the_size_limit_holds_while_streaming(start: Start, excess: int) -> None:
    site = await start(message_octets=65_536 * 2, line_octets=1 << 20)
    size = 65_536 * 2 + excess
    head = b"From: shop@sender.example\r\n\r\n"
    raw = head + b"x" * (size - len(head) - 2) + b"\r\n"
    answer = await site.post_raw(raw)
    if excess > 0:
        assert (answer.status, answer.document["code"]) == (413, "too_big")
        assert site.intake.submitted.empty()
        assert site.intake.refusals[-1][3] == replies.MESSAGE_TOO_BIG
        assert (await site.post({**MESSAGE, "text": "x" * size})).status == 413
    else:  # with the trace fields it may go over, which is ours
        assert answer.status == 202


async def test_a_body_without_length_is_cut_off_too(start: Start) -> None:
    site = await start(message_octets=65_536)
    chunk = b"2000\r\n" + b" " * 0x2000 + b"\r\n"
    answer = await site.send(HEAD.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 20)
    assert answer.status == 413
    assert answer.fields["connection"] == "close"


@pytest.mark.parametrize("kind", ["application/json", "message/rfc822"])
async def test_an_endless_body_is_answered_before_its_end(start: Start, kind: str) -> None:
    site = await start(message_octets=65_536)
    query = "?from=shop@sender.example&to=alice@example.com"
    head = HEAD.replace("application/json", kind).replace("/v1/messages", "/v1/messages" + query)
    chunk = b"2000\r\n" + b" " * 0x1FFE + b"\r\n\r\n"
    answer = await site.send(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 40)
    assert answer.status == 413


async def test_limits_of_smtp_hold_here(start: Start) -> None:
    site = await start(recipients=2, header_fields=50, mime_depth=3, hops=10, header_octets=4096)
    many = {**MESSAGE, "to": ["a@x.example", "b@x.example", "c@x.example"]}
    assert [fault["pointer"] for fault in (await site.post(many)).document["errors"]] == ["/to"]
    for raw, reply in (
        (b"X: y\r\n" * 51 + b"\r\nx\r\n", replies.TOO_MANY_HEADERS),
        (b"X: " + b"y" * 4100 + b"\r\n\r\nx\r\n", replies.HEADER_TOO_BIG),
        (b"Received: x\r\n" * 11 + b"\r\nx\r\n", replies.TOO_MANY_HOPS),
        (nested(5), replies.TOO_COMPLEX),
    ):
        answer = await site.post_raw(raw)
        assert answer.status in (413, 422)
        assert answer.document["smtp"] == str(reply)
    assert site.intake.submitted.empty()
    assert (await site.post_raw(nested(2))).status == 202


def nested(depth: int) -> bytes:
    head = "".join(
        f'Content-Type: multipart/mixed; boundary="b{level}"\r\n\r\n--b{level}\r\n' for level in range(depth)
    )
    tail = "".join(f"\r\n--b{level}--\r\n" for level in reversed(range(depth)))
    return f"From: shop@sender.example\r\n{head}\r\nx\r\n{tail}".encode()


@pytest.mark.parametrize(
    "bad", [b"a\nb", b"a\rb", b"a\0b", b"a\r\r\nb", b"a\n.\nb", b"a\r\n.\rb", b"a\n.\r\nb"]
)
async def test_stray_line_ends_are_refused_or_repaired(start: Start, bad: bytes) -> None:
    raw = b"From: shop@sender.example\r\n\r\n" + bad + b"\r\n"
    site = await start()
    answer = await site.post_raw(raw)
    assert (answer.status, answer.document["code"]) == (422, "bad_content")
    assert site.intake.submitted.empty()
    lenient = await start(stray_line_endings="normalise")
    assert (await lenient.post_raw(raw)).status == 202
    wire = lenient.intake.only().content.wire
    bare = wire.replace(b"\r\n", b"")
    assert not {b"\r"[0], b"\n"[0], 0} & set(bare)
    assert b"\r\n.\r\n" not in wire


@pytest.mark.parametrize(
    ("reply", "status", "code"),
    [
        (replies.SPOOL_FAILED, 503, "unavailable"),
        (replies.SHUTTING_DOWN, 503, "unavailable"),
        (replies.DISK_LOW, 503, "unavailable"),
        (replies.TOO_MANY_RECIPIENTS, 429, "too_many"),
        (Reply(450, "4.7.1", ("Slow down",)), 429, "too_many"),
        (Reply(550, "5.7.1", ("Not this",)), 403, "refused"),
        (Reply(552, "5.2.3", ("Too large here",)), 413, "too_big"),
        (Reply(554, None, ("No",)), 403, "refused"),
    ],
)
async def test_replies_become_problems(site: Site, reply: Reply, status: int, code: str) -> None:
    site.intake.reply = reply
    answer = await site.post(MESSAGE)
    assert (answer.status, answer.document["code"], answer.document["smtp"]) == (status, code, str(reply))
    assert ("retry-after" in answer.fields) == (status in (429, 503))


async def test_whatever_is_refused_is_told_to_the_record(start: Start) -> None:
    site: Site = await start(message_octets=70_000, recipients=100)
    many = [f"user{number}@example.com" for number in range(101)]
    await site.post(MESSAGE, key=None)
    await site.post(MESSAGE, key="wrong")
    await site.post(MESSAGE | {"from": "ceo@other.example"})
    await site.post(MESSAGE | {"to": many})
    await site.post(MESSAGE | {"text": "x" * 70_000})
    await site.post_raw(b"Subject: x\r\n\r\n" + b"x\r\n" * 30_000)
    site.intake.refusing = replies.DISK_LOW
    await site.post(MESSAGE)
    assert site.intake.submitted.empty()
    assert {origin.client for origin, *_ in site.intake.refusals} == {"127.0.0.1"}
    assert [reply for *_, reply in site.intake.refusals] == [
        replies.AUTH_REQUIRED,
        replies.AUTH_FAILED,
        replies.sender_denied("other.example"),
        replies.TOO_MANY_RECIPIENTS,
        replies.MESSAGE_TOO_BIG,
        replies.MESSAGE_TOO_BIG,
        replies.DISK_LOW,
    ]


async def test_while_nothing_is_taken_nothing_is_read(site: Site) -> None:
    site.intake.refusing = replies.DISK_LOW
    answer = await site.post(b"not even json", key=None)
    assert (answer.status, answer.fields["retry-after"]) == (503, "30")
    assert (await site.ask("GET", "/readyz")).status == 503
    assert (await site.ask("GET", "/healthz")).status == 200
    site.intake.refusing = None
    assert (await site.ask("GET", "/readyz")).status == 200


async def test_the_state_is_shown_to_its_tenant_only(site: Site) -> None:
    path = "/v1/messages/01k9q4m2x7f3a8w0z1"
    answer = await site.ask("GET", path)
    assert answer.document == {
        "id": "01k9q4m2x7f3a8w0z1",
        "recipients": [
            {"recipient": "*@example.com", "state": "delivered", "attempts": 1, "reply": "250 Ok"}
        ],
    }
    foreign = await site.ask("GET", path, key="other")
    unknown = await site.ask("GET", "/v1/messages/01k9q4m2x7f3a8w0z9")
    strange = await site.ask("GET", "/v1/messages/..%2F..%2Fetc")
    assert foreign.status == unknown.status == strange.status == 404
    assert foreign.body == unknown.body == strange.body


async def test_a_late_store_is_not_acknowledged(start: Start) -> None:
    site = await start(answer_seconds=0.01)
    site.intake.reply = None
    answer = await site.post(MESSAGE)
    assert answer.status == 504
    _, done = site.intake.submitted.get_nowait()
    done(ACCEPTED)  # too late, and harmless
    assert site.log.lines[-1][1] == "http.not_stored_in_time"


async def test_a_failure_of_ours_is_a_problem_and_shows_nothing_personal(site: Site) -> None:
    site.intake.failure = RuntimeError("about alice@example.com")
    answer = await site.post(MESSAGE)
    assert (answer.status, answer.document["code"]) == (500, "internal")
    assert b"alice" not in answer.body
    ((level, event, fields),) = site.log.lines
    assert (level, event, fields["error"]) == ("error", "http.failed", "RuntimeError")
    assert "alice" not in str(fields)


async def test_kinds_of_problems_are_explained(site: Site) -> None:
    answer = await site.ask("GET", "/v1/problems/too_big", key=None)
    assert answer.document["status"] == 413
    assert (await site.ask("GET", "/v1/problems/nothing", key=None)).status == 404
    assert (await site.ask("PUT", "/v1/messages")).document["code"] == "method_not_allowed"


PAYLOADS = [
    *(
        "\r\nBcc: eve@evil.example",
        "\nX: y",
        "\rX: y",
        "\0",
        "\x85X: y",
        "\u2028X: y",
        "\u2029X: y",
        "\x1b[2J",
    ),
    *("x> SIZE=1", "x@a.example> RCPT TO:<eve@evil.example", "x\r\nRCPT TO:<eve@evil.example>", " ", ""),
    *(
        "a@b.example, eve@evil.example",
        "=?utf-8?q?a=0D=0ABcc:_eve?=",
        "(c)eve@evil.example",
        '"eve@evil.example"',
    ),
    *("x\r\n.\r\nMAIL FROM:<eve@evil.example>\r\n", "\ud800"),
]
PLACES: list[tuple[str, Callable[[str], dict[str, Any]]]] = [
    ("from", lambda text: {"from": text}),
    ("from name", lambda text: {"from": {"address": "shop@sender.example", "name": text}}),
    ("to", lambda text: {"to": ["alice@example.com", text]}),
    ("to name", lambda text: {"to": [{"address": "alice@example.com", "name": text}]}),
    ("bcc", lambda text: {"bcc": [text]}),
    ("subject", lambda text: {"subject": text}),
    ("text", lambda text: {"text": text}),
    ("html", lambda text: {"html": text}),
    ("header", lambda text: {"headers": {"X-Tag": text}}),
    ("header name", lambda text: {"headers": {text: "x"}}),
]


async def test_nothing_can_be_injected_anywhere(site: Site) -> None:
    """Every field with every payload: a problem, or exactly the envelope and fields that were asked for."""
    accepted = 0
    for name, change in PLACES:
        for payload in PAYLOADS:
            answer = await site.post({**MESSAGE, **change(payload)})
            if answer.status != 202:
                assert answer.status in (400, 403, 422), (name, payload)
                assert site.intake.submitted.empty()
                continue
            accepted += 1
            submission = site.intake.only()
            wire = submission.content.wire
            recipients = [str(each.address) for each in submission.envelope.recipients]
            assert recipients == ["alice@example.com"], (name, payload)
            bare = wire.replace(b"\r\n", b"")
            assert not {13, 10, 0} & set(bare), (name, payload)
            assert b"\r\n.\r\n" not in wire, (name, payload)
            header = email.message_from_bytes(wire, policy=email.policy.compat32)
            expected = {
                "Received",
                "Date",
                "From",
                "To",
                "Subject",
                "Message-ID",
                "MIME-Version",
                "Content-Type",
            }
            found = set(header.keys()) - {"Content-Transfer-Encoding", "X-Tag"}
            assert found == expected, (name, payload)
    assert accepted > 20


async def test_a_query_cannot_inject_either(site: Site) -> None:
    for payload in PAYLOADS:
        text = urllib.parse.quote(payload.encode("utf-8", "surrogatepass"))
        answer = await site.post_raw(RAW, f"?from=shop@sender.example&to=alice@example.com&to={text}")
        assert answer.status == 400, payload
        answer = await site.post_raw(RAW, f"?from={text}&to=alice@example.com")
        assert answer.status == 400 or (payload == "" and answer.status == 202), payload
