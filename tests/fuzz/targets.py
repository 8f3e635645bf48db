"""What is fuzzed: every parser of octets that others wrote, each with its invariant in one sentence.

Seeds are our own; a parser may refuse whatever it likes, but only by the errors it names.
"""

import random
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dns.message
import msgspec

from outrider.base.errors import (
    AddressError,
    ConfigError,
    LocalProtocolError,
    RemoteProtocolError,
)
from outrider.classify.dsn import build_dsn
from outrider.classify.options import DsnOptions
from outrider.classify.report import DsnKind, RecipientReport
from outrider.model.address import Address
from outrider.model.changes import entry_id
from outrider.model.flow import Content, Notify, Outcome, Phase, Recipient
from outrider.model.mailbox import parse_domain, parse_mailbox
from outrider.model.reply import Reply
from outrider.net.exchange import ExchangeError, _is_answer, _parsed
from outrider.receive.http_parse import parse_request
from outrider.receive.nesting import is_nested_deeper
from outrider.receive.options import ReceiveLimits
from outrider.receive.problems import Problem
from outrider.receive.trace import refuse_header
from outrider.server.configuration import read
from outrider.sim.world import parse_world
from outrider.wire.headers import FieldError, text_field
from outrider.wire.mime import MessageWriter
from outrider.wire.proxy import ProxyReader
from outrider.wire.smtp.client import SmtpClient
from outrider.wire.smtp.client_replies import ReplyReader
from outrider.wire.smtp.commands import CommandError, parse_bdat, parse_helo, parse_mail, parse_rcpt
from outrider.wire.smtp.content import ContentReader, stuff_plain, unstuff
from outrider.wire.smtp.content_limits import ContentLimits
from outrider.wire.smtp.server import Server
from outrider.wire.smtp.server_events import MessageEnd, StartTls
from outrider.wire.smtp.server_limits import ServerLimits
from tests.fuzz import (
    door_targets,
    file_targets,
    message_targets,
    policy_targets,
    signature_targets,
    spool_targets,
)
from tests.fuzz.engine import Target, must, pieces
from tests.spool.samples import stored

LIMITS = ServerLimits(
    "mx.test",
    content=ContentLimits(message_octets=100_000),
    starttls=True,
    auth=True,
    auth_without_tls=True,
    errors=1000,
    idle_commands=1000,
)
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]").search
COMMAND_OCTETS = 510
"""RFC 5321 §4.5.3.1.4, without CRLF."""


def is_clean(content: Content) -> bool:
    """A content in wire form: no stray line end, no NUL, no end of data in it."""
    wire = content.wire
    lines = wire.count(b"\r\n")
    return (
        wire.endswith(b"\r\n")
        and wire.count(b"\r") == lines == wire.count(b"\n")
        and b"\0" not in wire
        and b"\r\n.\r\n" not in b"\r\n" + wire
    )


def _serve(octets: list[bytes]) -> tuple[bytes, list[bytes], list[bytes]]:
    server = Server(LIMITS)
    server.greet()
    said, contents, partings = b"", [], []
    for part in octets:
        server.feed(part)
        while (event := server.next_event()) is not None:
            if isinstance(event, MessageEnd) and isinstance(event.content, Content):  # no input is long
                must(is_clean(event.content), event.content)
                contents.append(event.content.wire)
            if server.waiting is not None:
                server.accept()
                if isinstance(event, StartTls):
                    partings.append(b"tls")
                    server.tls_started()
        said += server.take_output()
    return said + server.take_output(), contents, partings


def smtp_commands(octets: bytes, chance: random.Random) -> None:
    whole = _serve([octets])
    if any(len(line) > COMMAND_OCTETS and {10, 13} & set(line) for line in octets.split(b"\r\n")):
        _serve(pieces(octets, chance))  # too long, or a stray line end: what is seen first is said
    elif whole[2] or b"354" in whole[0] or b"554 5.5.1 You" in whole[0]:
        _serve(pieces(octets, chance))  # what may follow STARTTLS and DATA depends on when it comes
    else:
        must(_serve(pieces(octets, chance)) == whole, "splitting changes what is answered")


def content_reader(octets: bytes, chance: random.Random) -> None:
    limits = ContentLimits(message_octets=50_000, line_octets=2000, normalise=chance.random() < 0.5)
    for feed in ("data", "chunk"):
        results: list[tuple[int, bytes | str] | None] = []
        for parts in ([octets], pieces(octets, chance)):
            reader, behind = ContentReader(limits), -1
            for number, part in enumerate(parts):
                if feed == "chunk":
                    reader.feed_chunk(part)
                    continue
                end = reader.feed_data(part)
                if end >= 0:
                    behind = sum(map(len, parts[:number])) + end
                    break
            if feed == "chunk":
                reader.finish_chunks()
            elif behind < 0:
                results.append(None)
                continue
            found = reader.finish()
            if isinstance(found, Content):
                must(is_clean(found), found)
                must(stuff_plain(unstuff(found)).wire == found.wire, "stuffing goes both ways")
            results.append((behind, found.wire if isinstance(found, Content) else "refused"))
        must(results[0] == results[1], ("splitting changes a content", results))


def smtp_arguments(octets: bytes, chance: random.Random) -> None:
    text = octets.decode("utf-8", "replace")
    esmtp = chance.random() < 0.8
    parsers: tuple[Callable[[], Any], ...] = (
        lambda: parse_mail(text, esmtp=esmtp),
        lambda: parse_rcpt(text, esmtp=esmtp, smtputf8=esmtp, hostname="mx.test"),
        lambda: parse_helo(text),
        lambda: parse_bdat(text),
    )
    for parser in parsers:
        try:
            parser()
        except CommandError as error:
            must(error.reply.code >= 400, error.reply)


def addresses(octets: bytes, chance: random.Random) -> None:
    text = octets.decode("utf-8", "replace")
    try:
        address = parse_mailbox(text, smtputf8=chance.random() < 0.5)
    except AddressError:
        pass
    else:
        must(not CONTROLS(str(address)) and " " not in address.domain, address)
        again = parse_mailbox(str(address), smtputf8=True)
        must(again == address, (address, again))
    try:
        domain = parse_domain(text)
    except AddressError:
        return
    must(parse_domain(domain) == domain, domain)


def replies(octets: bytes, chance: random.Random) -> None:
    def read(parts: list[bytes]) -> tuple[list[Reply], bool]:
        reader = ReplyReader()
        found = [reply for part in parts for reply in reader.feed(part)]
        return found, reader.fault is not None

    whole, split = read([octets]), read(pieces(octets, chance))
    must(whole[1] == split[1] or b"\n" not in octets[-2001:], "splitting changes whether it is a fault")
    for reply in whole[0]:
        must(all(line.isprintable() for line in reply.lines), reply)
        must(200 <= reply.code < 600, reply)


def smtp_client(octets: bytes, chance: random.Random) -> None:
    client = SmtpClient(ehlo_name="me.test", tls="off")
    for part in pieces(octets, chance):
        try:
            client.receive(part)
        except RemoteProtocolError:
            return
        said = b"".join(bytes(each) for each in client.take_output())
        must(said.count(b"\r\n") == said.count(b"\n"), said)


def headers(octets: bytes, chance: random.Random) -> None:
    refuse_header(octets, octets.lower(), ReceiveLimits(header_octets=4096, header_fields=50, hops=10))
    shallow, deep = sorted((chance.randrange(1, 20), chance.randrange(1, 200)))
    lower = octets[: octets.find(b"\r\n\r\n") + 2].lower()
    if is_nested_deeper(octets, lower, deep):
        must(is_nested_deeper(octets, lower, shallow), "deeper than the deep is deeper than the shallow")


def header_fields(octets: bytes, chance: random.Random) -> None:
    text = octets.decode("utf-8", "surrogateescape" if chance.random() < 0.2 else "replace")
    try:
        field = text_field("Subject", text, "subject")
    except FieldError:
        return
    must(field.endswith(b"\r\n"), field)
    lines = field[:-2].split(b"\r\n")
    must(all(line[:1] in (b" ", b"\t") and line.strip() for line in lines[1:]), field)
    must(not any(b"\r" in line or b"\n" in line or len(line) > 998 for line in lines), field)


def proxy(octets: bytes, chance: random.Random) -> None:
    def read(parts: list[bytes]) -> tuple[Any, int] | str:
        reader, taken = ProxyReader(), 0
        for part in parts:
            try:
                used = reader.feed(part)
            except RemoteProtocolError:
                return "refused"
            must(0 <= used <= len(part), used)
            taken += used
            if reader.header is not None:
                return reader.header, taken
        return "more"

    must(read([octets]) == read(pieces(octets, chance)), "splitting changes a header")


def dsn(octets: bytes, chance: random.Random) -> None:
    text = octets.decode("utf-8", "replace")[:3000]
    try:
        original = stuff_plain(octets[:2000].replace(b"\0", b"").replace(b"\r", b"").replace(b"\n", b"\r\n"))
    except LocalProtocolError:
        return
    reply = Reply(550, "5.1.1", tuple(text.split("\n")[:50]) or ("no",))
    report = RecipientReport(
        Recipient(Address(text[:64] or "x", "one.example"), Notify.FAILURE, text[:400]),
        Outcome(reply, Phase.RCPT, host=text[:300]),
        1_790_000_000.0,
        "unknown",
    )
    made = build_dsn(
        DsnKind.FAILED,
        msgspec.structs.replace(stored(entry_id(3, 0), original.wire), envid=text[:100]),
        [report],
        original.wire,
        DsnOptions(),
        message_id=stored(0, b"").message_id,
        now_time=1_790_000_000.0,
        hostname="mx.test",
    )
    if made is not None:
        must(is_clean(made.content), made.content)
        must(made.envelope.mail_from is None, made.envelope)
    del chance


QUERY = dns.message.make_query("big.test", "MX", id=4711)


def dns_answers(octets: bytes, chance: random.Random) -> None:
    if len(octets) >= 12 and _is_answer(QUERY, octets):
        try:
            _parsed(QUERY, octets)
        except ExchangeError:
            return
    del chance


def _answer() -> bytes:
    response = dns.message.make_response(QUERY)
    response.answer.append(dns.rrset.from_text("big.test.", 60, "IN", "MX", "10 mx.big.test.", "20 a.test."))
    return response.to_wire()


def simulator(octets: bytes, chance: random.Random) -> None:
    try:
        parse_world(octets.decode("utf-8", "replace"), "world.toml")
    except ConfigError as error:
        must(bool(error.message), error)
    del chance


def configuration(octets: bytes, chance: random.Random) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "outrider.toml"
        path.write_bytes(octets)
        try:
            read(path, {})
        except ConfigError as error:
            must(bool(error.message), error)
    del chance


def http_message(octets: bytes, chance: random.Random) -> None:
    try:
        parsed = parse_request(octets, 10)
        writer = MessageWriter(eight_bit=chance.random() < 0.5)
        written = writer.write(
            parsed.draft, message_id="a@mx.test", date="Mon, 01 Jan 2024 00:00:00 +0000", boundary="=_a"
        )
    except (Problem, FieldError):
        return
    must(parsed.recipient_count > 0, "a message is for somebody")
    must(is_clean(stuff_plain(written)), written)


MAILBOXES = (
    b"joe@example.com",
    b'"joe blow"@example.com',
    b"joe@[127.0.0.1]",
    b"joe@[IPv6:2001:db8::1]",
    "jörg@exämple.test".encode(),
    b"a.b.c@sub.example.test",
    b'"a\\"b"@x.test',
)
DIALOGUE = (
    b"EHLO c.test\r\nMAIL FROM:<a@x.test> SIZE=100 BODY=8BITMIME\r\nRCPT TO:<b@y.test> NOTIFY=FAILURE\r\n"
)
CONTENT = b"Subject: x\r\n\r\nHello\r\n..dot\r\n.\r\n"
MULTIPART = (
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n"
    b'Content-Type: multipart/related;\r\n boundary="c d"\r\n\r\n--c d\r\n\r\nx\r\n--c d--\r\n--b--\r\n'
)

TARGETS = {
    target.name: target
    for target in (
        *spool_targets.TARGETS,
        *file_targets.TARGETS,
        *door_targets.TARGETS,
        *message_targets.TARGETS,
        *signature_targets.TARGETS,
        *policy_targets.TARGETS,
        Target(
            "smtp-commands",
            "Whatever a client sends, and however it is split, it gets the same replies.",
            (
                DIALOGUE + b"DATA\r\n",
                DIALOGUE + b"BDAT 5 LAST\r\nabc\r\nQUIT\r\n",
                b"AUTH PLAIN AGEAYg==\r\n",
                b"EHLO x\r\nAUTH LOGIN\r\nYQ==\r\nYg==\r\n",
                b"HELO x\r\nNOOP\r\nRSET\r\nVRFY a\r\nSTARTTLS\r\n",
            ),
            smtp_commands,
        ),
        Target(
            "content",
            "Only CRLF.CRLF ends a content, and what is kept is in wire form, however it is split.",
            (
                CONTENT,
                b".\r\n",
                b"a\r\nb\r\n.\r\nQUIT\r\n",
                b"x" * 1500 + b"\r\n.\r\n",
                b"a\n.\r\nb\r\n.\r\n",
            ),
            content_reader,
        ),
        Target(
            "smtp-arguments",
            "An argument is read or refused with a reply, and nothing else happens.",
            (
                b"<a@x.test> SIZE=1 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=a+2Bb AUTH=<>",
                b"<@h.test,@i.test:a@x.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+40b",
                b"<>",
                b"100 LAST",
                b"c.test",
            ),
            smtp_arguments,
        ),
        Target(
            "addresses",
            "An address that is taken is printable and reads back as itself.",
            (*MAILBOXES, b"example.test", "bücher.example".encode()),
            addresses,
        ),
        Target(
            "replies",
            "A reply is read or a fault, bounded and printable, however it is split.",
            (
                b"250 2.0.0 Ok\r\n",
                b"250-a\r\n250-b\r\n250 c\r\n",
                b"421 4.4.2 bye\r\n",
                b"550-5.1.1 a\r\n550 5.1.1 b\r\n",
            ),
            replies,
        ),
        Target(
            "smtp-client",
            "Whatever a server says, the client takes it or calls it a breach of protocol.",
            (
                b"220 x\r\n250-x\r\n250-PIPELINING\r\n250-SIZE 100\r\n250 STARTTLS\r\n",
                b"220 x\r\n502 no\r\n250 x\r\n",
                b"554 go away\r\n",
                b"220 x\r\n250 AUTH PLAIN LOGIN\r\n",
            ),
            smtp_client,
        ),
        Target(
            "headers",
            "Judging a header and counting nested parts returns, and deeper stays deeper.",
            (
                MULTIPART,
                b"Received: x\r\nSubject: y\r\n\r\n" + MULTIPART,
                b"Content-Type: message/rfc822\r\n\r\n" * 5,
            ),
            headers,
        ),
        Target(
            "header-fields",
            "A field that is written is one field, whatever text is in it.",
            (
                b"Your order",
                "Grüße aus Köln".encode(),
                b"x " * 80,
                b"=?UTF-8?Q?a?=",
                b" leading and trailing ",
            ),
            header_fields,
        ),
        Target(
            "proxy",
            "A PROXY header is read or refused, and no octet behind it is taken, however it is split.",
            (
                b"PROXY TCP4 192.0.2.1 198.51.100.1 1 25\r\nEHLO x\r\n",
                b"PROXY UNKNOWN\r\n",
                b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x01\x00\x01\x00\x19",
                b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00",
            ),
            proxy,
        ),
        Target(
            "dsn",
            "A report is in wire form and from nobody, whatever was said and returned.",
            (
                b"Subject: x\r\n\r\nHello\r\n",
                b"550 5.1.1 no such user",
                "Grüße\r\n.\r\n".encode(),
                b"--b\r\n\r\n",
            ),
            dsn,
        ),
        Target("dns", "An answer is read or called malformed.", (_answer(), QUERY.to_wire()), dns_answers),
        Target(
            "configuration",
            "A configuration is read or refused with its faults named.",
            (
                (
                    b'[server]\nworkers = 2\nhostname = "mx.test"\n[[listener]]\nname = "a"\nport = 2525\n'
                    b'trusted_networks = ["192.0.2.0/24"]\n'
                ),
                (
                    b'[[net.routes]]\ndomain = "*"\nhosts = ["192.0.2.1:25"]\n'
                    b"[shaping.default]\nmax_connections = 3\n"
                ),
            ),
            configuration,
        ),
        Target(
            "http-message",
            "A request in JSON is refused, or a message in wire form for somebody.",
            (
                (
                    b'{"from": {"address": "a@x.test", "name": "A"}, "to": ["b@y.test"], "subject": "s", '
                    b'"text": "Hello\\r\\n.\\r\\n", "headers": {"X-A": "b"}, '
                    b'"send_at": "2026-01-01T00:00:00Z"}'
                ),
                (
                    b'{"from": "a@x.test", "recipients": [{"address": "b@y.test", "variables": {"n": "1"}}], '
                    b'"html": "<p>{{n}}</p>", "attachments": [{"content": "AAEC", "content_type": '
                    b'"image/png", "content_id": "c"}]}'
                ),
            ),
            http_message,
        ),
        Target(
            "simulator",
            "A world is read or refused with every fault named.",
            (
                (
                    b'seed = 1\n[[provider]]\nname = "a"\n'
                    b'domains = ["a.test"]\nmx = [{ name = "mx.a.test", address = "127.0.0.1" }]\n'
                ),
                b'[[zone]]\nname = "x.test"\nlie = "cut"\n',
            ),
            simulator,
        ),
    )
}
"""By name."""
