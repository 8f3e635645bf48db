"""Which signatures a message gets: states of keys on disk, and the tables of the configuration."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from outrider.base.clock import FakeClock
from outrider.base.errors import ConfigError, StoreError
from outrider.base.files import OsFiles
from outrider.privacy.signing_keys import LOOK_SECONDS, SigningKeys, ring_name
from outrider.privacy.signing_options import DkimOptions
from outrider.privacy.signing_ring import ActiveSelectors, SelectorState, SigningRing
from outrider.privacy.signing_table import SigningTable

DAY = 86_400.0


class Site:
    """A key directory with all that looks at it."""

    def __init__(self, directory: Path) -> None:
        self.clock = FakeClock()
        self.directory = directory
        self.ring = SigningRing(OsFiles(), directory, self.clock)
        self.active = ActiveSelectors(self.ring, self.clock)

    def table(self, *options: dict[str, Any]) -> SigningTable:
        return SigningTable([DkimOptions.model_validate(each) for each in options], self.active)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "dkim")


def states(site: Site, domain: str = "shop.example") -> list[tuple[str, str]]:
    return [(each.name, str(each.state)) for each in site.ring.selectors(domain)]


def test_a_key_is_made_activated_replaced_and_in_the_end_removed(site: Site) -> None:
    made = site.ring.make("Shop.Example", "s1")
    assert (made.state, made.bits) == (SelectorState.PENDING, 2048)
    assert site.active.of("shop.example") == ()
    site.ring.activate("shop.example", "s1", DAY)
    site.ring.make("shop.example", "s2")
    site.ring.make("shop.example", "e1", "ed25519")
    site.ring.activate("shop.example", "e1", DAY)
    assert states(site) == [("s1", "active"), ("s2", "pending"), ("e1", "active")]
    site.clock.advance(LOOK_SECONDS)
    assert site.active.of("shop.example") == ("s1", "e1")
    chosen, before = site.ring.activate("shop.example", "s2", DAY)
    assert before is not None
    assert (chosen.name, before.name, before.keep_until_time) == ("s2", "s1", site.clock.wall() + DAY)
    assert states(site) == [("s1", "kept"), ("s2", "active"), ("e1", "active")]
    assert site.active.of("shop.example") == ("s1", "e1")
    site.clock.advance(LOOK_SECONDS)
    assert site.active.of("shop.example") == ("s2", "e1")
    assert site.ring.remove_outdated("shop.example") == []
    site.clock.advance(DAY)
    assert [each.name for each in site.ring.remove_outdated("shop.example")] == ["s1"]
    assert states(site) == [("s2", "active"), ("e1", "active")]
    assert not site.ring.path("shop.example", "s1").exists()
    assert site.ring.domains() == ["shop.example"]


def test_the_key_before_can_be_taken_back_while_it_is_kept(site: Site) -> None:
    for name in ("s1", "s2"):
        site.ring.make("shop.example", name)
        site.ring.activate("shop.example", name, DAY)
    site.ring.activate("shop.example", "s1", DAY)
    assert states(site) == [("s1", "active"), ("s2", "kept")]


def test_a_made_key_signs_under_its_name(site: Site) -> None:
    site.ring.make("shop.example", "s1", "rsa", 3072)
    keys = SigningKeys(OsFiles(), site.directory, None, site.clock)
    assert keys.get(ring_name("shop.example", "s1")).bits == 3072
    assert site.ring.key("shop.example", "s1").bits == 3072


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("shop.example", "s1"), "has a key already"),
        (("shop.example", "S1"), "has a key already"),
        (("../x", "s2"), "domain"),
        (("shop.example", "a/b"), "selector"),
        (("shop.example", "s2", "dsa"), "no kind of key"),
        (("shop.example", "s2", "rsa", 1024), "2048 to 8192 bits"),
        (("shop.example", "s2", "rsa", 16_384), "2048 to 8192 bits"),
    ],
)
def test_what_cannot_be_made_changes_nothing(site: Site, arguments: tuple[Any, ...], said: str) -> None:
    site.ring.make("shop.example", "s1")
    with pytest.raises(StoreError, match=said):
        site.ring.make(*arguments)
    assert states(site) == [("s1", "pending")]
    with pytest.raises(StoreError, match="no key with the selector nix"):
        site.ring.activate("shop.example", "nix", DAY)


def test_damaged_states_are_named_and_strangers_reach_nothing(site: Site) -> None:
    site.ring.make("shop.example", "s1")
    path = site.directory / "shop.example" / "selectors.json"
    path.write_text("{}")
    with pytest.raises(ConfigError, match="is damaged"):
        site.ring.selectors("shop.example")
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="mode 0644"):
        site.ring.selectors("shop.example")
    assert site.ring.selectors("../dkim/shop.example") == ()
    assert site.ring.selectors("") == ()


FILE = {"selector": "s1", "key_file": "/keys/{domain}/{selector}.pem"}


def test_the_most_specific_tables_count(site: Site) -> None:
    table = site.table(
        {"domain": "*", "selector": "any", "key_credential": "any"},
        {"domain": "*.shop.example", "selector": "below", "key_credential": "below"},
        {"domain": "*.eu.shop.example", "selector": "eu", "key_credential": "eu"},
        {"domain": "shop.example", "selector": "one", "key_credential": "one"},
        {"domain": "shop.example", "selector": "two", "key_credential": "two"},
        {"domain": "shop.example", "tenant": "acme", "selector": "acme", "key_credential": "acme"},
        {"domain": "*", "tenant": "acme", "selector": "mine", "key_credential": "mine"},
    )

    def selectors(domain: str, tenant: str = "default") -> list[str]:
        return [request.selector for request in table.requests_for(domain, tenant)]

    assert selectors("shop.example") == ["one", "two"]
    assert selectors("shop.example", "acme") == ["acme"]
    assert selectors("news.shop.example") == ["below"]
    assert selectors("a.eu.shop.example") == ["eu"]
    assert selectors("eu.shop.example") == ["below"]
    assert selectors("notshop.example") == ["any"]
    assert selectors("other.test", "acme") == ["mine"]
    for none in ("", "[192.0.2.1]", "a b", "../x", "m\xfcnchen.example"):
        assert selectors(none) == []


def test_a_request_holds_what_was_configured(site: Site) -> None:
    table = site.table(
        {
            "domain": "*.shop.example",
            "signing_domain": "shop.example",
            "identity": "@news.shop.example",
            "header_canonicalization": "simple",
            "fields": ["From", "Subject"],
            "oversign": ["from"],
            "expiry_seconds": 604_800,
            **FILE,
        }
    )
    (request,) = table.requests_for("news.shop.example", "t")
    assert (request.domain, request.selector, request.identity) == (
        "shop.example",
        "s1",
        "@news.shop.example",
    )
    assert request.key == "file:/keys/shop.example/s1.pem"
    assert (request.header, request.body, request.fields) == ("simple", "relaxed", ("from", "subject"))
    assert request.expiry_seconds == 604_800


def test_without_a_selector_the_active_keys_of_the_domain_sign(site: Site) -> None:
    table = site.table({"domain": "*"})
    assert table.requests_for("shop.example", "t") == ()
    for name, kind in (("e1", "ed25519"), ("s1", "rsa")):
        site.ring.make("shop.example", name, kind)
        site.ring.activate("shop.example", name, DAY)
    site.clock.advance(LOOK_SECONDS)
    requests = table.requests_for("shop.example", "t")
    assert [(each.selector, each.key) for each in requests] == [
        ("s1", "ring:shop.example/s1"),
        ("e1", "ring:shop.example/e1"),
    ]


def test_mail_is_sealed_by_the_first_key_of_the_first_table_that_counts_and_asks(site: Site) -> None:
    table = site.table(
        {"domain": "*", "signing_domain": "relay.example", "arc": True, **FILE},
        {"domain": "shop.example", **FILE},
        {"domain": "shop.example", "arc": True, "selector": "two", "key_credential": "two"},
        {"domain": "own.example", "arc": True},
        {"domain": "bare.example", **FILE},
    )

    def sealed(domain: str) -> tuple[str, str] | None:
        request = table.seal_for(domain, "t")
        return None if request is None else (request.domain, request.selector)

    assert table.has_seals
    assert sealed("other.test") == ("relay.example", "s1")
    assert sealed("") == ("relay.example", "s1")
    assert sealed("shop.example") == ("shop.example", "two")
    assert sealed("bare.example") is None
    assert sealed("own.example") is None
    for name, kind in (("e1", "ed25519"), ("r1", "rsa")):
        site.ring.make("own.example", name, kind)
        site.ring.activate("own.example", name, DAY)
    site.clock.advance(LOOK_SECONDS)
    assert sealed("own.example") == ("own.example", "r1")
    assert not site.table({"domain": "*"}).has_seals


def test_requests_are_made_once_and_tables_that_are_alike_stay_apart(site: Site) -> None:
    table = site.table(
        {"domain": "shop.example", **FILE},
        {"domain": "shop.example", **FILE, "body_canonicalization": "simple"},
    )
    first = table.requests_for("shop.example", "t")
    assert [each.body for each in first] == ["relaxed", "simple"]
    assert all(one is two for one, two in zip(first, table.requests_for("shop.example", "t"), strict=True))
    assert table.requests_for("shop.example", "other") == first


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"domain": "a b"}, "write a domain"),
        ({"domain": "a.*.example"}, "write a domain"),
        ({"domain": ""}, "write a domain"),
        ({"domain": "x.example", "key_file": "/k"}, "needs the selector"),
        ({"domain": "x.example", "key_credential": "k"}, "needs the selector"),
        ({"domain": "x.example", "key_credential": "k", **FILE}, "exclude each other"),
        ({"domain": "x.example", "identity": "@y.example"}, "identity"),
        ({"domain": "*", "identity": "@y.example"}, "needs a signing_domain"),
        ({"domain": "x.example", "selector": "a b"}, "selector"),
        ({"domain": "x.example", "fields": ["received"]}, "must not be signed"),
        ({"domain": "x.example", "expiry_seconds": -1}, "greater than or equal"),
        ({"domain": "x.example", "length": 1}, "Extra inputs"),
    ],
)
def test_a_table_with_a_fault_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        DkimOptions.model_validate(options)
