"""Sites and the routes behind them."""

import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.model.flow import Host
from outrider.model.reply import Reply
from outrider.model.route import Exchanger, Route, RouteFailure
from outrider.schedule.options import ProviderPattern
from outrider.schedule.sites import SiteTable, fold

LABEL = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=12)
NAME = st.lists(LABEL, min_size=1, max_size=5).map(".".join)


def route(domain: str, *exchangers: tuple[int, str, str], valid: float = 60.0, **more: object) -> Route:
    hosts = tuple(Exchanger(preference, name, (address,)) for preference, name, address in exchangers)
    return Route(domain, hosts, implicit=False, valid_seconds=valid, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("names", "site"),
    [
        (["mx.example"], "mx.example"),
        (["MX.Example."], "mx.example"),
        (["mx.example", "alt2.mx.example", "alt1.mx.example"], "(alt1|alt2)?.mx.example"),
        (["a.mx.example", "b.mx.example"], "(a|b).mx.example"),
        (["a.x.mx.example", "b.mx.example"], "(a.x|b).mx.example"),
        (["mx.one.example", "mx.two.example"], "(mx.one.example|mx.two.example)"),
        (["mx.one.test", "mx.one.test"], "mx.one.test"),
    ],
)
def test_fold(names: list[str], site: str) -> None:
    assert fold(names) == site


@given(
    one=st.sets(NAME, min_size=1, max_size=8), two=st.sets(NAME, min_size=1, max_size=8), seed=st.integers()
)
def test_equal_sets_have_one_name_and_different_ones_two(one: set[str], two: set[str], seed: int) -> None:
    shuffled = list(one)
    random.Random(seed).shuffle(shuffled)
    assert fold(shuffled) == fold(sorted(one))
    assert (fold(list(one)) == fold(list(two))) == (one == two)
    assert len(fold(list(one))) <= 100


def test_a_long_set_is_cut_and_told_apart_by_its_digest() -> None:
    names = [f"exchanger-{number}.mail.example" for number in range(30)]
    site = fold(names)
    assert len(site) == 100
    assert site.startswith("(exchanger-0|exchanger-1|")
    assert site != fold(names[:-1])


def test_domains_with_one_set_of_exchangers_share_a_site() -> None:
    table = SiteTable()
    one = table.put(
        route("one.test", (10, "a.mx.example", "192.0.2.1"), (20, "b.mx.example", "192.0.2.2")), 0.0
    )
    two = table.put(
        route("two.test", (5, "B.mx.example", "192.0.2.2"), (5, "a.mx.example", "192.0.2.1")), 0.0
    )
    assert one == two == "(a|b).mx.example"


def test_a_provider_takes_domains_whose_exchangers_all_match() -> None:
    table = SiteTable([ProviderPattern(name="big", mx=("*.big.example", "mx.other.example"))])
    assert table.put(route("a.test", (1, "x.big.example", "192.0.2.1")), 0.0) == "big"
    both = route("b.test", (1, "x.big.example", "192.0.2.1"), (2, "mx.other.example", "192.0.2.2"))
    assert table.put(both, 0.0) == "big"
    mixed = route("c.test", (1, "x.big.example", "192.0.2.1"), (2, "mx.backup.example", "192.0.2.2"))
    assert table.put(mixed, 0.0) != "big"


def test_configured_and_separate_sites() -> None:
    table = SiteTable(is_separate=lambda domain: domain == "own.test")
    assert table.put(route("x.test", (1, "mx.example", "192.0.2.1"), site="smarthost"), 0.0) == "smarthost"
    assert table.put(route("own.test", (1, "mx.example", "192.0.2.1")), 0.0) == "@own.test"
    assert table.put(route("y.test", (1, "mx.example", "192.0.2.1"), port=587), 0.0) == "mx.example:587"


def test_a_route_serves_until_it_expires() -> None:
    table = SiteTable()
    assert table.needs("a.test", 0.0)
    table.put(route("a.test", (1, "mx.example", "192.0.2.1"), valid=30.0), 100.0)
    assert not table.needs("a.test", 129.9)
    assert table.site("a.test", 129.9) == "mx.example"
    assert table.needs("a.test", 130.0)
    assert table.site("a.test", 130.0) is None
    assert table.hosts("a.test", 130.0, 25, random.Random(1)) is None


def test_a_failure_is_remembered_too() -> None:
    table = SiteTable()
    failure = RouteFailure("no.test", Reply(550, "5.1.2", ("no such domain",)), 30.0)
    assert table.put(failure, 0.0) == ""
    assert not table.needs("no.test", 29.0)
    assert table.get("no.test", 29.0) == ("", failure)
    assert table.site("no.test", 29.0) is None
    assert table.hosts("no.test", 29.0, 25, random.Random(1)) is None
    table.forget("no.test")
    assert table.needs("no.test", 29.0)


def test_hosts_go_by_preference_and_equal_ones_are_shuffled() -> None:
    table = SiteTable()
    exchangers = (
        Exchanger(20, "late.example", ("192.0.2.9",)),
        Exchanger(10, "a.example", ("2001:db8::1", "192.0.2.1")),
        Exchanger(10, "b.example", ("192.0.2.2",)),
    )
    table.put(Route("a.test", exchangers, implicit=False, valid_seconds=60.0), 0.0)
    rng = random.Random(1)
    orders = {table.hosts("a.test", 1.0, 2525, rng) for _ in range(50)}
    a = (Host("a.example", "2001:db8::1", 2525), Host("a.example", "192.0.2.1", 2525))
    b = (Host("b.example", "192.0.2.2", 2525),)
    late = (Host("late.example", "192.0.2.9", 2525),)
    assert orders == {a + b + late, b + a + late}


def test_the_table_is_bounded() -> None:
    table = SiteTable(capacity=10)
    for number in range(25):
        table.put(route(f"d{number}.test", (1, "mx.example", "192.0.2.1")), 0.0)
    assert len(table) == 10
    assert table.needs("d14.test", 1.0)
    assert not table.needs("d15.test", 1.0)


def test_our_own_address_and_all_behind_it_are_no_hosts() -> None:
    """RFC 5321 §5.1: what is not better than ourselves would bring the mail back."""
    table = SiteTable()
    exchangers = (
        Exchanger(5, "first.example", ("192.0.2.1",)),
        Exchanger(10, "us.example", ("192.0.2.2",)),
        Exchanger(20, "late.example", ("192.0.2.3",)),
    )
    table.put(Route("a.test", exchangers, implicit=False, valid_seconds=60.0), 0.0)

    def hosts(port: int) -> list[str]:
        found = table.hosts(
            "a.test", 1.0, port, random.Random(1), lambda *place: place == ("192.0.2.2", 2525)
        )
        return [host.name for host in found or ()]

    assert hosts(2525) == ["first.example"]
    assert hosts(25) == ["first.example", "us.example", "late.example"]


def test_the_last_site_outlives_its_answer_a_failure_and_the_table() -> None:
    table = SiteTable()
    table.put(route("a.test", (1, "mx.example", "192.0.2.1"), valid=30.0), 0.0)
    table.put(RouteFailure("a.test", Reply(451, "4.4.3", ("no answer",)), 30.0), 60.0)
    table.put(RouteFailure("never.test", Reply(550, "5.1.2", ("no such domain",)), 30.0), 60.0)
    assert table.last_site("a.test") == "mx.example"
    assert table.last_site("never.test") == ""
    assert [table.is_unsure(domain) for domain in ("a.test", "never.test", "other.test")] == [
        False,
        False,
        True,
    ]
    kept = table.last_sites(["a.test", "never.test", "other.test"])
    assert kept == {"a.test": "mx.example"}
    later = SiteTable()
    later.recall(kept, is_doubted=False)
    assert later.last_site("a.test") == "mx.example"
    assert not later.is_unsure("a.test")
    assert later.site("a.test", 0.0) is None, "nothing is sent by what was recalled"
    assert later.needs("a.test", 0.0)


def test_what_was_recalled_is_in_doubt_until_it_is_looked_up_when_the_configuration_is_another_one() -> None:
    table = SiteTable()
    table.recall({"a.test": "old.example"}, is_doubted=True)
    assert table.last_site("a.test") == "old.example"
    assert table.is_unsure("a.test")
    table.put(route("a.test", (1, "mx.example", "192.0.2.1")), 0.0)
    assert table.last_site("a.test") == "mx.example"
    assert not table.is_unsure("a.test")


def test_a_change_of_routes_leaves_the_last_sites_in_doubt() -> None:
    table = SiteTable()
    table.put(route("a.test", (1, "mx.example", "192.0.2.1")), 0.0)
    table.forget_all()
    assert table.needs("a.test", 1.0)
    assert table.last_site("a.test") == "mx.example"
    assert table.is_unsure("a.test")


def test_separate_domains_and_providers_of_now_count_for_what_was_recalled() -> None:
    recalled = {"own.test": "mx.example", "once.test": "@once.test", "other.test": "mx.example"}
    table = SiteTable(is_separate=lambda domain: domain == "own.test")
    table.recall(recalled, is_doubted=False)
    assert [table.last_site(domain) for domain in recalled] == ["@own.test", "", "mx.example"]
    assert table.is_unsure("once.test"), "only a look-up can tell"
    assert not table.reshape((), lambda domain: domain == "other.test")
    assert [table.last_site(domain) for domain in recalled] == ["", "", "@other.test"]
    assert not table.is_unsure("other.test")
    table.reshape([ProviderPattern(name="big", mx=("*.example",))], lambda domain: domain == "other.test")
    assert not table.is_unsure("other.test")
    table.recall({"third.test": "mx.example"}, is_doubted=False)
    table.reshape((), lambda _domain: False)
    assert table.is_unsure("third.test"), "it may have been the provider's, or be so now"


def test_last_sites_are_bounded() -> None:
    table = SiteTable(capacity=3)
    table.recall({f"d{number}.test": "mx.example" for number in range(5)}, is_doubted=True)
    assert [bool(table.last_site(f"d{number}.test")) for number in range(5)] == [
        False,
        False,
        True,
        True,
        True,
    ]
    assert table.is_unsure("d0.test")
