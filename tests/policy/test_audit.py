"""What listeners count by network: windows that slide, sessions that end, workers that die, no room."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from pydantic import ValidationError

from outrider.base.clock import FakeClock
from outrider.base.errors import UnavailableError
from outrider.base.log import ListLog
from outrider.model.ends import Ends
from outrider.policy.audit import PREFIXES, Audit, Kind, Monitor, networks_of, parse_monitor, parse_network
from outrider.policy.options import PolicyOptions
from outrider.policy.shared import SharedCells, create_cells
from tests.policy.acting import HTTP, SMTP, Stage

MINUTES = Monitor(60, 3)
SECONDS = Monitor(1, 10)
CLIENT = parse_network("192.0.2.1")
OFFICE = parse_network("192.0.2.0/24")


class Site:
    """Numbers of two workers."""

    def __init__(self, slots: int = 4_096) -> None:
        self.clock = FakeClock()
        self.clock.step_wall(-self.clock.wall() % 60)
        self.log = ListLog()
        self.cells = create_cells(None, slots)
        self.workers = [self.audit(column) for column in range(2)]

    def audit(self, column: int = 0) -> Audit:
        def cells() -> SharedCells:
            return self.cells

        listeners = frozenset({"smtp"})
        return Audit((MINUTES, SECONDS), listeners, 2, cells, self.clock.wall, self.log, column)


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.cells.close()


def test_windows_are_of_all_workers_and_go_one_by_one(site: Site) -> None:
    one, other = site.workers
    for audit in (one, other, one):
        audit.connected("192.0.2.1")
    site.clock.advance(60)
    other.connected("192.0.2.2")
    found = [one.total("connections", MINUTES, OFFICE, at, at) for at in range(4)]
    assert found == [1, 3, 0, 0]
    assert [other.total("connections", MINUTES, CLIENT, 0, last) for last in (0, 1, 2, 99)] == [0, 3, 3, 3]
    assert one.total("connections", SECONDS, OFFICE, 0, 9) == 1
    site.clock.advance(9)
    assert one.total("connections", SECONDS, OFFICE, 0, 9) == 1
    site.clock.advance(1)
    assert one.total("connections", SECONDS, OFFICE, 0, 9) == 0
    site.clock.advance(110)
    assert one.total("connections", MINUTES, OFFICE, 0, 2) == 1
    site.clock.advance(60)
    assert one.total("connections", MINUTES, OFFICE, 0, 2) == 0


def test_kinds_are_counted_apart_and_at_the_listeners_that_scripts_know(site: Site) -> None:
    one, other = site.workers
    one.connected("192.0.2.1")
    for origin in (SMTP, SMTP, HTTP, replace(SMTP, listener="inbound"), replace(SMTP, client="")):
        other.received(origin)
    for origin in (SMTP, SMTP, SMTP, HTTP):
        one.refused(origin)
    kinds: tuple[Kind, ...] = ("connections", "receptions", "rejections")
    assert [one.total(kind, MINUTES, CLIENT, 0, 0) for kind in kinds] == [1, 2, 3]


def test_sessions_of_a_network_are_those_that_are_open(site: Site) -> None:
    one, other = site.workers
    one.connected("192.0.2.1")
    other.connected("192.0.2.1")
    other.connected("192.0.2.9")
    assert (one.sessions(CLIENT), one.sessions(OFFICE), other.sessions(OFFICE)) == (2, 3, 3)
    site.clock.advance(3_600)
    one.left("192.0.2.1")
    assert (one.sessions(CLIENT), one.sessions(OFFICE)) == (1, 2)
    for client in ("192.0.2.1", "192.0.2.9"):
        other.left(client)
    assert (one.sessions(CLIENT), one.sessions(OFFICE)) == (0, 0)
    one.left("192.0.2.1")  # one that was not counted, as when its number had to go
    one.connected("192.0.2.1")
    assert one.sessions(CLIENT) == 1


def test_sessions_of_a_worker_that_died_are_over_when_its_successor_begins(site: Site) -> None:
    one, other = site.workers
    for audit in (one, other):
        for client in ("192.0.2.1", "2001:db8::1"):
            audit.connected(client)
    site.audit(1).begin()
    assert one.sessions(CLIENT) == one.sessions(parse_network("2001:db8::/32")) == 1
    assert one.total("connections", MINUTES, CLIENT, 0, 0) == 2


def test_a_session_counts_until_it_is_closed_once_and_a_request_never(site: Site, tmp_path: Path) -> None:
    audit = site.audit()
    door = Stage(tmp_path, "def connect(connection):\n    pass", audit=audit).door
    session = door.open(SMTP, Ends())
    request = door.open(HTTP)
    assert (audit.sessions(CLIENT), audit.total("connections", MINUTES, CLIENT, 0, 0)) == (1, 1)
    request.close()
    assert audit.sessions(CLIENT) == 1
    other = door.open(SMTP, Ends())
    for _ in range(2):
        session.close()
    assert (audit.sessions(CLIENT), audit.total("connections", MINUTES, CLIENT, 0, 0)) == (1, 2)
    other.close()
    assert audit.sessions(CLIENT) == 0


def test_where_nothing_can_be_counted_nobody_is_refused_and_the_log_says_so_now_and_then() -> None:
    def none() -> SharedCells:
        raise UnavailableError("nothing is counted here")

    clock, log = FakeClock(), ListLog()
    audit = Audit((MINUTES,), frozenset({"smtp"}), 1, none, clock.wall, log)
    for _ in range(2):
        audit.begin()
        audit.connected("192.0.2.1")
        audit.left("192.0.2.1")
        audit.received(SMTP)
        clock.advance(60)
    assert [name for _, name, _ in log.lines] == ["policy.audit_not_counted"] * 2


def test_too_little_room_is_told() -> None:
    site = Site(slots=64)
    for number in range(100):
        site.workers[0].connected(f"192.0.2.{number}")
    assert "raise policy.shared_numbers" in str(site.log.lines)
    site.cells.close()


@pytest.mark.parametrize("client", ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"])
def test_each_network_of_an_address_can_be_asked_for(client: str) -> None:
    version = parse_network(client).version
    asked = [parse_network(f"{client}/{each}") for each in reversed(PREFIXES[version])]
    assert [str(each).encode() for each in asked] == list(networks_of(client))
    assert networks_of("") == networks_of("x") == ()


@pytest.mark.parametrize("text", ["192.0.2.1/25", "192.0.2.1/0", "2001:db8::/16"])
def test_networks_of_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="networks are counted for /"):
        parse_network(text)
    assert parse_network("192.0.2.1/255.255.255.0") == OFFICE


@pytest.mark.parametrize(
    "text", ["", "60", "60,1,1", "0,1", "60,0", "60,1441", "86401,1", "a,1", "-1,1", "1.5,1"]
)
def test_what_is_no_monitor_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="monitor"):
        parse_monitor(text)
    with pytest.raises(ValidationError, match="monitor"):
        PolicyOptions(audit_monitors=(text,))


def test_monitors_are_configured_once_each() -> None:
    assert parse_monitor(" 60, 1") == Monitor(60, 1)
    assert PolicyOptions(audit_monitors=("60,1", "3600,24")).audit_monitors == ("60,1", "3600,24")
    with pytest.raises(ValidationError, match="'60,1' is there twice"):
        PolicyOptions(audit_monitors=("60,1", "60, 1"))
