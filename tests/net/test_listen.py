"""Listening sockets: what is opened, and what is said when it cannot be."""

import os
import socket
from pathlib import Path

import pytest

from outrider.base.errors import ConfigError
from outrider.net.listen import is_local_address, local_endpoint, open_listener, open_listeners

OPTION = "listeners.submission.address"


def connect(address: str, port: int) -> None:
    socket.create_connection((address, port)).close()


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:0"])
def test_tcp_listener_takes_connections_and_can_be_inherited(address: str) -> None:
    with open_listener(address, option=OPTION) as listener:
        connect(*local_endpoint(listener))
        assert listener.get_inheritable()
        assert not listener.getblocking()


def test_workers_share_one_address() -> None:
    listeners = open_listeners("127.0.0.1:0", 3, option=OPTION)
    try:
        assert len({local_endpoint(listener) for listener in listeners}) == 1
        assert len({listener.fileno() for listener in listeners}) == 3
    finally:
        for listener in listeners:
            listener.close()


def test_address_of_a_server_that_runs_is_refused_even_when_it_would_share() -> None:
    with open_listener("127.0.0.1:0", option=OPTION) as running:
        _, port = local_endpoint(running)
        with pytest.raises(ConfigError, match=rf"{OPTION}: 127\.0\.0\.1:{port} is in use by another program"):
            open_listeners(f"127.0.0.1:{port}", 2, option=OPTION)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("127.0.0.1", "has no port"),
        ("localhost:25", "is not an address with a port"),
        ("127.0.0.1:99999", "is not an address with a port"),
        ("", "is not an address with a port"),
        ("192.0.2.1:2525", "is not an address of this machine"),
        ("unix:/nonexistent/x.sock", "its folder does not exist"),
    ],
)
def test_faults_name_option_and_cure(address: str, says: str) -> None:
    with pytest.raises(ConfigError, match=OPTION) as raised:
        open_listener(address, option=OPTION)
    assert says in str(raised.value)


def test_unix_socket_is_for_its_own_user_only(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    before = os.umask(0)
    try:
        with open_listener(f"unix:{path}", option=OPTION) as listener:
            assert path.stat().st_mode & 0o777 == 0o600
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
            assert listener.get_inheritable()
    finally:
        os.umask(before)


def test_stale_unix_socket_is_replaced_and_a_served_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    open_listener(f"unix:{path}", option=OPTION).close()
    assert path.is_socket()
    with open_listener(f"unix:{path}", option=OPTION), pytest.raises(ConfigError, match="is in use"):
        open_listener(f"unix:{path}", option=OPTION)


def test_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(ConfigError, match="is in use"):
        open_listener(f"unix:{path}", option=OPTION)
    assert path.read_text() == "data"


def test_addresses_of_this_machine() -> None:
    assert is_local_address("127.0.0.1")
    assert not is_local_address("192.0.2.1")
    assert not is_local_address("2001:db8::1")
