"""What is fuzzed of the doors beyond commands and contents: AUTH, authors, batches, what receivers say."""

import asyncio
import contextlib
import email.utils
import json
import random
from typing import Any

from outrider.base.errors import AddressError, RemoteProtocolError
from outrider.model.address import Address
from outrider.model.flow import Content, Recipient, Traits
from outrider.model.mailbox import parse_domain
from outrider.receive.http_keys import parse_key
from outrider.receive.problems import Problem
from outrider.receive.submitter import STREAM_FIELD, Named, Submitter
from outrider.wire.smtp import sasl
from outrider.wire.smtp.client import SmtpClient
from outrider.wire.smtp.client_events import Disconnected, SetupFailed, Transaction, TransactionDone
from tests.fuzz.engine import Target, must, pieces
from tests.receive.http_site import Answer, HttpSite, key_of


def auth(octets: bytes, chance: random.Random) -> None:
    for name in sasl.MECHANISMS:
        mechanism = sasl.start(name)
        assert mechanism is not None
        responses: list[bytes | None] = [None] if chance.random() < 0.5 else []
        for number, line in enumerate([*responses, *octets.split(b"\n")]):
            try:
                said = mechanism.step(None if line is None else sasl.decode_response(line))
            except sasl.SaslError:
                break
            if isinstance(said, sasl.Credentials):
                must(bool(said.user) and bool(said.password), "empty credentials")
                must("\0" not in said.user + said.password, "NUL in credentials")
                must(number <= 2, "more steps than there are")
                break


BOUND = key_of(
    "shop-key", sender_domains=frozenset({"own.example"}), streams=frozenset({"news"}), stream="news"
)


def authors(octets: bytes, chance: random.Random) -> None:
    value = octets.replace(b"\0", b"").replace(b"\r", b"").replace(b"\n", b"\r\n ")
    header = b"Subject: x\r\nFrom:" + value + b"\r\nTo: b@y.test\r\n\r\n"
    if Submitter(BOUND, "news").refuse_author(header, header.lower()) is not None:
        return
    # what another reader makes of the same octets shows no other domain
    text = value.decode("utf-8", "replace").replace("\r\n", "")
    for _, address in email.utils.getaddresses([text]):
        local_part, _, domain = address.rpartition("@")
        with contextlib.suppress(AddressError):  # what is no domain is nobody
            must(not local_part or parse_domain(domain) == "own.example", ("another author", address, text))
    del chance


def streams(octets: bytes, chance: random.Random) -> None:
    header, _, body = octets.partition(b"\r\n\r\n")
    header = b"From: a@own.example\r\n" + header.replace(b"\0", b"") + b"\r\n\r\n"
    content = Content(header + body, Traits.NONE, len(header))
    named = Submitter(BOUND, "news").take_stream(content, header, header.lower())
    if isinstance(named, Named):
        must(named.stream == "news", "a stream that was not granted")
        left = named.content.wire[: named.content.header_octets]
        lines = left.lower().split(b"\r\n")
        must(not any(line.startswith(STREAM_FIELD + b":") for line in lines), "the field is left")
        must(named.content.wire.endswith(body), "the body was touched")
    else:
        must(named.code >= 500, named)
    del chance


def idempotency_key(octets: bytes, chance: random.Random) -> None:
    text = octets.decode("latin-1")
    try:
        key = parse_key(text, "idempotency-key")
    except Problem as problem:
        must(problem.kind.status == 400, problem.code)
        return
    must(key.isascii() and key.isprintable() and " " not in key, key)
    quoted = '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'
    must(parse_key(quoted, "idempotency-key") == key, "quotes change a key")
    del chance


async def _batch(parts: list[bytes]) -> Answer:
    site = HttpSite(message_octets=65_536)
    return await site.ask("POST", "/v1/batches", parts, kind="application/x-ndjson")


def batch(octets: bytes, chance: random.Random) -> None:
    whole = asyncio.run(_batch([octets]))
    must(whole.status == 200, whole.status)
    results = whole.lines
    lines = [number for number, line in enumerate(octets.split(b"\n"), 1) if line.strip()]
    must([result["line"] for result in results] == lines, "a line without a result, or one too many")
    split = asyncio.run(_batch(pieces(octets, chance))).lines
    must(results == split, "splitting changes a batch")


RECIPIENTS = tuple(Recipient(Address("b", domain)) for domain in ("one.test", "two.test"))
GREETINGS = (
    b"220 x\r\n250-x\r\n250-PIPELINING\r\n250 8BITMIME\r\n",
    b"220 x\r\n250-x\r\n250-PIPELINING\r\n250 CHUNKING\r\n",
    b"220 x\r\n250 x\r\n",
)
"""What the receiver offers: DATA in a pipeline, BDAT, or one command at a time."""


def _transact(parts: list[bytes], greeting: bytes, *, lmtp: bool) -> list[str] | None:
    """What a transaction came to, as the client tells it; None when it calls the answers a breach."""
    client = SmtpClient(ehlo_name="me.test", tls="off", lmtp=lmtp)
    client.receive(greeting)
    client.take_output()
    content = Content(b"Subject: x\r\n\r\nHello\r\n", Traits.NONE, 12)
    client.send(Transaction(Address("a", "x.test"), list(RECIPIENTS), content, ret=None, envid=None))
    told: list[str] = []
    for part in parts:
        try:
            events = client.receive(part)
        except RemoteProtocolError:
            return None
        for event in events:
            match event:
                case TransactionDone():
                    must(len(event.answers) == len(RECIPIENTS), "an answer for each recipient")
                    told.append(
                        f"done {[None if each is None else str(each.reply) for each in event.answers]}"
                    )
                case Disconnected() | SetupFailed():
                    told.append(f"over {event.reply}")
                case _:
                    raise AssertionError(event)
        for said in client.take_output():
            must(bytes(said).count(b"\r\n") == bytes(said).count(b"\n"), said)
    must(sum(each.startswith("done") for each in told) <= 1, "a transaction is done once")
    if any("'2" in each for each in told):
        positive = sum(line[:1] == b"2" for line in b"".join(parts).split(b"\n"))
        must(positive > 0, "success that nobody said")
    return told


def transactions(octets: bytes, chance: random.Random) -> None:
    greeting, lmtp = chance.choice(GREETINGS), chance.random() < 0.5
    whole = _transact([octets], greeting, lmtp=lmtp)
    must(_transact(pieces(octets, chance), greeting, lmtp=lmtp) == whole, "splitting changes an outcome")


def _line(**fields: Any) -> bytes:
    message = {"from": "shop@sender.example", "to": ["a@x.test"], "subject": "s", "text": "t"}
    return json.dumps(message | fields).encode()


TARGETS = (
    Target(
        "auth",
        "Whatever a client answers, AUTH ends in at most two steps, with credentials or a refusal.",
        (b"AGpvZQBzZWNyZXQ=", b"am9l\nc2VjcmV0", b"=\n=", b"am9lAGpvZQBzZWNyZXQ="),
        auth,
    ),
    Target(
        "authors",
        "A From that passes for a bound sender shows no other domain to another reader.",
        (
            b" a@own.example",
            b' "Joe, Inc." <a@own.example>',
            b" a@own.example (a comment), B <b@own.example>",
            b" =?UTF-8?Q?J=C3=B6rg?= <a@own.example>",
            b' "x@other.example" <a@own.example>',
            b" b@other.example, <a@own.example>",
        ),
        authors,
    ),
    Target(
        "streams",
        "A message names a stream that was granted and loses the field, or is refused.",
        (
            b"X-Outrider-Stream: news\r\nSubject: x\r\n\r\nHello\r\n",
            b"Subject: x\r\nX-Outrider-Stream:\r\n news\r\n\r\nx\r\n",
            b"X-Outrider-Stream: other\r\n\r\n",
        ),
        streams,
    ),
    Target(
        "idempotency-key",
        "A key is printable ASCII, the same with quotes and without, or refused.",
        (b"order-17", b'"order-17"', b'"a\\"b\\\\c"'),
        idempotency_key,
    ),
    Target(
        "batch",
        "Each line of a batch that is not empty has one result, however the body is split.",
        (
            _line() + b"\n" + _line(to=[]) + b"\n\n" + _line(subject="u") + b"\n",
            _line(idempotency_key="k") + b"\n" + b"{}\r\n[]\n",
        ),
        batch,
    ),
    Target(
        "transactions",
        "Whatever a receiver answers, by SMTP or LMTP, a transaction ends once, with an answer a recipient.",
        (
            b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n",
            b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 2.0.0 one\r\n452 4.2.2 two\r\n",
            b"250 ok\r\n250 ok\r\n550 5.1.1 no\r\n250 2.0.0 taken\r\n250 2.0.0 and this\r\n",
            b"250 ok\r\n450 a\r\n450 b\r\n554 none\r\n",
            b"250 ok\r\n421 4.3.2 bye\r\n",
        ),
        transactions,
    ),
)
