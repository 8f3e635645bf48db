"""Content that is far too large or far too nested costs bounded memory, and holds nobody up."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from outrider.privacy.credentials import make_key
from tests.e2e.outrider_process import OutriderProcess, configuration_for, serving
from tests.hostility.attack import Attacker, good_client_is_served, largest_resident, still_open, unharmed
from tests.hostility.raw_receiver import RawReceiver, raw_receiver
from tests.hostility.streaming import MIB, by_chunks, by_data, by_http, grown, limited

SLACK_OCTETS = 16 * MIB
"""Chosen: a few times the limit of 1 MiB and the buffers of a connection; a quarter of what is streamed."""


class Door(NamedTuple):
    server: OutriderProcess
    receiver: RawReceiver
    key: str

    @property
    def port(self) -> int:
        return self.server.ports["smtp"]

    def good_client_is_served(self, marker: str) -> None:
        good_client_is_served(self.server, self.receiver, marker)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    folder = tmp_path_factory.mktemp("large")
    users = folder / "users.toml"
    key = make_key(users, "app", "default", frozenset({"sender.test"}))
    with raw_receiver("PIPELINING", "SIZE") as receiver:
        text = limited(configuration_for({"receiver.test": receiver.port}, workers=1, users_file=users))
        with serving(folder / "server", text) as server:
            yield Door(server, receiver, key)
            unharmed(server)


@pytest.mark.parametrize("mib", [64, pytest.param(1024, marks=pytest.mark.long)])
@pytest.mark.parametrize("way", [by_data, by_chunks])
def test_a_stream_beyond_the_limit_costs_constant_memory(
    door: Door, way: Callable[[int, int], str], mib: int
) -> None:
    way(door.port, 4)  # the buffers of a first connection are no growth
    before = largest_resident(door.server)
    assert way(door.port, mib).startswith(("552", "503", "421"))
    assert grown(door.server, before) < SLACK_OCTETS
    door.good_client_is_served(f"after-{way.__name__}-{mib}.")


@pytest.mark.parametrize("mib", [64, pytest.param(1024, marks=pytest.mark.long)])
def test_a_body_beyond_the_limit_costs_constant_memory(door: Door, mib: int) -> None:
    by_http(door.server.ports["http"], 4, door.key)
    before = largest_resident(door.server)
    said = by_http(door.server.ports["http"], mib, door.key)
    assert said.startswith("HTTP/1.1 413") or said == "reset"
    assert grown(door.server, before) < SLACK_OCTETS


def deep(levels: int) -> bytes:
    return b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (level, level)
        for level in range(levels)
    )


def wide(parts: int) -> bytes:
    part = b"--b\r\nContent-Type: text/plain\r\n\r\nx\r\n"
    return b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + part * parts + b"--b--\r\n"


BOMBS = {
    "deep": deep(15_000),
    "messages": b"Content-Type: message/rfc822\r\n\r\n" * 25_000,
    "ten-thousand-parts": wide(10_000),
    "empty-parts": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n" * 180_000,
    "boundary-lines-of-nobody": deep(99) + b"--x\r\n" * 180_000,
    "prefixes-of-the-boundary": b"Content-Type: multipart/mixed; boundary=bbbb\r\n\r\n"
    + b"--bbb\r\n" * 140_000,
    "endless-boundary": b"Content-Type: multipart/mixed; boundary="
    + b"b" * 60_000
    + b"\r\n\r\n--b\r\n" * 200,
    "one-level-again-and-again": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    + b"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" * 18_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_of_parts_is_answered_and_holds_nobody_up(door: Door, name: str) -> None:
    before = largest_resident(door.server)
    with Attacker(door.port) as one, Attacker(door.port) as other:
        for attacker in (one, other):
            attacker.until_data()
            attacker.say(b"Subject: bomb\r\n" + BOMBS[name] + b"\r\n.\r\n")
        door.good_client_is_served(f"beside-{name}.")
        assert still_open([one, other]) == 2
        replies = {one.reply()[:9], other.reply()[:9]}
    assert replies in ({"554 5.6.0"}, {"250 2.0.0"}), replies
    assert grown(door.server, before) < SLACK_OCTETS
