"""PROXY headers of both versions: what they say, where they end, and what is refused."""

from struct import pack

import pytest
from google_crc32c import value as reference_crc32c
from hypothesis import given
from hypothesis import strategies as st

from outrider.base.errors import RemoteProtocolError
from outrider.wire.proxy import BODY_MAX, LINE_MAX, SIGNATURE, ProxyHeader, ProxyReader, crc32c, format_header

IPV4 = bytes([192, 0, 2, 1, 198, 51, 100, 2]) + pack("!HH", 40_000, 25)
IPV6 = bytes.fromhex("20010db8000000000000000000000001" + "20010db8000000000000000000000002") + pack(
    "!HH", 40_000, 25
)
TLV = b"\x05\x00\x03abc"


def binary(body: bytes, *, command: int = 1, family: int = 0x11, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return SIGNATURE + bytes([0x20 | command, family]) + pack("!H", size) + body


def with_checksum(body: bytes) -> bytes:
    blank = binary(body + b"\x03\x00\x04" + bytes(4))
    return blank[:-4] + pack("!I", reference_crc32c(blank))


GOOD = [
    (b"PROXY TCP4 192.0.2.1 198.51.100.2 40000 25\r\n", ("192.0.2.1", 40_000, "198.51.100.2", 25)),
    (b"PROXY TCP6 2001:db8::1 2001:db8::2 0 65535\r\n", ("2001:db8::1", 0, "2001:db8::2", 65_535)),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff::1 ffff::1 65535 65535\r\n", None),
    (b"PROXY UNKNOWN anything at all\r\n", None),
    (binary(IPV4), ("192.0.2.1", 40_000, "198.51.100.2", 25)),
    (binary(IPV4 + TLV), ("192.0.2.1", 40_000, "198.51.100.2", 25)),
    (binary(IPV6, family=0x21), ("2001:db8::1", 40_000, "2001:db8::2", 25)),
    (binary(b"", command=0, family=0), None),
    (binary(IPV4, command=0), None),
    # section 2.2: of LOCAL everything behind the command is ignored
    (binary(b"", command=0, family=0x11), None),
    (binary(b"\x05", command=0, family=0), None),
    (binary(b"abc", command=0, family=0xFF), None),
    (binary(b"", family=0x02), None),
    (binary(IPV4 + b"\x04\x00\x00"), ("192.0.2.1", 40_000, "198.51.100.2", 25)),
    (binary(b"", family=0), None),
    (binary(bytes(216), family=0x31), None),
    (with_checksum(IPV4), ("192.0.2.1", 40_000, "198.51.100.2", 25)),
    (with_checksum(IPV4 + TLV), ("192.0.2.1", 40_000, "198.51.100.2", 25)),
]

BAD = [
    b"EHLO client.test\r\n",
    b"PROXYTCP4 192.0.2.1 198.51.100.2 1 2\r\n",
    b"proxy TCP4 192.0.2.1 198.51.100.2 1 2\r\n",
    b"PROXY  TCP4 192.0.2.1 198.51.100.2 1 2\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2 \r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n",
    b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
    b"PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n",
    b"PROXY TCP6 fe80::1%eth0 2001:db8::2 1 2\r\n",
    b"PROXY TCP4 192.0.2.256 198.51.100.2 1 2\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.2 01 2\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.2 65536 2\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.2 -1 2\r\n",
    b"PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n",
    b"PROXY UNKNOWN " + b"x" * LINE_MAX,
    binary(IPV4, family=0x12),
    binary(IPV4, family=0x41),
    binary(IPV4, command=2),
    binary(IPV4, family=0x10),
    binary(IPV4, family=0x13),
    binary(b"", family=0x03),
    binary(b"abc", family=0),
    binary(IPV4[:-1]),
    binary(IPV4, family=0x21),
    binary(IPV4 + b"\x05\x00"),
    binary(IPV4 + b"\x05\x00\x09abc"),
    binary(IPV4, length=BODY_MAX + 1),
    SIGNATURE + b"\x11\x11\x00\x0c" + IPV4,
    with_checksum(IPV4)[:-1] + b"\x00",
    binary(IPV4 + b"\x03\x00\x03abc"),
    b"\r\n\r\n\x00\r\nQUIT\r",
]


@pytest.mark.parametrize(("octets", "expected"), GOOD)
@pytest.mark.parametrize("step", [1, 7, 1000])
def test_a_header_is_read_and_nothing_behind_it(
    octets: bytes, expected: tuple[str, int, str, int] | None, step: int
) -> None:
    reader = ProxyReader()
    stream = octets + b"\x16\x03\x01EHLO"
    taken = 0
    while reader.header is None:
        taken += reader.feed(stream[taken : taken + step])
    version = 1 if octets.startswith(b"P") else 2
    assert taken == len(octets)
    assert reader.header == (ProxyHeader(version, *expected) if expected else ProxyHeader(version))
    assert reader.feed(b"more") == 0


@pytest.mark.parametrize("octets", BAD)
@pytest.mark.parametrize("step", [1, 1000])
def test_what_is_no_header_is_refused(octets: bytes, step: int) -> None:
    reader = ProxyReader()

    def feed_all() -> None:
        for at in range(0, len(octets), step):
            reader.feed(octets[at : at + step])

    with pytest.raises(RemoteProtocolError):
        feed_all()
    assert reader.header is None


@given(
    st.one_of(st.binary(max_size=300), st.binary(max_size=300).map(lambda tail: SIGNATURE + tail)),
    st.integers(1, 40),
)
def test_whatever_comes_is_taken_or_refused_within_bounds(octets: bytes, step: int) -> None:
    reader = ProxyReader()
    try:
        for at in range(0, len(octets), step):
            piece = octets[at : at + step]
            used = reader.feed(piece)
            assert 0 <= used <= len(piece)
            assert used == len(piece) or reader.header is not None
    except RemoteProtocolError:
        assert reader.header is None


@given(st.binary(max_size=64))
def test_the_checksum_is_crc32c(octets: bytes) -> None:
    assert crc32c(octets) == reference_crc32c(octets)


ADDRESSES = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)),
    st.tuples(st.ip_addresses(v=6), st.ip_addresses(v=6)),
)


@given(ADDRESSES, st.integers(0, 65_535), st.binary(max_size=5))
def test_what_we_write_is_read_as_it_was_meant(
    addresses: tuple[object, object], port: int, rest: bytes
) -> None:
    source, address = map(str, addresses)
    header = format_header(source, address, port)
    reader = ProxyReader()
    assert reader.feed(header + rest) == len(header)
    assert reader.header == ProxyHeader(2, source, 0, address, port)


def test_addresses_of_two_families_are_no_connection() -> None:
    with pytest.raises(ValueError, match="not of one family"):
        format_header("192.0.2.1", "2001:db8::1", 25)
