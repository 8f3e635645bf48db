"""What a worker knows of bindings: suspensions that it is told of, sites that it has seen, addresses."""

from random import Random

from outrider.base.clock import FakeClock
from outrider.deliver.binding_options import BindingOptions
from outrider.deliver.options import DeliveryTable
from outrider.deliver.resolve import DeliveryResolver
from outrider.model.dispatch import Suspended
from outrider.policy.bindings import Bindings
from outrider.policy.group_options import BindingGroupOptions
from outrider.schedule.options import ScheduleOptions, ShapingOverride
from outrider.schedule.shaping import ShapingTable
from outrider.server import binding_fitness
from outrider.server.binding_fitness import BindingFitness


def fitness(clock: FakeClock, *overrides: ShapingOverride, **addresses: str) -> BindingFitness:
    """Of bindings with these addresses."""
    own = [BindingOptions(name=name, source_addresses=(address,)) for name, address in addresses.items()]
    return BindingFitness(
        ShapingTable(ScheduleOptions(override=overrides)), DeliveryResolver(DeliveryTable(), own), clock
    )


def told(known: BindingFitness, *suspensions: tuple[str, str, str, float | None]) -> None:
    known.told(Suspended(suspensions))


def test_a_suspension_of_a_binding_counts_until_it_ends_or_is_lifted() -> None:
    clock = FakeClock()
    known = fitness(clock)
    assert not known.is_suspended("news", "one.test")
    told(known, ("*", "news", "*", clock.wall() + 60), ("smtp", "*.bills", "*", None))
    assert known.is_suspended("news", "one.test")
    assert known.is_suspended("my.bills", "one.test")
    assert not known.is_suspended("other", "one.test")
    clock.advance(60)
    assert not known.is_suspended("news", "one.test")
    assert known.is_suspended("my.bills", "one.test")
    told(known)
    assert not known.is_suspended("my.bills", "one.test")


def test_a_suspension_towards_a_site_counts_once_the_site_of_the_domain_was_seen() -> None:
    known = fitness(FakeClock())
    told(known, ("smtp", "news", "*.big.example", None))
    assert not known.is_suspended("news", "one.test")
    known.learned("one.test", "mx.big.example")
    assert known.is_suspended("news", "one.test")
    assert not known.is_suspended("news", "two.test")
    known.learned("one.test", "mx.other.example")
    assert not known.is_suspended("news", "one.test")


def test_other_channels_do_not_count() -> None:
    known = fitness(FakeClock())
    told(known, ("sms", "*", "*", None))
    assert not known.is_suspended("news", "one.test")


def test_options_that_suspend_count() -> None:
    known = fitness(
        FakeClock(),
        ShapingOverride(binding="news", suspended=True),
        ShapingOverride(binding="bills", site="mx.big.example", suspended=True),
    )
    assert known.is_suspended("news", "one.test")
    assert not known.is_suspended("bills", "one.test")
    known.learned("one.test", "mx.big.example")
    assert known.is_suspended("bills", "one.test")
    known.reshape(ShapingTable(ScheduleOptions()), DeliveryResolver(DeliveryTable()))
    assert not known.is_suspended("news", "one.test")


def test_addresses_of_this_host_are_told_from_others() -> None:
    known = fitness(FakeClock(), here="127.40.0.1", away="192.0.2.1")
    assert known.is_local("here")
    assert not known.is_local("away")
    assert known.is_local("nothing said")
    proxied = BindingOptions(name="far", source_addresses=("192.0.2.1",), proxy="haproxy://192.0.2.9:2525")
    known.reshape(ShapingTable(ScheduleOptions()), DeliveryResolver(DeliveryTable(), [proxied]))
    assert known.is_local("far")


def test_what_is_remembered_is_bounded() -> None:
    known = fitness(FakeClock())
    for number in range(binding_fitness.DOMAINS_MAX + 10):
        known.learned(f"{number}.test", "mx.test")
        known.is_suspended(str(number), "x.test")
    assert len(known._sites) == binding_fitness.DOMAINS_MAX
    assert len(known._answers) <= binding_fitness.ANSWERS_MAX


def test_a_group_heeds_it() -> None:
    known = fitness(FakeClock(), here="127.40.0.1", also="127.40.0.2", away="192.0.2.1")
    group = BindingGroupOptions.model_validate({"name": "pool", "members": ["here", "also", "away"]})
    bindings = Bindings(("here", "also", "away"), [group], "pool", Random(1), known)
    assert [bindings.choose("pool", "one.test") for _ in range(4)] == [
        ("here", "pool"),
        ("also", "pool"),
        ("here", "pool"),
        ("also", "pool"),
    ]
    told(known, ("smtp", "also", "*", None))
    assert [bindings.choose("pool", "one.test") for _ in range(2)] == [("here", "pool")] * 2
    told(known, ("smtp", "also", "*", None), ("smtp", "here", "*", None))
    assert bindings.choose("pool", "one.test") == ("away", "pool")
