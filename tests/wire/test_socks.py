"""The client's end of SOCKS 5, octet by octet."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.base.errors import LocalProtocolError, RemoteProtocolError
from outrider.wire.socks import ANSWER_OCTETS_MAX, REFUSALS, SocksClient

PAIR = ("user", "a secret")
BOUND = bytes([5, 0, 0, 1, 192, 0, 2, 7, 0x12, 0x34])


def play(client: SocksClient, answers: bytes) -> tuple[bytes, bytes]:
    """Give the server's octets; returns what was sent, and what was not taken."""
    sent = client.take_output()
    while client.wanted and len(answers) >= client.wanted:
        octets, answers = answers[: client.wanted], answers[client.wanted :]
        client.receive(octets)
        sent += client.take_output()
    return sent, answers


def test_a_connection_without_a_password() -> None:
    client = SocksClient("198.51.100.1", 25)
    sent, rest = play(client, b"\5\0" + BOUND + b"220 hello\r\n")
    assert sent == b"\5\1\0" + b"\5\1\0\1" + bytes([198, 51, 100, 1, 0, 25])
    assert (client.is_done, client.source, client.wanted) == (True, "192.0.2.7", 0)
    assert rest == b"220 hello\r\n"  # not one octet of what follows


def test_a_connection_with_a_password_to_ipv6() -> None:
    client = SocksClient("2001:db8::25", 2525, PAIR)
    reply = b"\5\0\0\4" + ip_address("2001:db8::1").packed + b"\0\0"
    sent, rest = play(client, b"\5\2" + b"\1\0" + reply)
    assert sent == (
        b"\5\2\0\2\1\4user\10a secret" + b"\5\1\0\4" + ip_address("2001:db8::25").packed + b"\x09\xdd"
    )
    assert (client.is_done, client.source, rest) == (True, "2001:db8::1", b"")


@pytest.mark.parametrize(
    ("address", "source"), [(b"\1\0\0\0\0", ""), (b"\3\4name", ""), (b"\1\x7f\0\0\1", "127.0.0.1")]
)
def test_what_the_server_says_of_its_address_is_kept_where_it_is_one(address: bytes, source: str) -> None:
    client = SocksClient("198.51.100.1", 25)
    _, rest = play(client, b"\5\0" + b"\5\0\0" + address + b"\0\0" + b"2")
    assert (client.is_done, client.source, rest) == (True, source, b"2")


@pytest.mark.parametrize("code", [*REFUSALS, 9, 255])
def test_a_refusal_is_told_with_its_code(code: int) -> None:
    client = SocksClient("198.51.100.1", 25)
    play(client, b"\5\0" + bytes([5, code, 0, 1]))
    assert not client.is_done
    assert (client.code, client.refusal) == (code, REFUSALS.get(code, f"code {code}"))
    assert client.wanted == 0


@pytest.mark.parametrize(
    ("answers", "credentials", "said"),
    [
        (b"\5\xff", None, "another kind of authentication"),
        (b"\5\xff", PAIR, "another kind of authentication"),
        (b"\5\2\1\1", PAIR, "does not take user and password"),
    ],
)
def test_it_may_not_want_us(answers: bytes, credentials: tuple[str, str] | None, said: str) -> None:
    client = SocksClient("198.51.100.1", 25, credentials)
    play(client, answers)
    assert said in client.refusal
    assert not client.is_done


@pytest.mark.parametrize(
    ("answers", "credentials"),
    [
        (b"\4\0", None),
        (b"22", None),
        (b"\5\1", None),
        (b"\5\2", None),
        (b"\5\3", PAIR),
        (b"\5\0\4\0\0\1", None),
        (b"\5\0\5\0\0\2", None),
    ],
)
def test_what_is_no_socks_is_told(answers: bytes, credentials: tuple[str, str] | None) -> None:
    with pytest.raises(RemoteProtocolError):
        play(SocksClient("198.51.100.1", 25, credentials), answers)


@pytest.mark.parametrize("pair", [("", "x"), ("x", ""), ("x" * 256, "x"), ("x", "é" * 128)])
def test_credentials_that_have_no_form_are_refused(pair: tuple[str, str]) -> None:
    with pytest.raises(LocalProtocolError, match="1 to 255 octets"):
        SocksClient("198.51.100.1", 25, pair)


def test_only_what_is_wanted_is_taken() -> None:
    with pytest.raises(LocalProtocolError, match="2 octets are wanted"):
        SocksClient("198.51.100.1", 25).receive(b"\5")


@given(
    st.one_of(
        st.binary(max_size=400),
        st.builds(
            bytes.__add__,
            st.sampled_from([b"\5\0", b"\5\2\1\0", b"\5\0\5\0\0\1", b"\5\2\1\0\5\0\0\3"]),
            st.binary(max_size=300),
        ),
    )
)
def test_whatever_the_server_says_it_ends_within_bounds(answers: bytes) -> None:
    client = SocksClient("198.51.100.1", 25, PAIR)
    try:
        _, rest = play(client, answers)
    except RemoteProtocolError:
        return
    assert len(answers) - len(rest) <= ANSWER_OCTETS_MAX
    assert not (client.is_done and client.refusal)
