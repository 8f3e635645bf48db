"""Which addresses DNS may lead us to; in every disguise."""

import pytest

from outrider.net.options import NetOptions
from outrider.net.targets import Targets

FORBIDDEN = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.0.1",
    "169.254.169.254",
    "100.64.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "192.0.2.1",
    "::",
    "::1",
    "fe80::1",
    "fc00::1",
    "ff02::1",
    "2001:db8::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a00:1",
    "2002:7f00:1::",
    "2002:c0a8:1::1",
    "2001:0:7f00:1::",
    "::127.0.0.1",
    "::ffff:0:127.0.0.1",
    "64:ff9b:1::7f00:1",
    "fec0::1",
    "5f00::1",
    "3fff::1",
    "4000::1",
    "2002:909:909::1",  # a tunnel's end is nobody's mail server, whatever it carries
]

ALLOWED = ["9.9.9.9", "193.0.0.1", "2620:fe::9", "::ffff:9.9.9.9", "64:ff9b::909:909"]


def targets(options: NetOptions | None = None, *listeners: tuple[str, int]) -> Targets:
    return Targets(options or NetOptions(), listeners, lambda address: address == "9.9.9.1")


@pytest.mark.parametrize("address", FORBIDDEN)
def test_inner_addresses_are_refused(address: str) -> None:
    assert not targets().is_allowed(address)
    assert targets(NetOptions(allow_private_targets=True)).is_allowed(address)


@pytest.mark.parametrize("address", ALLOWED)
def test_outer_addresses_are_allowed(address: str) -> None:
    assert targets().is_allowed(address)


def test_own_listeners_in_every_spelling() -> None:
    ours = targets(None, ("127.0.0.1", 2525), ("::1", 2526))
    assert ours.is_own("127.0.0.1", 2525)
    assert ours.is_own("::ffff:127.0.0.1", 2525)
    assert ours.is_own("0:0::1", 2526)
    assert not ours.is_own("127.0.0.1", 2526)
    assert not ours.is_own("127.0.0.2", 2525)


def test_wildcard_listener() -> None:
    ours = targets(None, ("0.0.0.0", 25))
    assert ours.is_own("9.9.9.1", 25)
    assert ours.is_own("0.0.0.0", 25)
    assert not ours.is_own("9.9.9.2", 25)
    assert not ours.is_own("9.9.9.1", 26)


def test_the_address_outside_of_a_translator_is_ours() -> None:
    ours = targets(NetOptions(own_addresses=("9.9.9.3",)), ("10.0.0.5", 25))
    assert ours.is_own("9.9.9.3", 25)
    assert ours.is_own("::ffff:9.9.9.3", 25)
    assert not ours.is_own("9.9.9.3", 26)
    assert not ours.is_own("9.9.9.4", 25)
