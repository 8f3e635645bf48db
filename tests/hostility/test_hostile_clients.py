"""Clients that idle, dribble, flood or never finish TLS: a good client is served while all of them are there.

That it is served before any of their deadlines is seen without a clock: it has finished, and they are still
connected.
"""

import contextlib
import ssl
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from tests.e2e.outrider_process import OutriderProcess, configuration_for, serving
from tests.hostility.attack import (
    Attacker,
    certificate,
    good_client_is_served,
    many,
    resident,
    still_open,
    unharmed,
)
from tests.hostility.raw_receiver import RawReceiver, raw_receiver
from tests.patience import PATIENCE_SECONDS

IDLE, DRIBBLING = 2000, 200
CONNECTION_OCTETS = 65_536
"""Chosen: a connection costs some 20 KiB (measured); three times that is a leak."""


class Door(NamedTuple):
    server: OutriderProcess
    receiver: RawReceiver

    @property
    def port(self) -> int:
        return self.server.ports["smtp"]

    @property
    def tls(self) -> int:
        return self.server.ports["tls"]

    def good_client_is_served(self, marker: str) -> None:
        good_client_is_served(self.server, self.receiver, marker)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    folder = tmp_path_factory.mktemp("clients")
    files = certificate(folder)
    trusted = 'trusted_networks = ["127.0.0.0/8"]\n'
    more = (
        f'[[listener]]\nname = "tls"\nport = 0\ntls = "starttls"\n{trusted}{files}'
        f'[[listener]]\nname = "implicit"\nport = 0\ntls = "implicit"\n{trusted}{files}'
    )
    with raw_receiver("PIPELINING") as receiver:
        text = configuration_for({"receiver.test": receiver.port}, more=more)
        with serving(folder / "server", text) as server:
            yield Door(server, receiver)
            unharmed(server)


def test_idle_and_dribbling_clients_hold_nobody_up(door: Door) -> None:
    before = sum(resident(door.server).values())
    with many(IDLE + DRIBBLING, door.port) as attackers:
        dribbling = attackers[:DRIBBLING]
        for attacker in dribbling[: DRIBBLING // 2]:
            attacker.until_data()
        for attacker in attackers[DRIBBLING // 2 :]:
            attacker.reply()  # the greeting: the server has each of them
        for octet in b"Subject: x"[:4]:
            for attacker in dribbling:
                attacker.say(bytes([octet]))
            door.good_client_is_served(f"beside-{octet}.")
        assert still_open(attackers) == IDLE + DRIBBLING
        grown = sum(resident(door.server).values()) - before
        assert grown < (IDLE + DRIBBLING) * CONNECTION_OCTETS
    door.good_client_is_served("after-idle.")


def flood_of_headers(attacker: Attacker) -> bytes:
    attacker.until_data()
    return b"".join(b"X-%d: y\r\n" % number for number in range(20_000))


def one_endless_header(attacker: Attacker) -> bytes:
    attacker.until_data()
    return b"X-Long: y\r\n" + b" z" * 60 + b"\r\n z" * 200_000


def recipients(attacker: Attacker) -> bytes:
    attacker.reply()
    attacker.ask(b"EHLO client.test")
    attacker.ask(b"MAIL FROM:<shop@sender.test>")
    return b"".join(b"RCPT TO:<u%d@receiver.test>\r\n" % number for number in range(20_000))


def noops(attacker: Attacker) -> bytes:
    attacker.reply()
    attacker.ask(b"EHLO client.test")
    return b"NOOP\r\n" * 200_000


def resets(attacker: Attacker) -> bytes:
    attacker.reply()
    attacker.ask(b"EHLO client.test")
    return b"MAIL FROM:<shop@sender.test>\r\nRSET\r\n" * 50_000


def nonsense(attacker: Attacker) -> bytes:
    attacker.reply()
    return b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 50_000


def line_without_end(attacker: Attacker) -> bytes:
    attacker.reply()
    return b"EHLO " + b"x" * 2_000_000


def chunks_of_nothing(attacker: Attacker) -> bytes:
    attacker.reply()
    attacker.say(b"EHLO client.test\r\nMAIL FROM:<shop@sender.test>\r\nRCPT TO:<joe@receiver.test>\r\n")
    return b"BDAT 0\r\n" * 200_000


FLOODS = [
    flood_of_headers,
    one_endless_header,
    recipients,
    noops,
    resets,
    nonsense,
    line_without_end,
    chunks_of_nothing,
]
ENDED = {recipients, noops, resets, chunks_of_nothing}
"""Floods of whole commands; what never becomes one is thrown away until its deadline."""

FLOODERS = 5


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_is_bounded_while_a_good_client_is_served(
    door: Door, flood: Callable[[Attacker], bytes]
) -> None:
    """The flooders read nothing, so what is answered piles up on their side or not at all."""
    before = sum(resident(door.server).values())
    with many(FLOODERS, door.port) as attackers:
        for attacker in attackers:
            octets = memoryview(flood(attacker))
            attacker.socket.settimeout(0)
            with contextlib.suppress(BlockingIOError, ConnectionError):
                while octets:
                    octets = octets[attacker.socket.send(octets) :]
        door.good_client_is_served(f"beside-{flood.__name__}.")
        grown = sum(resident(door.server).values()) - before
        assert grown < FLOODERS * 8 * 1024 * 1024, grown
        for attacker in attackers:
            attacker.socket.settimeout(PATIENCE_SECONDS)
        if flood in ENDED:
            said = [attacker.replies()[-1:] for attacker in attackers]
            assert all(last and last[0][:3] == "421" for last in said), said


def test_recipients_beyond_the_limit_are_for_another_transaction(door: Door) -> None:
    with Attacker(door.port) as attacker:
        attacker.reply()
        attacker.ask(b"EHLO client.test")
        attacker.ask(b"MAIL FROM:<shop@sender.test>")
        codes = []
        for _ in range(4):
            for number in range(300):
                attacker.say(b"RCPT TO:<u%d@receiver.test>\r\n" % number)
            codes += [attacker.reply()[:3] for _ in range(300)]
    assert codes.count("250") == 1000
    assert set(codes[1000:]) == {"452"}


def test_early_talkers_are_refused(door: Door) -> None:
    """Content in the packet of DATA, before the 354, is how smuggling begins."""
    with Attacker(door.port) as attacker:
        attacker.reply()
        attacker.say(
            b"EHLO client.test\r\nMAIL FROM:<shop@sender.test>\r\nRCPT TO:<joe@receiver.test>\r\n"
            b"DATA\r\nSubject: too early\r\n\r\nx\r\n.\r\n"
        )
        said = attacker.replies()
    assert said[-1].startswith("554 5.5.1"), said
    assert not any(b"too early" in taken.wire for taken in door.receiver.taken)


def test_floods_of_auth_end_the_session(door: Door) -> None:
    with many(10, door.tls) as attackers:
        for attacker in attackers:
            attacker.starttls()
            attacker.say(b"EHLO client.test\r\n" + b"AUTH PLAIN AGpvZQB3cm9uZw==\r\n" * 200)
        door.good_client_is_served("beside-auth.")
        for attacker in attackers:
            said = attacker.replies()
            assert [reply[:3] for reply in said[1:]] == ["535", "535", "535", "421"], said


def client_hello() -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing).do_handshake()
    return outgoing.read()


def test_a_handshake_that_stops_anywhere_holds_nobody_up(door: Door) -> None:
    """Connections that stop after each part of a ClientHello, or after it, with STARTTLS and without."""
    hello = client_hello()
    stops = [0, 1, 5, 6, 40, len(hello) - 1, len(hello)]
    with contextlib.ExitStack() as stack:
        attackers = []
        for stop in stops * 5:
            implicit = stack.enter_context(Attacker(door.server.ports["implicit"]))
            implicit.say(hello[:stop])
            starting = stack.enter_context(Attacker(door.tls))
            starting.reply()
            starting.ask(b"EHLO client.test")
            assert starting.ask(b"STARTTLS").startswith("220")
            starting.say(hello[:stop])
            attackers += [implicit, starting]
        door.good_client_is_served("beside-handshakes.")
        with Attacker(door.tls) as good:
            good.starttls()
            assert good.ask(b"EHLO client.test").startswith("250")
        assert still_open(attackers) == len(attackers)


GARBAGE = [
    b"\0" * 5000,
    b"GET / HTTP/1.1\r\n\r\n" * 300,
    b"\x16\x03\x01\xff\xff" + b"x" * 70_000,
    b"\x80\x2e\x01\x03\x01",
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=["zeros", "http", "long-record", "ssl2"])
def test_garbage_for_a_handshake_ends_the_connection_only(door: Door, garbage: bytes) -> None:
    with Attacker(door.tls) as attacker:
        attacker.reply()
        attacker.ask(b"EHLO client.test")
        attacker.ask(b"STARTTLS")
        attacker.say(garbage)
        with contextlib.suppress(OSError):
            attacker.socket.shutdown(1)
        with contextlib.suppress(UnicodeDecodeError):
            attacker.replies()
    door.good_client_is_served("after-garbage.")


def test_tls_cannot_be_renegotiated(door: Door) -> None:
    """TLS 1.3 has none; in TLS 1.2 a second STARTTLS is refused, so a handshake cannot be asked for again."""
    with Attacker(door.tls) as attacker:
        attacker.starttls()
        attacker.ask(b"EHLO client.test")
        assert attacker.ask(b"STARTTLS").startswith("503")
        assert isinstance(attacker.socket, ssl.SSLSocket)
        assert attacker.socket.version() in {"TLSv1.2", "TLSv1.3"}
        attacker.say(client_hello())  # inside TLS it is not a handshake but a bad command
        assert attacker.reply().startswith("500")
