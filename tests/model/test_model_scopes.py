"""Which of several options holds for a path: the seven levels, and patterns within one."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.model.scopes import LEVELS, Layer, Scope, in_order, sources_of

GROUP, BINDING, SITE = "pool", "news", "mx.big.example"
SCOPES = {
    "global": Scope(),
    "site": Scope(site=SITE),
    "group": Scope(group=GROUP),
    "binding": Scope(binding=BINDING),
    "group::site": Scope(group=GROUP, site=SITE),
    "binding::site": Scope(binding=BINDING, site=SITE),
    "group::binding::site": Scope(GROUP, BINDING, SITE),
}
"""One for each level, all of which cover the path."""


def layer(scope: Scope, place: str = "", *names: str) -> Layer:
    return Layer(scope, dict.fromkeys(names or ("x",), place), place)


def test_each_scope_has_its_level() -> None:
    assert {name: scope.level for name, scope in SCOPES.items()} == {name: name for name in LEVELS}
    assert Scope(GROUP, BINDING).level == "binding"
    assert str(Scope(GROUP, BINDING, SITE)) == "pool::news::mx.big.example"
    assert str(Scope(binding=BINDING)) == "news::*"


@pytest.mark.parametrize(("lower", "higher"), list(itertools.combinations(LEVELS, 2)))
def test_the_more_specific_level_wins_in_any_order_of_the_file(lower: str, higher: str) -> None:
    for names in ((lower, higher), (higher, lower)):
        layers = in_order(layer(SCOPES[name], name) for name in names)
        assert sources_of(layers, [GROUP], BINDING, SITE)["x"].place == higher


@given(st.permutations(LEVELS), st.data())
def test_each_option_comes_from_the_most_specific_level_that_gives_it(
    order: list[str], data: st.DataObject
) -> None:
    given_by = {level: data.draw(st.sets(st.sampled_from("abc"), min_size=1), label=level) for level in order}
    layers = in_order(Layer(SCOPES[level], dict.fromkeys(given_by[level]), level) for level in order)
    found = {name: one.place for name, one in sources_of(layers, [GROUP], BINDING, SITE).items()}
    wanted = {}
    for level in LEVELS:
        wanted.update(dict.fromkeys(given_by[level], level))
    assert found == wanted


PATTERNS = st.sampled_from(["*", "*.example", "*.big.example", "mx.big.example", "mx.other.example"])
NAMES = st.sampled_from(["mx.big.example", "mx.other.example", "example"])


@given(st.lists(st.builds(Scope, PATTERNS, PATTERNS, PATTERNS), max_size=8), st.lists(NAMES), NAMES, NAMES)
def test_what_wins_covers_the_path_and_nothing_that_covers_it_comes_later(
    scopes: list[Scope], groups: list[str], binding: str, site: str
) -> None:
    layers = in_order(layer(scope, str(number)) for number, scope in enumerate(scopes))
    found = sources_of(layers, groups, binding, site)
    covering = [one for one in layers if one.scope.covers(groups, binding, site)]
    assert (found["x"] if found else None) == (covering[-1] if covering else None)
    for one in covering:
        assert (one.scope.order, int(one.place)) <= (found["x"].scope.order, int(found["x"].place))


def test_a_group_is_heeded_for_its_members_only_and_several_may_be() -> None:
    layers = in_order([layer(Scope(group="a"), "first"), layer(Scope(group="b"), "second")])
    assert sources_of(layers, [], BINDING, SITE) == {}
    assert sources_of(layers, ["a"], BINDING, SITE)["x"].place == "first"
    assert sources_of(layers, ["b", "a"], BINDING, SITE)["x"].place == "second"


@pytest.mark.parametrize(
    ("lower", "higher"),
    [
        (Scope(site="*.example"), Scope(site="*.big.example")),
        (Scope(site="*.big.example"), Scope(site=SITE)),
        (Scope(group="*.pool"), Scope(group="my.pool")),
        (Scope(binding="a.ws"), Scope(group="*.pool", site="*.example")),
        (Scope(binding="a.ws"), Scope(group="my.pool", binding="a.ws")),
        (Scope(site="*.example"), Scope(site="@*.example")),
    ],
)
def test_within_a_level_the_exact_name_and_the_longer_suffix_win(lower: Scope, higher: Scope) -> None:
    assert lower.order < higher.order


def test_domains_of_their_own_are_covered_by_their_own_patterns() -> None:
    own = Scope(site="@*.own.test")
    assert own.covers([], BINDING, "@a.own.test")
    assert not own.covers([], BINDING, "a.own.test")
    assert Scope(site="*.own.test").covers([], BINDING, "@a.own.test")
    assert Scope().covers([], BINDING, "@a.own.test")
