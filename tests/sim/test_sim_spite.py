"""Hostile providers: what they send instead of replies, silence inside TLS, and lies of the DNS."""

import contextlib
import socket
import ssl
import struct

import dns.exception
import dns.message
import dns.query
import pytest

from outrider.sim.options import Zone
from outrider.sim.spite import octets_of
from outrider.sim.world import parse_world
from tests.patience import PATIENCE_SECONDS
from tests.sim.conftest import WorldMaker

WORLD = """
[[provider]]
name = "mean"
domains = ["mean.test"]
mx = [{ name = "mx.mean.test", address = "127.0.0.1" }]
"""


def all_heard(client: socket.socket) -> bytes:
    """What comes until nothing comes any more."""
    heard = b""
    with contextlib.suppress(TimeoutError):
        while octets := client.recv(65_536):
            heard += octets
    return heard


def rule(kind: str, on: str = "connect") -> str:
    return WORLD + f'[[provider.rule]]\non = "{on}"\naction = "spite"\nspite = "{kind}"\n'


@pytest.mark.parametrize(
    "kind", ["controls", "bare-line-ends", "two-codes", "no-code", "binary", "extra-replies"]
)
def test_spite_is_sent_as_it_is(start_world: WorldMaker, kind: str) -> None:
    running = start_world(rule(kind))
    expected = b"".join(octets_of(kind))  # type: ignore[arg-type]
    with socket.create_connection(running.place("mean"), timeout=PATIENCE_SECONDS) as client:
        heard = b""
        while len(heard) < len(expected):
            heard += client.recv(65_536)
    assert heard == expected


def test_a_reply_without_end_waits_for_its_reader(start_world: WorldMaker) -> None:
    running = start_world(rule("endless-reply"))
    with socket.create_connection(running.place("mean"), timeout=PATIENCE_SECONDS) as client:
        heard = 0
        while heard < 4_000_000:
            heard += len(client.recv(1 << 20))
    running.settle(lambda: running.provider("mean").counts.connections == 0)


def test_the_deaf_never_read_again(start_world: WorldMaker) -> None:
    running = start_world(WORLD + '[[provider.rule]]\non = "mail"\nreply = "250 Ok"\naction = "deaf"\n')
    with socket.create_connection(running.place("mean"), timeout=PATIENCE_SECONDS) as client:
        client.recv(1000)
        client.sendall(b"EHLO c\r\n")
        client.recv(1000)
        client.sendall(b"MAIL FROM:<>\r\n")
        assert client.recv(1000).startswith(b"250 Ok")
        client.settimeout(0.5)
        with pytest.raises(TimeoutError):
            client.sendall(b"x" * 64_000_000)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    running.settle(lambda: running.provider("mean").counts.connections == 0)


@pytest.mark.parametrize(("fault", "some"), [("stall", False), ("stall-early", True), ("stall-late", True)])
def test_tls_stalls_at_each_step(start_world: WorldMaker, fault: str, some: bool) -> None:
    running = start_world(WORLD + f'[provider.behaviour]\ntls = {{ mode = "offer", fault = "{fault}" }}\n')
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    pipe = context.wrap_bio(incoming, outgoing)
    with socket.create_connection(running.place("mean"), timeout=PATIENCE_SECONDS) as client:
        client.recv(1000)
        client.sendall(b"EHLO c\r\n")
        client.recv(1000)
        client.sendall(b"STARTTLS\r\n")
        assert client.recv(1000).startswith(b"220")
        with pytest.raises(ssl.SSLWantReadError):
            pipe.do_handshake()
        client.sendall(outgoing.read())
        heard = client.recv(65_536) if some else b""  # its own is there once it has taken ours
        client.settimeout(0.5)
        heard += all_heard(client)
        incoming.write(heard)
        with pytest.raises(ssl.SSLWantReadError):
            pipe.do_handshake()
    assert bool(heard) is some


@pytest.mark.parametrize("lie", ["wrong-id", "wrong-question", "garbage", "cut"])
def test_dns_lies(start_world: WorldMaker, lie: str) -> None:
    running = start_world(WORLD + f'[[zone]]\nname = "mean.test"\nlie = "{lie}"\n')
    query = dns.message.make_query("mean.test", "MX")
    with pytest.raises((dns.exception.DNSException, dns.query.BadResponse)):
        dns.query.udp(
            query, "127.0.0.1", port=running.world.dns_port, timeout=PATIENCE_SECONDS, ignore_unexpected=False
        )


def test_the_true_answer_is_behind_the_flood(start_world: WorldMaker) -> None:
    running = start_world(WORLD + '[[zone]]\nname = "mean.test"\nlie = "flood"\n')
    query = dns.message.make_query("mean.test", "MX")
    answer = dns.query.udp(
        query, "127.0.0.1", port=running.world.dns_port, timeout=PATIENCE_SECONDS, ignore_errors=True
    )
    assert answer.id == query.id
    assert running.world.dns.queries == 1


def test_spite_and_its_kind_go_together() -> None:
    for wrong in ('action = "spite"', 'spite = "binary"'):
        with pytest.raises(Exception, match="go together"):
            parse_world(WORLD + f'[[provider.rule]]\non = "mail"\n{wrong}\n', "w.toml")
    assert Zone(name="x.test").lie == "none"
