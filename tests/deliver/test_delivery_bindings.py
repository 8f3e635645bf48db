"""Options of delivery of bindings and groups: what a binding says of itself, and what comes before it."""

from datetime import date

import pytest
from pydantic import ValidationError

from outrider.deliver.binding_options import BindingOptions
from outrider.deliver.identity_options import IdentityOptions, Proxy, parse_proxy
from outrider.deliver.options import DeliveryOptions, DeliveryTable
from outrider.deliver.resolve import DeliveryResolver
from outrider.model.flow import Path

NEWS = BindingOptions(name="news", source_addresses=("192.0.2.1",), ehlo_name="own.example")
GROUPS = {"news": ["pool"], "bills": ["pool", "few"]}


def ehlo_of(*overrides: dict[str, str], binding: str = "news", site: str = "mx.x.test") -> str:
    """The name that holds where each override sets it to its own number."""
    numbered = [{**override, "ehlo_name": str(number)} for number, override in enumerate(overrides)]
    table = DeliveryTable.model_validate({"override": numbered})
    resolver = DeliveryResolver(table, [NEWS], GROUPS)
    resolver.check()
    return resolver.for_path(Path("smtp", binding, site)).ehlo_name


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([{}], "own.example"),
        ([{"site": "mx.x.test"}], "own.example"),
        ([{"group": "pool"}], "own.example"),
        ([{"binding": "news"}], "0"),
        ([{"binding": "*"}, {"binding": "news"}], "1"),
        ([{"group": "pool", "site": "*.test"}], "0"),
        ([{"group": "pool", "site": "mx.x.test"}, {"binding": "news"}], "0"),
        ([{"binding": "news", "site": "mx.x.test"}, {"group": "pool", "site": "mx.x.test"}], "0"),
        ([{"binding": "news", "site": "*"}, {"group": "pool", "binding": "news", "site": "mx.x.test"}], "1"),
        ([{"group": "few"}], "own.example"),
    ],
)
def test_a_binding_says_of_itself_what_a_binding_level_override_would(
    overrides: list[dict[str, str]], expected: str
) -> None:
    assert ehlo_of(*overrides) == expected


def test_groups_hold_for_their_members() -> None:
    assert ehlo_of({"group": "pool"}, binding="bills") == "0"
    assert ehlo_of({"group": "pool"}, {"group": "few"}, binding="bills") == "1"
    assert ehlo_of({"group": "pool"}, binding="other") == ""


def test_where_an_option_comes_from_is_told() -> None:
    table = DeliveryTable.model_validate({"override": [{"idle_seconds": 1}, {"group": "pool", "tls": "off"}]})
    found = DeliveryResolver(table, [NEWS], GROUPS).sources(Path("smtp", "news", "mx.x.test"))
    assert {name: (layer.place, layer.scope.level) for name, layer in found.items()} == {
        "idle_seconds": ("delivery.override.0", "global"),
        "tls": ("delivery.override.1", "group"),
        "source_addresses": ("binding.news", "binding"),
        "ehlo_name": ("binding.news", "binding"),
    }


def test_clashes_of_groups_and_bindings_are_found_beforehand() -> None:
    far = BindingOptions(name="far", source_addresses=("192.0.2.1",), proxy="haproxy://192.0.2.9:2525")
    table = DeliveryTable.model_validate(
        {"override": [{"group": "pool", "proxy": "socks5://192.0.2.8:1080"}]}
    )
    DeliveryResolver(table, [far], {"far": ["pool"]}).check()
    clash = DeliveryTable.model_validate(
        {"override": [{"group": "pool", "site": "a.test", "source_addresses": []}]}
    )
    DeliveryResolver(clash, [far], {}).check()
    with pytest.raises(ValueError, match=r"binding far, site a\.test: a haproxy:// proxy is told"):
        DeliveryResolver(clash, [far], {"far": ["pool"]}).check()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"proxy": "http://192.0.2.1:1080"}, "write socks5://host:port"),
        ({"proxy": "socks5://192.0.2.1"}, "lacks host or port"),
        ({"proxy": "socks5://:1080"}, "lacks host or port"),
        ({"proxy": "socks5://a:99999"}, "no valid port"),
        ({"proxy": "socks5://user:secret@a:1080"}, "write socks5://host:port"),
        ({"proxy": "socks5://a:1080/x"}, "write socks5://host:port"),
        ({"proxy": "haproxy://192.0.2.9:2525"}, "set source_addresses"),
        ({"proxy": "socks5://a:1", "proxy_user": "me"}, "go together"),
        ({"proxy_user": "me", "proxy_password_file": "f"}, "for a SOCKS proxy"),
        ({"source_addresses": ["192.0.2.1", "192.0.2.2"]}, "at most one"),
    ],
)
def test_identities_that_make_no_sense_are_refused(values: dict[str, object], said: str) -> None:
    for model in (IdentityOptions, DeliveryOptions):
        with pytest.raises(ValidationError, match=said):
            model.model_validate(values)


def test_proxies_are_read() -> None:
    assert parse_proxy("socks5://proxy.example:1080") == Proxy("socks5", "proxy.example", 1080)
    assert parse_proxy("haproxy://[2001:db8::1]:25") == Proxy("haproxy", "2001:db8::1", 25)
    assert str(parse_proxy("haproxy://[2001:db8::1]:25")) == "haproxy://[2001:db8::1]:25"


def test_a_binding_has_an_age() -> None:
    assert NEWS.age_days(date(2026, 2, 1)) is None
    old = BindingOptions(name="old", since=date(2026, 1, 1))
    assert old.age_days(date(2026, 2, 1)) == 31
    assert old.age_days(date(2025, 1, 1)) == 0
    with pytest.raises(ValidationError, match="means no binding"):
        BindingOptions(name="none")
