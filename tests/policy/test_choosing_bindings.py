"""How a binding is found: names, groups in each order, the default, and members that are not fit."""

from collections import Counter
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from outrider.policy.bindings import Bindings
from outrider.policy.group_options import BindingGroupOptions

NAMES = ("a", "b", "c", "d")


@dataclass
class Known:
    """What is known of bindings."""

    suspended: set[str] = field(default_factory=set)
    away: set[str] = field(default_factory=set)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def is_suspended(self, binding: str, domain: str) -> bool:
        self.asked.append((binding, domain))
        return binding in self.suspended

    def is_local(self, binding: str) -> bool:
        return binding not in self.away


def group(order: str = "round_robin", *members: object) -> BindingGroupOptions:
    return BindingGroupOptions.model_validate(
        {"name": "pool", "order": order, "members": list(members or NAMES)}
    )


def bindings(options: BindingGroupOptions, known: Known | None = None, default: str = "a") -> Bindings:
    return Bindings(NAMES, [options], default, Random(7), known)


def chosen(of: Bindings, count: int, domain: str = "one.test") -> Counter[str]:
    choices = [of.choose("pool", domain) or ("", "") for _ in range(count)]
    assert {group for _, group in choices} <= {"pool"}
    return Counter(binding for binding, _ in choices)


@given(st.integers(1, 30), st.integers(0, 10))
def test_round_robin_is_exact_over_each_cycle(cycles: int, before: int) -> None:
    of = bindings(group())
    chosen(of, before)
    assert chosen(of, cycles * len(NAMES)) == dict.fromkeys(NAMES, cycles)


@given(st.sets(st.sampled_from(NAMES)), st.sets(st.sampled_from(NAMES)), st.integers(0, 10))
def test_the_fittest_members_take_turns(suspended: set[str], away: set[str], before: int) -> None:
    known = Known()
    of = bindings(group(), known)
    chosen(of, before)
    known.suspended, known.away = suspended, away
    running = set(NAMES) - suspended
    fittest = (running - away) or running or set(NAMES)
    assert chosen(of, 3 * len(fittest)) == dict.fromkeys(fittest, 3)


@pytest.mark.parametrize(
    ("order", "weights"), [("random", (1, 1, 1, 1)), ("weighted", (1, 2, 3, 4)), ("weighted", (0, 0, 1, 5))]
)
def test_chance_heeds_the_weights(order: str, weights: tuple[int, ...]) -> None:
    members = [
        {"binding": name, "weight": weight} for name, weight in zip(NAMES, weights, strict=True) if weight
    ]
    found = chosen(bindings(group(order, *members)), 20_000)
    for name, weight in zip(NAMES, weights, strict=True):
        # five standard deviations of a share of 20,000 draws are below 0.018
        assert abs(found[name] / 20_000 - weight / sum(weights)) < 0.018


def test_a_suspended_member_gives_its_share_to_the_others_by_their_weights() -> None:
    members = [{"binding": "a", "weight": 8}, {"binding": "b", "weight": 1}, {"binding": "c", "weight": 3}]
    found = chosen(bindings(group("weighted", *members), Known({"a"})), 20_000)
    assert found["a"] == 0
    assert abs(found["c"] / 20_000 - 0.75) < 0.018


def test_where_mail_goes_is_asked_about() -> None:
    known = Known()
    known.suspended = {"a"}
    bindings(group("round_robin", "a", "b", "c"), known).choose("pool", "one.test")
    assert known.asked == [("a", "one.test"), ("b", "one.test")]


@pytest.mark.parametrize("order", ["round_robin", "weighted"])
def test_a_choice_from_a_large_group_looks_at_few(order: str) -> None:
    names = [f"n{number}" for number in range(10_000)]
    known = Known()
    options = BindingGroupOptions.model_validate({"name": "pool", "order": order, "members": names})
    of = Bindings(names, [options], "pool", Random(7), known)
    for _ in range(1000):
        of.choose("pool", "one.test")
    assert len(known.asked) == 1000


def test_chance_is_fair_among_the_fit_where_most_are_not() -> None:
    known = Known({"a", "b"})
    weights = {"a": 50, "b": 40, "c": 1, "d": 3}
    members = [{"binding": name, "weight": weight} for name, weight in weights.items()]
    found = chosen(bindings(group("weighted", *members), known), 20_000)
    assert found["a"] == found["b"] == 0
    assert abs(found["d"] / 20_000 - 0.75) < 0.018


def test_names_groups_and_defaults() -> None:
    of = bindings(group())
    assert "a" in of
    assert "pool" in of
    assert "x" not in of
    assert of.choose("b", "one.test") == ("b", "")
    assert of.choose("x", "one.test") is None
    assert of.initial == "a"
    assert of.choose_default("one.test") == ("a", "")
    pooled = bindings(group(), default="pool")
    assert pooled.initial == ""
    assert pooled.choose_default("one.test") == ("a", "pool")
    assert bindings(group(), default="none").choose_default("one.test") is None


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"name": "none", "members": ["a"]}, "means no binding"),
        ({"name": "p", "members": []}, "at least 1"),
        ({"name": "p", "members": ["a", "b", "a"]}, "names 'a' twice"),
        ({"name": "p", "members": [{"binding": "a", "weight": 2}]}, 'order = "weighted"'),
        ({"name": "p", "order": "weighted", "members": [{"binding": "a", "weight": 0}]}, "greater than"),
        ({"name": "a::b", "members": ["a"]}, "pattern"),
        ({"name": "p", "order": "best", "members": ["a"]}, "round_robin"),
    ],
)
def test_groups_that_make_no_sense_are_refused(values: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        BindingGroupOptions.model_validate(values)
