"""Options of net: the shapes that are taken, and what is said about the others."""

import pytest
from pydantic import ValidationError

from outrider.net.options import NetOptions, split_host_port


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mx.example", ("mx.example", 25)),
        ("MX.example:587", ("mx.example", 587)),
        ("9.9.9.9", ("9.9.9.9", 25)),
        ("9.9.9.9:65535", ("9.9.9.9", 65535)),
        ("2620:fe::9", ("2620:fe::9", 25)),
        ("[2620:fe::9]", ("2620:fe::9", 25)),
        ("[2620:fe::9]:1", ("2620:fe::9", 1)),
    ],
)
def test_hosts_with_and_without_port(text: str, expected: tuple[str, int]) -> None:
    assert split_host_port(text, 25) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":25",
        "a:",
        "a:0",
        "a:65536",
        "a:25x",
        "a:-1",
        "a:²",
        "[::1",
        "[::1]25",
        "[::1]:",
        "[a]:25",
        "a:b:c",
        "a b",
    ],
)
def test_other_shapes_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        split_host_port(text, 25)


def test_defaults_are_within_their_own_bounds() -> None:
    assert NetOptions.model_validate(NetOptions().model_dump()) == NetOptions()


@pytest.mark.parametrize(
    "wrong",
    [
        {"nameserver": ["127.0.0.1"]},
        {"nameservers": ["dns.example"]},
        {"nameservers": ["127.0.0.1:dns"]},
        {"ip_families": []},
        {"ip_families": ["ipv5"]},
        {"allowed_target_networks": ["127.0.0.1/8"]},
        {"query_timeout_seconds": 0},
        {"loop": "trio"},
        {"tls": {"minimum_version": "TLSv1.0"}},
        {"own_addresses": ["nat.example"]},
        {"routes": [{"domain": "*", "hosts": ["a"], "port": 25}]},
    ],
)
def test_mistakes_are_found_before_the_start(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        NetOptions.model_validate(wrong)


def test_a_route_is_found_by_its_domain_and_named_as_sites_are() -> None:
    """Overrides of a site are for its name in lower case; a name with capitals had none."""
    options = NetOptions.model_validate(
        {"routes": [{"domain": "Bücher.example", "hosts": ["relay.example"], "name": "SmartHost"}]}
    )
    assert (options.routes[0].domain, options.routes[0].name) == ("xn--bcher-kva.example", "smarthost")
