"""Which options hold for a path."""

import pytest
from pydantic import ValidationError

from outrider.model.flow import Path
from outrider.model.scopes import matches
from outrider.schedule.options import ProviderPattern, ScheduleOptions, ShapingOptions, ShapingOverride
from outrider.schedule.rate import Rate
from outrider.schedule.shaping import Shaping, ShapingTable


def shaping(path: tuple[str, str], *overrides: ShapingOverride) -> Shaping:
    table = ShapingTable(ScheduleOptions(override=overrides))
    return table.for_path(Path("smtp", *path))


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("*", "anything", True),
        ("mx.example", "mx.example", True),
        ("mx.example", "a.mx.example", False),
        ("*.mx.example", "a.mx.example", True),
        ("*.mx.example", "mx.example", False),
        ("*.mx.example", "badmx.example", False),
    ],
)
def test_matches(pattern: str, name: str, expected: bool) -> None:
    assert matches(pattern, name) is expected


def test_defaults_hold_where_nothing_matches() -> None:
    result = shaping(("b", "x.test"), ShapingOverride(site="y.test", max_connections=1))
    assert result.options.max_connections == 32
    assert result.sources == {}
    assert result.message_rate is None


def test_most_specific_first_field_by_field() -> None:
    overrides = (
        ShapingOverride(site="mx.big.example", binding="news", max_connections=1),
        ShapingOverride(binding="news", max_connections=2, window=20),
        ShapingOverride(site="mx.big.example", max_connections=3, window=30, smtp_port=2525),
        ShapingOverride(site="*.big.example", max_connections=4, window=40, max_message_rate="5/minute"),
        ShapingOverride(site="*.example", max_message_rate="6/minute", retry_interval_seconds=7),
        ShapingOverride(max_connections=9, retry_interval_seconds=9, max_connection_rate="9/minute"),
    )
    result = shaping(("news", "mx.big.example"), *overrides)
    options = result.options
    assert (options.max_connections, options.window, options.smtp_port) == (1, 20, 2525)
    assert result.message_rate == Rate(5, 60.0)
    assert options.retry_interval_seconds == 7
    assert result.connection_rate == Rate(9, 60.0)
    assert str(result.sources["window"].scope) == "news::*"
    assert str(result.sources["max_message_rate"].scope) == "*::*.big.example"
    assert shaping(("other", "mx.big.example"), *overrides).options.max_connections == 3
    assert shaping(("other", "x.big.example"), *overrides).options.max_connections == 4


def test_the_later_of_equals_wins() -> None:
    overrides = (ShapingOverride(site="a.test", window=1), ShapingOverride(site="a.test", window=2))
    assert shaping(("b", "a.test"), *overrides).options.window == 2


def test_domains_are_separate_sites() -> None:
    table = ShapingTable(ScheduleOptions(override=(ShapingOverride(domain="*.own.test", window=5),)))
    assert table.is_separate("a.own.test")
    assert not table.is_separate("own.test")
    assert table.for_path(Path("smtp", "b", "@a.own.test")).options.window == 5
    assert table.for_path(Path("smtp", "b", "a.own.test")).options.window == 2000


def test_a_limit_belongs_to_the_path_unless_shared() -> None:
    own = ShapingOverride(site="*.own.test", max_message_rate="1/minute", max_connections=2)
    shared = ShapingOverride(site="*.all.test", max_message_rate="1/minute", max_connections=2, shared=True)
    table = ShapingTable(ScheduleOptions(override=(own, shared)))
    a, b = (table.for_path(Path("smtp", "b", f"{name}.own.test")) for name in "ab")
    assert a.message_key != b.message_key
    assert a.pool_key is None
    c, d = (table.for_path(Path("smtp", "b", f"{name}.all.test")) for name in "cd")
    assert c.message_key == d.message_key != a.message_key
    assert c.pool_key == d.pool_key is not None
    assert c.connection_key != d.connection_key


def test_a_field_set_elsewhere_is_not_shared() -> None:
    shared = ShapingOverride(site="*.all.test", max_message_rate="1/minute", shared=True)
    closer = ShapingOverride(site="a.all.test", max_message_rate="2/minute")
    table = ShapingTable(ScheduleOptions(override=(shared, closer)))
    assert table.for_path(Path("smtp", "b", "a.all.test")).message_key == "messages smtp/b/a.all.test"


def test_an_override_can_lift_a_limit() -> None:
    options = ScheduleOptions(
        default=ShapingOptions(max_message_rate="1/minute"),
        override=(ShapingOverride(site="free.test", max_message_rate=""),),
    )
    assert ShapingTable(options).for_path(Path("smtp", "b", "free.test")).message_rate is None


def test_a_bad_rate_is_refused_where_it_stands() -> None:
    with pytest.raises(ValidationError, match="max_message_rate"):
        ShapingOptions(max_message_rate="fast")


GROUPS = {"a": ["pool"], "b": ["pool"], "c": ["others"]}


def test_members_of_a_group_take_its_options_by_value() -> None:
    table = ShapingTable(
        ScheduleOptions(override=(ShapingOverride(group="pool", max_message_rate="1/minute", window=7),)),
        GROUPS,
    )
    a, b, c = (table.for_path(Path("smtp", name, "x.test")) for name in "abc")
    assert (a.options.window, b.options.window, c.options.window) == (7, 7, 2000)
    assert a.message_rate == b.message_rate == Rate(1, 60.0)
    assert a.message_key != b.message_key
    assert c.message_rate is None


@pytest.mark.parametrize(
    ("selectors", "key"),
    [
        ({}, "*::*"),
        ({"site": "x.test"}, "*::x.test"),
        ({"group": "pool"}, "pool::*::*"),
        ({"binding": "a"}, "a::*"),
        ({"group": "pool", "site": "x.test"}, "pool::*::x.test"),
        ({"binding": "a", "site": "x.test"}, "a::x.test"),
        ({"group": "pool", "binding": "a", "site": "x.test"}, "pool::a::x.test"),
    ],
)
def test_a_shared_throttle_of_each_level_is_one_for_all_that_inherit_it(
    selectors: dict[str, str], key: str
) -> None:
    shared = ShapingOverride(**selectors, max_message_rate="1/minute", window=7, shared=True)
    own = ShapingOverride(group="pool", binding="a", site="y.test", max_message_rate="1/minute")
    table = ShapingTable(ScheduleOptions(override=(shared, own)), GROUPS)
    for binding in "abc":
        for site in ("x.test", "y.test"):
            found = table.for_path(Path("smtp", binding, site))
            inherits = found.sources.get("max_message_rate")
            if inherits is not None and inherits.shared:
                assert found.message_key == f"messages {key}"
            elif inherits is not None:  # set closer: a bucket of its own
                assert (binding, site) == ("a", "y.test")
                assert found.message_key == "messages smtp/a/y.test"
            else:
                assert found.message_rate is None
            assert (found.options.window == 7) is (found.sources.get("window") is not None)
    first = table.for_path(Path("smtp", "a", "x.test"))
    assert first.message_key == f"messages {key}"


def test_names_are_compared_without_case_and_domains_as_a_labels() -> None:
    """What an operator writes with capitals, or in letters of his own, is not silently without effect."""
    overrides = [
        ShapingOverride(site="SmartHost", max_connections=1),
        ShapingOverride(domain="Bücher.example", max_connections=2),
    ]
    table = ShapingTable(ScheduleOptions(override=tuple(overrides)))
    assert table.is_separate("xn--bcher-kva.example")
    assert table.for_path(Path("smtp", "b", "smarthost")).options.max_connections == 1
    assert table.for_path(Path("smtp", "b", "@xn--bcher-kva.example")).options.max_connections == 2
    assert ProviderPattern(name="big", mx=("*.MX.Example",)).mx == ("*.mx.example",)


@pytest.mark.parametrize("wrong", [{"site": "a*"}, {"site": "*a.example"}, {"domain": "a.example."}])
def test_patterns_that_would_never_match_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        ShapingOverride.model_validate(wrong)
