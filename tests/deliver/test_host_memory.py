"""Which hosts are tried first."""

from outrider.base.clock import FakeClock
from outrider.deliver.smtp.hosts import HOSTS_MAX, REMEMBER_SECONDS, HostMemory
from outrider.model.flow import Host

A, B, C = (Host(f"{name}.test", f"192.0.2.{number}", 25) for number, name in enumerate("abc"))


def test_a_host_that_failed_comes_last_for_a_while() -> None:
    clock = FakeClock()
    memory = HostMemory(clock)
    memory.failed(A)
    assert memory.order((A, B, C)) == [B, C, A]
    clock.advance(REMEMBER_SECONDS)
    assert memory.order((A, B, C)) == [A, B, C]


def test_a_success_clears_it() -> None:
    memory = HostMemory(FakeClock())
    memory.failed(A)
    memory.succeeded(A)
    memory.succeeded(B)
    assert memory.order((A, B, C)) == [A, B, C]


def test_hosts_that_all_failed_keep_their_order() -> None:
    memory = HostMemory(FakeClock())
    for host in (C, A, B):
        memory.failed(host)
    assert memory.order((A, B, C)) == [A, B, C]


def test_the_memory_is_bounded_and_forgets_the_oldest() -> None:
    memory = HostMemory(FakeClock())
    memory.failed(A)
    for number in range(HOSTS_MAX):
        memory.failed(Host("x.test", "198.51.100.1", number + 1))
    assert memory.order((A, B)) == [A, B]
