"""Options of a path: what is inherited, what is refused."""

import pytest
from pydantic import ValidationError

from outrider.deliver.options import DeliveryOptions, DeliveryTable
from outrider.deliver.resolve import CACHE_MAX, DeliveryResolver
from outrider.model.flow import Path


def resolver(values: dict[str, object]) -> DeliveryResolver:
    """Of a table, checked as a configuration is."""
    found = DeliveryResolver(DeliveryTable.model_validate(values))
    found.check()
    return found


def _path(site: str, binding: str = "default") -> Path:
    return Path("smtp", binding, site)


TABLE = resolver(
    {
        "default": {"idle_seconds": 7, "max_deliveries_per_connection": 50},
        "override": [
            {"site": "mx.slow.example.test", "mail_seconds": 5},
            {"site": "*.example.test", "mail_seconds": 4, "tls": "required"},
            {"site": "*.slow.example.test", "mail_seconds": 3, "idle_seconds": 1},
            {"site": "*", "binding": "bulk", "source_addresses": ["192.0.2.7"]},
            {"site": "Other.TEST", "pipelining": False},
        ],
    }
)


@pytest.mark.parametrize(
    ("site", "binding", "expected"),
    [
        ("nowhere.test", "default", (7, 300, "opportunistic", (), True)),
        ("a.example.test", "default", (7, 4, "required", (), True)),
        ("b.slow.example.test", "default", (1, 3, "required", (), True)),
        ("mx.slow.example.test", "default", (1, 5, "required", (), True)),
        ("mx.slow.example.test", "bulk", (1, 5, "required", ("192.0.2.7",), True)),
        ("example.test", "default", (7, 300, "opportunistic", (), True)),
        ("other.test", "bulk", (7, 300, "opportunistic", ("192.0.2.7",), False)),
    ],
)
def test_the_most_specific_override_wins_and_the_rest_is_inherited(
    site: str, binding: str, expected: tuple[float, float, str, tuple[str, ...], bool]
) -> None:
    options = TABLE.for_path(_path(site, binding))
    assert options.max_deliveries_per_connection == 50
    assert expected == (
        options.idle_seconds,
        options.mail_seconds,
        options.tls,
        options.source_addresses,
        options.pipelining,
    )
    assert TABLE.for_path(_path(site, binding)) is options


def test_the_cache_is_bounded() -> None:
    table = resolver({})
    for number in range(CACHE_MAX + 10):
        table.for_path(_path(f"{number}.test"))
    assert len(table._cached) <= CACHE_MAX


@pytest.mark.parametrize(
    "values",
    [
        {"mail_seconds": 0},
        {"tls": "maybe"},
        {"ip_families": []},
        {"ehlo_name": "a b"},
        {"ehlo_name": "a\r\nQUIT"},
        {"source_addresses": ["192.0.2.1", "192.0.2.2"]},
        {"source_addresses": ["somewhere"]},
        {"auth_user": "user"},
        {"password_file": "password"},
        {"auth_user": "user", "password_file": "password"},
        {"auth_user": "user", "password_file": "password", "tls": "off"},
        {"unknown": 1},
    ],
)
def test_what_makes_no_sense_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        DeliveryOptions.model_validate(values)
    with pytest.raises(ValueError):
        resolver({"override": [{"site": "x.test", **values}]})


def test_overrides_that_only_clash_together_are_refused() -> None:
    smart = {"site": "*.test", "auth_user": "user", "password_file": "file", "tls": "required"}
    resolver({"override": [smart, {"site": "*.test", "idle_seconds": 1}]})
    with pytest.raises(ValueError, match="required"):
        resolver({"override": [smart, {"site": "a.test", "tls": "off"}]})
    with pytest.raises(ValueError, match="required"):
        resolver({"override": [smart, {"site": "*.test", "binding": "bulk", "tls": "off"}]})


@pytest.mark.parametrize("site", ["a*.test", "*.*.test", "x.*"])
def test_a_star_stands_only_in_front(site: str) -> None:
    with pytest.raises(ValidationError):
        DeliveryTable.model_validate({"override": [{"site": site}]})


def test_the_source_address_has_the_family_of_the_host() -> None:
    options = DeliveryOptions(source_addresses=("192.0.2.1", "2001:db8::1"))
    assert options.source_for("198.51.100.1") == "192.0.2.1"
    assert options.source_for("2001:db8::25") == "2001:db8::1"
    assert DeliveryOptions().source_for("198.51.100.1") is None
    with pytest.raises(LookupError, match="IPv6 source"):
        DeliveryOptions(source_addresses=("192.0.2.1",)).source_for("2001:db8::25")
    with pytest.raises(LookupError, match="IPv4 is not used"):
        DeliveryOptions(ip_families=("ipv6",)).source_for("198.51.100.1")
