"""Sockets that a service manager passes: each to the listener of its name, or the start fails."""

import os
import socket
from collections.abc import Iterator

import pytest

from outrider.base.errors import ConfigError
from outrider.server.activation import activated_sockets

FIRST = 700
"""Chosen: far above what pytest has open."""


@pytest.fixture
def descriptors() -> Iterator[list[int]]:
    """Descriptors from `FIRST` on; what is still open is closed at the end."""
    used: list[int] = []
    yield used
    for number in used:
        try:
            os.close(number)
        except OSError:
            continue


def put(used: list[int], opened: socket.socket) -> None:
    """Have `opened` as the next descriptor."""
    number = FIRST + len(used)
    os.dup2(opened.fileno(), number)
    opened.close()
    used.append(number)


def listening(family: socket.AddressFamily = socket.AF_INET) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_STREAM)
    opened.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
    opened.listen()
    return opened


def environment(count: int, names: str, pid: int | None = None) -> dict[str, str]:
    return {
        "LISTEN_PID": str(os.getpid() if pid is None else pid),
        "LISTEN_FDS": str(count),
        "LISTEN_FDNAMES": names,
    }


def test_each_socket_goes_to_the_listener_of_its_name(descriptors: list[int]) -> None:
    first, second = listening(), listening(socket.AF_INET6)
    places = {"smtp": first.getsockname(), "http": second.getsockname()}
    put(descriptors, first)
    put(descriptors, second)
    given = environment(2, "smtp:http")
    found = activated_sockets(given, {"smtp", "http", "other"}, FIRST)
    assert {name: each.getsockname() for name, each in found.items()} == places
    assert not any(each.getblocking() or each.get_inheritable() for each in found.values())
    assert given == {}
    for each in found.values():
        each.close()


def test_what_was_meant_for_another_process_is_left_alone(descriptors: list[int]) -> None:
    put(descriptors, listening())
    assert activated_sockets(environment(1, "smtp", pid=1), {"smtp"}, FIRST) == {}
    assert activated_sockets({}, {"smtp"}, FIRST) == {}


@pytest.mark.parametrize(
    ("names", "match"),
    [
        ("web", r"no listener has this name \(there are: http, smtp\)"),
        ("", "FileDescriptorName="),
        ("smtp:smtp", "two sockets named 'smtp'"),
    ],
)
def test_a_socket_without_a_listener_of_its_own_is_refused(
    descriptors: list[int], names: str, match: str
) -> None:
    count = names.count(":") + 1
    for _ in range(count):
        put(descriptors, listening())
    with pytest.raises(ConfigError, match=match):
        activated_sockets(environment(count, names), {"smtp", "http"}, FIRST)


def test_what_does_not_listen_is_refused(descriptors: list[int]) -> None:
    put(descriptors, socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    with pytest.raises(ConfigError, match="does not listen for TCP"):
        activated_sockets(environment(1, "smtp"), {"smtp"}, FIRST)
    read, write = os.pipe()
    os.dup2(read, FIRST + 1)
    os.close(read)
    os.close(write)
    descriptors.append(FIRST + 1)
    with pytest.raises(ConfigError, match="is no socket"):
        activated_sockets(environment(1, "smtp"), {"smtp"}, FIRST + 1)
    with pytest.raises(ConfigError, match="not a number of sockets"):
        activated_sockets({**environment(1, "smtp"), "LISTEN_FDS": "many"}, {"smtp"}, FIRST)
