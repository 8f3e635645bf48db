"""Sessions: what they hand over, how they end, and that each ends alone."""

import asyncio
import smtplib
import socket
import ssl
from collections.abc import Callable
from typing import Any

import pytest
import trustme
import uvloop

from outrider.base.errors import ConfigError
from outrider.model.flow import Notify
from outrider.model.reply import Reply
from outrider.receive.clients import client_key
from outrider.receive.options import ListenerOptions
from outrider.wire.smtp import replies
from tests.patience import PATIENCE_SECONDS
from tests.receive.conftest import MemoryTransport

ENVELOPE = ("EHLO c.example", "MAIL FROM:<a@x.example>", "RCPT TO:<b@y.example>")
MESSAGE = "Subject: x\r\n\r\nhello\r\n."


async def test_a_submission_has_all_that_was_said(world: Callable[..., Any]) -> None:
    made = world(name="in", tenant="acme", stream="news")
    made.connect().lines(
        "EHLO c.example",
        "MAIL FROM:<a@x.example> RET=HDRS ENVID=e1 SMTPUTF8",
        "RCPT TO:<ü@y.example> NOTIFY=NEVER ORCPT=rfc822;o@y.example",
        "DATA",
        MESSAGE,
    )
    (submission,) = made.intake.submissions
    envelope, origin = submission.envelope, submission.origin
    assert (str(envelope.mail_from), envelope.ret, envelope.envid) == ("a@x.example", "HDRS", "e1")
    assert envelope.smtputf8
    (recipient,) = envelope.recipients
    assert (str(recipient.address), recipient.notify) == ("ü@y.example", Notify.NEVER)
    assert recipient.orcpt == "rfc822;o@y.example"
    assert (origin.listener, origin.protocol, origin.client) == ("in", "ESMTP", "127.0.0.1")
    assert (origin.helo, origin.principal, origin.tls) == ("c.example", None, None)
    assert (origin.tenant, origin.stream) == ("acme", "news")
    assert submission.received_time == made.clock.wall()
    assert b"with UTF8SMTP id " + submission.message_id.encode() in submission.content.wire


async def test_the_250_waits_for_the_intake(world: Callable[..., Any]) -> None:
    made = world()
    made.intake.hold = True
    client = made.connect()
    client.lines(*ENVELOPE, "DATA")
    assert client.send(MESSAGE.encode() + b"\r\nNOOP\r\n") == b""
    (done,) = made.intake.waiting
    done(replies.queued("id1"))
    assert client.take() == b"250 2.0.0 Ok: queued as id1, durable\r\n250 2.0.0 Ok\r\n"
    done(replies.queued("id1"))  # a second call is a bug elsewhere and changes nothing here
    assert client.take() == b""


@pytest.mark.parametrize("reply", [replies.SPOOL_FAILED, Reply(554, "5.7.1", ("no",)), replies.DISK_LOW])
async def test_the_intakes_refusal_is_passed_on(world: Callable[..., Any], reply: Reply) -> None:
    made = world()
    made.intake.reply = reply
    said = made.connect().lines(*ENVELOPE, "DATA", MESSAGE, "NOOP")
    assert said[-2:] == [str(reply), "250 2.0.0 Ok"]


async def test_a_client_that_left_is_not_answered(world: Callable[..., Any]) -> None:
    made = world()
    made.intake.hold = True
    client = made.connect()
    client.lines(*ENVELOPE, "DATA", MESSAGE)
    client.session.connection_lost(None)
    made.intake.waiting[0](replies.queued("id1"))
    assert client.take() == b""
    assert made.listener.sessions == 0


async def test_an_unexpected_failure_ends_one_session(world: Callable[..., Any]) -> None:
    made = world()
    made.intake.fail = True
    other = made.connect()
    said = made.connect().lines(*ENVELOPE, "DATA", MESSAGE)
    assert said[-1].startswith("421 4.3.0")
    assert "canary" not in str(made.log.lines)
    assert made.log.lines[0][:2] == ("error", "receive.session_failed")
    assert other.lines("NOOP")[-1] == "250 2.0.0 Ok"


async def test_while_nothing_is_taken_mail_is_refused(world: Callable[..., Any]) -> None:
    made = world()
    client = made.connect()
    client.lines("EHLO c.example")
    made.intake.closed_for = replies.DISK_LOW
    assert client.lines("MAIL FROM:<>") == [str(replies.DISK_LOW)]
    made.intake.closed_for = None
    client.lines("MAIL FROM:<>", "RCPT TO:<b@y.example>")
    made.intake.closed_for = replies.DISK_LOW
    assert client.lines("DATA") == [str(replies.DISK_LOW)]
    made.intake.closed_for = replies.MEMORY_HIGH
    assert made.connect().take().startswith(b"421 4.3.1")


async def test_refusals_are_reported(world: Callable[..., Any]) -> None:
    made = world(trusted_networks=())
    made.connect().lines("HELO c", "FROB", "MAIL FROM:<a@x.example>", "RCPT TO:<b@y.example>")
    assert [(mail_from, recipient, reply.code) for mail_from, recipient, reply in made.intake.refusals] == [
        ("", "", 500),
        ("a@x.example", "b@y.example", 550),
    ]


# Deadlines


@pytest.mark.parametrize(
    ("said", "seconds"),
    [((), 300), (ENVELOPE, 300), ((*ENVELOPE, "DATA"), 180), ((*ENVELOPE, "DATA", "x"), 180)],
)
async def test_an_idle_client_is_closed(
    world: Callable[..., Any], said: tuple[str, ...], seconds: int
) -> None:
    made = world()
    client = made.connect()
    client.lines(*said)
    made.clock.advance(seconds - 1)
    made.listener.sweep()
    assert not client.transport.closing
    made.clock.advance(1)
    made.listener.sweep()
    assert client.take().endswith(b"421 4.4.2 Idle too long, closing\r\n")
    assert client.transport.closing
    await asyncio.sleep(0)
    assert made.listener.sessions == 0


async def test_dripping_octets_buys_no_time(world: Callable[..., Any]) -> None:
    made = world()
    client = made.connect()
    for _ in range(29):
        client.send(b"x")
        made.clock.advance(10)
        made.listener.sweep()
    assert not client.transport.closing
    client.send(b"x")
    made.clock.advance(10)
    made.listener.sweep()
    assert client.transport.closing


async def test_each_answered_command_buys_time(world: Callable[..., Any]) -> None:
    made = world()
    client = made.connect()
    client.lines("HELO c")
    for _ in range(3):
        made.clock.advance(299)
        client.lines("NOOP")
        made.listener.sweep()
    assert not client.transport.closing


async def test_who_has_gone_already_is_no_local_client(world: Callable[..., Any]) -> None:
    made = world(trusted_networks=("127.0.0.0/8",))
    session = made.listener.protocol()
    transport = MemoryTransport(session, None)  # it was reset before it was accepted
    session.connection_made(transport)
    assert transport.aborted
    assert not transport.sent
    await asyncio.sleep(0)
    assert made.listener.sessions == 0
    assert made.intake.refusals == []


async def test_a_late_answer_buys_time_for_the_next_command(world: Callable[..., Any]) -> None:
    made = world()
    made.intake.hold = True
    client = made.connect()
    client.lines(*ENVELOPE, "DATA", "x", ".")
    made.clock.advance(299)
    made.intake.waiting[0](made.intake.reply)
    made.clock.advance(299)
    made.listener.sweep()
    assert not client.transport.closing
    made.clock.advance(1)
    made.listener.sweep()
    assert client.transport.closing


async def test_a_dripping_message_ends(world: Callable[..., Any]) -> None:
    made = world(deadlines={"message_seconds": 1000})
    client = made.connect()
    client.lines(*ENVELOPE, "DATA")
    for _ in range(9):
        made.clock.advance(100)
        client.send(b"x\r\n")
        made.listener.sweep()
    assert not client.transport.closing
    made.clock.advance(101)
    client.send(b"x\r\n")
    made.listener.sweep()
    assert client.transport.closing


async def test_a_message_that_drips_in_chunks_ends(world: Callable[..., Any]) -> None:
    made = world(deadlines={"message_seconds": 1000})
    client = made.connect()
    client.lines(*ENVELOPE)
    for _ in range(9):
        made.clock.advance(100)
        assert client.send(b"BDAT 3\r\nx\r\n") == b"250 2.0.0 Chunk received\r\n"
        made.listener.sweep()
    made.clock.advance(199)
    made.listener.sweep()
    assert not client.transport.closing
    made.clock.advance(1)
    made.listener.sweep()
    assert client.take() == b"421 4.4.2 Idle too long, closing\r\n"
    assert client.transport.closing


async def test_each_message_in_chunks_has_its_own_time(world: Callable[..., Any]) -> None:
    made = world(deadlines={"message_seconds": 1000})
    client = made.connect()
    client.lines("EHLO c.example")
    for _ in range(3):
        client.lines(*ENVELOPE[1:])
        for _ in range(4):
            made.clock.advance(200)
            client.send(b"BDAT 3\r\nx\r\n")
            made.listener.sweep()
        client.send(b"BDAT 0 LAST\r\n")
        made.clock.advance(200)
        made.listener.sweep()
    assert len(made.intake.submissions) == 3
    assert not client.transport.closing


async def test_a_client_that_does_not_take_the_last_reply_is_dropped(world: Callable[..., Any]) -> None:
    made = world()
    client = made.connect()
    client.transport.close = lambda: None  # as a transport that waits for its buffer to empty
    client.lines("QUIT")
    made.clock.advance(11)
    client.transport.closing = True
    client.transport.abort = lambda: setattr(client.transport, "aborted", True)
    made.listener.sweep()
    assert client.transport.aborted


# Back-pressure


async def test_reading_stops_while_too_much_waits(world: Callable[..., Any]) -> None:
    made = world()
    made.intake.hold = True
    client = made.connect()
    client.lines(*ENVELOPE, "DATA", MESSAGE)
    client.send(b"NOOP\r\n" * 20)
    assert not client.transport.paused
    client.send(b"RCPT TO:<x@y.example>\r\n" * 4000)
    assert client.transport.paused
    made.intake.waiting[0](replies.queued("id1"))
    assert not client.transport.paused or client.transport.closing


async def test_nothing_is_done_for_a_client_that_does_not_read(world: Callable[..., Any]) -> None:
    client = world().connect()
    client.take()
    client.session.pause_writing()
    assert client.transport.paused
    assert client.send(b"NOOP\r\n") == b""
    client.session.resume_writing()
    assert client.take() == b"250 2.0.0 Ok\r\n"
    assert not client.transport.paused


# Connections


async def test_a_half_closed_client_is_answered_and_closed(world: Callable[..., Any]) -> None:
    made = world()
    made.intake.hold = True
    client = made.connect()
    client.lines(*ENVELOPE, "DATA", MESSAGE)
    assert client.session.eof_received() is True
    assert not client.transport.closing
    made.intake.waiting[0](replies.queued("id1"))
    assert client.take().startswith(b"250 2.0.0 Ok: queued")
    assert client.transport.closing
    assert made.connect().session.eof_received() is False


async def test_a_relay_listener_completes_nothing(world: Callable[..., Any]) -> None:
    made = world(role="relay")
    made.connect().lines(*ENVELOPE, "DATA", MESSAGE)
    header = made.intake.submissions[0].content.wire.split(b"\r\n\r\n")[0]
    assert b"Message-ID" not in header
    assert b"Date" not in header


async def test_nothing_is_said_during_a_handshake(running_world: Any, authority: trustme.CA) -> None:
    options = {"certificate": "c.pem", "private_key": "k.pem", "tls_mode": "starttls"}
    async with running_world(tls=server_tls(authority), **options) as made:
        client = made.connect()
        said = client.send(b"EHLO c\r\nSTARTTLS\r\n")
        assert said.endswith(b"220 2.0.0 Ready to start TLS\r\n")
        made.listener._context.draining = True
        client.session.drain()
        assert client.take() == b""
        made.clock.advance(301)
        made.listener.sweep()
        assert client.transport.aborted
        assert client.take() == b""


async def test_a_failed_task_ends_one_session(running_world: Any) -> None:
    async def fail() -> None:
        raise RuntimeError("secret@canary.example")

    async with running_world() as made:
        assert made.listener._spawn(fail())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert made.log.lines[-1][:2] == ("error", "receive.task_failed")
        assert made.connect().lines("NOOP")[-1] == "250 2.0.0 Ok"
    assert "canary" not in str(made.log.lines)


def large(depth: int) -> bytes:
    """A message over 1 MiB with so many levels of `message/rfc822`, the type written across a slice's end."""
    filler = b"x" * 76 + b"\r\n"
    head = b"Subject: x\r\n" + b"Content-Type: message/rfc822\r\n\r\n" * depth + b"Subject: y\r\n\r\n"
    return head + filler * ((1 << 20) // len(filler) + 1) + b".\r\n"


@pytest.mark.parametrize(("depth", "said"), [(3, "250"), (4, "554")])
async def test_a_large_message_is_looked_at_in_a_thread(running_world: Any, depth: int, said: str) -> None:
    async with running_world(limits={"mime_depth": 3}) as made:
        client = made.connect()
        client.lines("EHLO x.example", "MAIL FROM:<a@x.example>", "RCPT TO:<b@y.example>", "DATA")
        assert client.send(large(depth)) == b"", "the loop goes on meanwhile"
        await asyncio.wait(made.listener._group._tasks.copy())
        heard = client.take()
        assert heard[:3].decode() == said
        assert len(made.intake.submissions) == (said == "250")
        assert client.lines("NOOP") == ["250 2.0.0 Ok"]


async def test_a_large_message_whose_client_has_gone_is_not_taken(running_world: Any) -> None:
    async with running_world() as made:
        client = made.connect()
        client.lines("EHLO x.example", "MAIL FROM:<a@x.example>", "RCPT TO:<b@y.example>", "DATA")
        client.send(large(1))
        client.session.connection_lost(None)
        await asyncio.wait(made.listener._group._tasks.copy())
        assert made.intake.submissions == []


async def test_connections_per_client_are_limited(world: Callable[..., Any]) -> None:
    made = world(trusted_networks=("192.0.2.0/24",), limits={"connections_per_client": 2})
    first = [made.connect("198.51.100.1").take()[:3] for _ in range(3)]
    assert first == [b"220", b"220", b"421"]
    assert made.connect("198.51.100.2").take()[:3] == b"220"
    assert [made.connect("192.0.2.1").take()[:3] for _ in range(4)] == [b"220"] * 4


async def test_a_closed_connection_is_not_counted(world: Callable[..., Any]) -> None:
    made = world(trusted_networks=(), limits={"connections_per_client": 1})
    for _ in range(3):
        client = made.connect("198.51.100.1")
        assert client.take()[:3] == b"220"
        client.lines("QUIT")
        await asyncio.sleep(0)
        client.session.connection_lost(None)  # some failures are told twice
    assert made.listener.sessions == 0
    assert not made.listener._context.clients


async def test_connections_are_limited(world: Callable[..., Any]) -> None:
    made = world(limits={"connections": 2})
    assert [made.connect().take()[:3] for _ in range(3)] == [b"220", b"220", b"421"]


@pytest.mark.parametrize(
    ("client", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::2", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
    ],
)
def test_client_key(client: str, key: str) -> None:
    assert client_key(client) == key


async def test_an_early_talker_is_refused(world: Callable[..., Any]) -> None:
    client = world(greeting_delay_seconds=60).connect()
    assert client.take() == b""
    assert client.send(b"EHLO spam.example\r\n").startswith(b"554 5.5.1")
    assert client.transport.closing


# Draining


async def test_draining_lets_transactions_end(running_world: Any) -> None:
    async with running_world() as made:
        idle, busy = made.connect(), made.connect()
        idle.take()
        busy.lines(*ENVELOPE)
        draining = asyncio.ensure_future(made.listener.drain(made.clock.now() + 60))
        await asyncio.sleep(0)
        assert idle.take().startswith(b"421 4.3.2")
        assert made.connect().take().startswith(b"421 4.3.2")
        said = busy.lines("DATA", MESSAGE)
        assert [line[:3] for line in said] == ["354", "250", "421"]
        await asyncio.wait_for(draining, PATIENCE_SECONDS)
        assert made.listener.sessions == 0
        assert len(made.intake.submissions) == 1


async def test_draining_ends_at_its_deadline(running_world: Any) -> None:
    async with running_world() as made:
        busy = made.connect()
        busy.lines(*ENVELOPE)
        await made.listener.drain(made.clock.now())
        assert busy.transport.aborted


# AUTH


async def test_auth_gives_the_principals_tenant(running_world: Any) -> None:
    async with running_world(trusted_networks=(), auth_without_tls=True) as made:
        client = made.connect()
        client.lines("EHLO c.example", "AUTH PLAIN AGpvZQBzZWNyZXQ=")
        for _ in range(4):
            await asyncio.sleep(0)
        assert client.take().endswith(b"235 2.7.0 Authentication succeeded\r\n")
        client.lines("MAIL FROM:<a@acme.example>", "RCPT TO:<b@y.example>", "DATA", MESSAGE)
        (submission,) = made.intake.submissions
        origin = submission.origin
        assert (origin.protocol, origin.principal, origin.tenant) == ("ESMTPA", "joe", "acme")


@pytest.mark.parametrize("tenant", ["acme", "other"])
async def test_a_listener_of_one_tenant_takes_its_logins_alone(running_world: Any, tenant: str) -> None:
    async with running_world(auth_without_tls=True, tenant=tenant) as made:
        client = made.connect()
        client.lines("EHLO c.example", "AUTH PLAIN AGpvZQBzZWNyZXQ=")
        for _ in range(4):
            await asyncio.sleep(0)
        is_own = tenant == "acme"
        said = "235 2.7.0 Authentication succeeded" if is_own else str(replies.OTHER_TENANT)
        assert client.take().decode() == f"{said}\r\n"
        assert [reply for _, _, reply in made.intake.refusals] == ([] if is_own else [replies.OTHER_TENANT])
        # what the trusted network sends is the listener's, whoever tried to log in
        client.lines("MAIL FROM:<a@acme.example>", "RCPT TO:<b@y.example>", "DATA", MESSAGE)
        (submission,) = made.intake.submissions
        assert (submission.origin.tenant, submission.origin.principal) == (tenant, "joe" if is_own else None)


async def test_failed_auth_ends_the_session(running_world: Any) -> None:
    async with running_world(auth_without_tls=True) as made:
        client = made.connect()
        client.lines("EHLO c.example")
        for _ in range(3):
            client.send(b"AUTH PLAIN AGpvZQB3cm9uZw==\r\n")
            for _ in range(4):
                await asyncio.sleep(0)
        said = client.take()
        assert client.transport.closing
        assert said.endswith(b"421 4.7.0 Too many errors, closing\r\n")


async def test_a_broken_authenticator_is_a_transient_failure(running_world: Any) -> None:
    async with running_world(auth_without_tls=True) as made:
        made.authenticator.broken = True
        client = made.connect()
        client.lines("EHLO c.example", "AUTH PLAIN AGpvZQBzZWNyZXQ=")
        for _ in range(4):
            await asyncio.sleep(0)
        assert client.take().startswith(b"454 4.7.0")


async def test_auth_is_not_offered_without_tls(world: Callable[..., Any]) -> None:
    said = world().connect().send(b"EHLO c.example\r\n")
    assert b"AUTH" not in said


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("mx.outrider.test").configure_cert(context)
    return context


def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.check_hostname = False
    return context


async def starttls_dialogue(running_world: Any, authority: trustme.CA, *, implicit: bool) -> None:
    options = {"certificate": "c.pem", "private_key": "k.pem", "trusted_networks": ()}
    mode = "implicit" if implicit else "starttls"
    async with running_world(tls=server_tls(authority), tls_mode=mode, **options) as made:
        loop = asyncio.get_running_loop()
        listening = socket.create_server(("127.0.0.1", 0))
        server = await made.listener.serve(listening, backlog=5)
        port = listening.getsockname()[1]

        def talk() -> tuple[list[int], dict[str, Any]]:
            codes = []
            context = client_tls(authority)
            client = (
                smtplib.SMTP_SSL("127.0.0.1", port, context=context, timeout=PATIENCE_SECONDS)
                if implicit
                else smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE_SECONDS)
            )
            with client:
                client.ehlo("c.example")
                if not implicit:
                    codes.append(client.mail("a@acme.example")[0])
                    codes.append(client.docmd("AUTH", "PLAIN AGpvZQBzZWNyZXQ=")[0])
                    codes.append(client.starttls(context=context)[0])
                    codes.append(client.docmd("MAIL", "FROM:<a@acme.example>")[0])  # EHLO is forgotten
                    client.ehlo("c.example")
                    assert not client.has_extn("starttls")
                codes.append(client.login("joe", "secret")[0])
                return codes, client.sendmail("a@acme.example", ["b@y.example"], "Subject: x\r\n\r\nhi\r\n")

        codes, refused = await loop.run_in_executor(None, talk)
        server.close()
        assert refused == {}
        assert codes == ([235] if implicit else [530, 538, 220, 503, 235])
        (submission,) = made.intake.submissions
        assert submission.origin.protocol == "ESMTPSA"
        assert submission.origin.tls is not None
        assert submission.origin.tls.startswith("TLSv1.")
        assert submission.content.wire.startswith(
            b"Received: from c.example ([127.0.0.1])\r\n\t(using TLSv1."
        )


@pytest.mark.parametrize("implicit", [False, True])
async def test_tls(running_world: Any, authority: trustme.CA, implicit: bool) -> None:
    await starttls_dialogue(running_world, authority, implicit=implicit)


@pytest.mark.parametrize("implicit", [False, True])
def test_tls_on_uvloop(running_world: Any, authority: trustme.CA, implicit: bool) -> None:
    uvloop.run(starttls_dialogue(running_world, authority, implicit=implicit))


async def injected_starttls(running_world: Any, authority: trustme.CA) -> None:
    """CVE-2011-0411: commands in the segment of STARTTLS are not executed after the handshake."""
    options: dict[str, Any] = {"certificate": "c.pem", "private_key": "k.pem", "tls_mode": "starttls"}
    options |= {"auth_without_tls": True, "trusted_networks": ()}
    async with running_world(tls=server_tls(authority), **options) as made:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(made.listener.protocol, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]

        def talk() -> tuple[bytes, bytes]:
            with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as plain:
                plain.sendall(
                    b"EHLO evil.example\r\nAUTH PLAIN AGpvZQBzZWNyZXQ=\r\nSTARTTLS\r\n"
                    b"EHLO evil.example\r\nMAIL FROM:<evil@x.example>\r\n"
                )
                before = b""
                while b"\r\n220 2.0.0" not in before or not before.endswith(b"\r\n"):
                    before += plain.recv(4096)
                with client_tls(authority).wrap_socket(plain, server_hostname="mx.outrider.test") as secured:
                    secured.sendall(
                        b"RCPT TO:<b@y.example>\r\nEHLO c.example\r\nMAIL FROM:<a@acme.example>\r\nQUIT\r\n"
                    )
                    after = b""
                    while chunk := secured.recv(4096):
                        after += chunk
                return before, after

        before, after = await loop.run_in_executor(None, talk)
        server.close()
        assert before.count(b"\r\n250 ") == 1
        assert after.startswith(b"503 5.5.1 MAIL is needed first\r\n250-mx.outrider.test\r\n")
        assert b"\r\n530 5.7.0 Authentication required\r\n" in after
        assert after.endswith(b"221 2.0.0 Bye\r\n")
        assert after.count(b"\r\n250 ") == 1


async def test_starttls_injection(running_world: Any, authority: trustme.CA) -> None:
    await injected_starttls(running_world, authority)


def test_starttls_injection_on_uvloop(running_world: Any, authority: trustme.CA) -> None:
    uvloop.run(injected_starttls(running_world, authority))


class Counted:
    """Scripts that say nothing, and count how often their session is closed."""

    def __init__(self) -> None:
        self.closings = 0

    def open(self, _origin: Any, _ends: Any = None) -> "Counted":
        return self

    def connect(self, _origin: Any) -> None:
        return None

    def ehlo(self, _origin: Any, _name: str) -> None:
        return None

    def close(self) -> None:
        self.closings += 1


async def failed_handshake(running_world: Any, authority: trustme.CA) -> None:
    options = {"certificate": "c.pem", "private_key": "k.pem", "tls_mode": "starttls"}
    scripts = Counted()
    async with running_world(tls=server_tls(authority), scripts=scripts, **options) as made:
        server = await asyncio.get_running_loop().create_server(made.listener.protocol, "127.0.0.1", 0)
        for octets in (b"this is no handshake\r\n" * 10, b""):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
            writer.write(b"EHLO c\r\nSTARTTLS\r\n")
            while not (await asyncio.wait_for(reader.readline(), PATIENCE_SECONDS)).startswith(b"220 2.0.0"):
                pass
            writer.write(octets)
            writer.write_eof()
            await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)
            writer.close()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while [line[1] for line in made.log.lines].count("receive.tls_failed") < 2:  # noqa: ASYNC110 - a turn
                await asyncio.sleep(0)
        for _ in range(10):  # what the transports have still to tell
            await asyncio.sleep(0)
        server.close()
        assert made.listener.sessions == 0
    assert scripts.closings == 2


async def test_a_failed_handshake_closes_a_session_once(running_world: Any, authority: trustme.CA) -> None:
    """Scripts in Lua count their sessions: one that is closed twice would end them for all others."""
    await failed_handshake(running_world, authority)


def test_a_failed_handshake_closes_a_session_once_on_uvloop(
    running_world: Any, authority: trustme.CA
) -> None:
    uvloop.run(failed_handshake(running_world, authority))


async def silent_handshake(running_world: Any, authority: trustme.CA) -> None:
    options = {"certificate": "c.pem", "private_key": "k.pem", "deadlines": {"handshake_seconds": 0.05}}
    async with running_world(tls=server_tls(authority), tls_mode="implicit", **options) as made:
        listening = socket.create_server(("127.0.0.1", 0))
        server = await made.listener.serve(listening, backlog=5)
        reader, writer = await asyncio.open_connection(*listening.getsockname()[:2])
        assert await asyncio.wait_for(reader.read(), PATIENCE_SECONDS) == b""
        writer.close()
        server.close()


@pytest.mark.parametrize(("trusted", "held"), [((), 3), (("127.0.0.0/8",), 5)])
async def test_handshakes_are_bounded_as_sessions_are(
    running_world: Any, authority: trustme.CA, trusted: tuple[str, ...], held: int
) -> None:
    options: dict[str, Any] = {"certificate": "c.pem", "private_key": "k.pem", "trusted_networks": trusted}
    options["limits"] = {"connections": 5, "connections_per_client": 3}
    async with running_world(tls=server_tls(authority), tls_mode="implicit", **options) as made:
        listening = socket.create_server(("127.0.0.1", 0))
        server = await made.listener.serve(listening, backlog=20)
        address = listening.getsockname()[:2]

        def told(name: str) -> int:
            return [line[1] for line in made.log.lines].count(name)

        silent = [await asyncio.open_connection(*address) for _ in range(held)]
        reader, refused = await asyncio.open_connection(*address)
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await reader.read() == b""
            assert told("receive.handshake_refused") == 1
            silent.pop()[1].close()
            while not told("receive.tls_failed"):  # noqa: ASYNC110 - it takes a turn or two
                await asyncio.sleep(0)
            silent.append(await asyncio.open_connection(*address))  # there is room again
            for _, writer in silent:
                writer.close()
            while told("receive.tls_failed") <= held:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0)
        assert told("receive.handshake_refused") == 1
        refused.close()
        server.close()


async def test_who_says_nothing_where_tls_is_implicit_has_the_time_of_a_handshake(
    running_world: Any, authority: trustme.CA
) -> None:
    await silent_handshake(running_world, authority)


def test_the_same_on_uvloop(running_world: Any, authority: trustme.CA) -> None:
    uvloop.run(silent_handshake(running_world, authority))


def test_tls_needs_a_context(world: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match="certificate"):
        world(tls_mode="starttls", certificate="c.pem", private_key="k.pem")


def test_options_are_safe_by_default() -> None:
    options = ListenerOptions()
    assert (options.address, options.trusted_networks, options.auth_without_tls) == ("127.0.0.1", (), False)


@pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0", "192.0.2.1/24", "nonsense"])
def test_a_network_of_everybody_is_refused(network: str) -> None:
    with pytest.raises(ValueError, match="trusted_networks"):
        ListenerOptions(trusted_networks=(network,))
