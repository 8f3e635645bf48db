"""Stress: when it begins and ends, what it changes for strangers, and whom it does not touch."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.receive.client_history import WINDOW_SECONDS, ClientHistory, shared_history
from outrider.receive.inbound_options import InboundMailbox, Purpose
from outrider.receive.options import StressOptions
from outrider.receive.stress import Change, Load, Stress
from tests.receive.conftest import World, build

CALM = Load(0.1, 0.0)
STRANGER = "203.0.113.9"


@pytest.mark.parametrize(
    ("load", "reason"),
    [(Load(0.8, 0.0), "connections"), (Load(0.0, 1.0), "lag"), (Load(0.0, 0.0, "disk"), "disk")],
)
def test_each_sign_begins_it_and_only_a_lower_one_for_a_while_ends_it(load: Load, reason: str) -> None:
    stress = Stress(StressOptions(calm_seconds=30))
    assert stress.look(0, Load(0.79, 0.99)) is None
    assert stress.look(1, load) == Change(is_on=True, reason=reason)
    assert stress.look(2, load) is None
    assert stress.look(20, Load(0.61, 0.0)) is None  # above three quarters of what begins it
    assert stress.look(49, CALM) is None
    assert stress.is_on
    assert stress.look(50, CALM) == Change(is_on=False, reason=reason, seconds=49)
    assert stress.look(51, Load(0.79, 0.0)) is None
    assert not stress.is_on


def test_where_it_is_switched_off_it_never_begins() -> None:
    stress = Stress(StressOptions(enabled=False))
    assert stress.look(0, Load(1.0, 9.0, "memory")) is None
    assert not stress.is_on


@given(
    st.lists(st.tuples(st.floats(0, 40), st.floats(0, 1.2), st.floats(0, 3), st.sampled_from(["", "disk"])))
)
def test_begin_and_end_alternate_and_each_has_a_reason(
    steps: list[tuple[float, float, float, str]],
) -> None:
    stress, now = Stress(StressOptions()), 0.0
    changes: list[Change] = []
    for seconds, share, lag, shortage in steps:
        now += seconds
        change = stress.look(now, Load(share, lag, shortage))
        if change is not None:
            changes.append(change)
            assert stress.is_on is change.is_on
    assert [change.is_on for change in changes] == [number % 2 == 0 for number in range(len(changes))]
    assert all(change.reason for change in changes)


def stressed(**options: Any) -> World:
    """A listener for AUTH that is under stress."""
    merged: dict[str, Any] = {
        "offer_auth": True,
        "auth_without_tls": True,
        "trusted_networks": ("192.0.2.0/24",),
    } | options
    made = build(**merged)
    made.listener.look(5.0)
    assert made.listener.is_stressed
    return made


async def test_a_stranger_is_turned_away_and_a_trusted_client_is_served_as_ever() -> None:
    made = stressed()
    assert made.connect(STRANGER).take().startswith(b"421 4.3.2 Busy")
    trusted = made.connect("192.0.2.1")
    wrong = ["250 2.1.0 Sender ok", *["501 5.1.3 Bad recipient address syntax"] * 3]
    said = trusted.lines("HELO c.test", "MAIL FROM:<a@b.example>", *["RCPT TO:<x>"] * 3)
    assert said[-4:] == wrong
    assert made.intake.refusals[0][2].code == 421


async def test_who_authenticated_lately_may_come_again(running_world: Any) -> None:
    async with running_world(trusted_networks=(), auth_without_tls=True) as made:
        client = made.connect(STRANGER)
        client.lines("EHLO c.test", "AUTH PLAIN AGpvZQBzZWNyZXQ=")
        for _ in range(5):  # AUTH is a task of the listener
            await asyncio.sleep(0)
        assert client.session._server.authenticated
        made.listener.look(5.0)
        again = made.connect(STRANGER)
        assert again.take().startswith(b"220 ")
        made.clock.advance(3_601)
        assert made.connect(STRANGER).take().startswith(b"421 4.3.2 Busy")
        assert (
            client.session.deadline_at - made.clock.now() > -3_600 + 100
        )  # the authenticated keep their time


async def test_limits_of_an_open_session_tighten_and_loosen() -> None:
    made = build(stress={"errors": 2, "calm_seconds": 10})
    client = made.connect(STRANGER)
    usual = client.session.deadline_at
    made.listener.look(5.0)
    assert client.session.deadline_at == usual - 290
    made.clock.advance(11)
    made.listener.sweep()
    assert client.take().endswith(b"421 4.4.2 Idle too long, closing\r\n")
    made.listener.look(0.0)
    assert not made.listener.is_stressed
    late = made.connect(STRANGER)
    assert late.session.deadline_at - made.clock.now() == 300
    assert late.lines("HELO c.test", *["XXXX"] * 3)[-1] == "500 5.5.1 Unknown command"


async def test_errors_end_a_strangers_session_sooner() -> None:
    made = build()
    client = made.connect(STRANGER)
    client.lines("HELO c.test")
    made.listener.look(5.0)
    assert client.lines("XXXX")[-1] == "421 4.7.0 Too many errors, closing"


async def test_an_inbound_listener_goes_on_serving_but_fewer_connections_of_each_client() -> None:
    mailbox = (InboundMailbox(purpose=Purpose.BOUNCE, address="b@b.example"),)
    made = build(role="inbound", mailbox=mailbox, stress={"connections_per_client": 2})
    made.listener.look(5.0)
    greetings = [made.connect(STRANGER).take()[:3] for _ in range(3)]
    assert greetings == [b"220", b"220", b"421"]


async def test_connections_near_the_limit_are_stress_and_it_is_told_with_its_reason() -> None:
    made = build(limits={"connections": 10}, stress={"calm_seconds": 5})
    notices: list[tuple[str, dict[str, Any]]] = []
    made.listener._notice = lambda name, **facts: notices.append((name, facts))
    clients = [made.connect(f"203.0.113.{number}") for number in range(8)]
    made.listener.look(0.0)
    for client in clients:
        client.session.connection_lost(None)
    made.clock.advance(6)
    made.listener.look(0.0)
    assert notices == [
        ("listener.stressed", {"listener": "smtp", "reason": "connections", "sessions": 8, "seconds": 0.0}),
        ("listener.calm", {"listener": "smtp", "reason": "connections", "sessions": 0, "seconds": 6.0}),
    ]


# reload


async def test_a_reload_neither_ends_stress_nor_forgets_who_is_known() -> None:
    made = stressed(stress={"calm_seconds": 10}, limits={"connections_per_minute_per_client": 2})
    notices: list[str] = []
    made.listener._notice = lambda name, **_: notices.append(name)
    made.listener._context.history.known.note(STRANGER, made.clock.now())
    made.connect(STRANGER)
    fewer = made.listener.options.model_copy(update={"banner": "Two"})
    made.listener.reconfigure(fewer, intake=made.intake, tls=None)
    assert made.connect(STRANGER).take() == b"220 mx.outrider.test ESMTP Two\r\n"
    assert made.connect(STRANGER).take().startswith(b"421 4.7.0 Too many connections in a minute")
    assert made.connect("203.0.113.10").take().startswith(b"421 4.3.2 Busy")
    made.clock.advance(11)
    made.listener.look(0.0)
    assert notices == ["listener.calm"]


async def test_stress_that_is_switched_off_while_it_lasts_ends() -> None:
    made = stressed(stress={"calm_seconds": 10})
    off = made.listener.options.model_copy(update={"stress": StressOptions(enabled=False, calm_seconds=10)})
    made.listener.reconfigure(off, intake=made.intake, tls=None)
    made.clock.advance(11)
    made.listener.look(5.0)
    assert not made.listener.is_stressed


async def test_a_stop_reaches_sessions_that_began_before_reloads(running_world: Any) -> None:
    async with running_world() as made:
        client = made.connect()
        client.lines("HELO c.test", "MAIL FROM:<a@b.example>")
        for banner in ("Two", "Three"):
            options = made.listener.options.model_copy(update={"banner": banner})
            made.listener.reconfigure(options, intake=made.intake, tls=None)
        async with asyncio.TaskGroup() as group:
            drained = group.create_task(made.listener.drain(made.clock.now() + 60))
            await asyncio.sleep(0)
            assert not drained.done()
            assert client.lines("RSET")[-1] == "421 4.3.2 Service shutting down, try again later"


# rates


def test_a_rate_is_counted_by_client_and_minute_over_all_processes() -> None:
    shared = shared_history(2)
    one, two = (ClientHistory(shared, column).messages for column in range(2))
    assert [one.take("a", 2, 0.0), two.take("a", 2, 1.0), two.take("a", 2, 2.0), one.take("a", 2, 3.0)] == [
        True, True, False, False,
    ]  # fmt: skip
    assert two.take("b", 2, 3.0)
    assert one.take("a", 2, WINDOW_SECONDS)
    assert two.take("a", 2, WINDOW_SECONDS)
    assert not one.take("a", 2, WINDOW_SECONDS)


def test_connections_and_messages_are_counted_apart() -> None:
    history = ClientHistory()
    assert history.connections.take("a", 1, 0.0)
    assert history.messages.take("a", 1, 0.0)
    assert not history.messages.take("a", 1, 0.0)


def test_a_flood_of_clients_takes_no_more_memory_and_frees_nobody() -> None:
    shared = shared_history(1)
    rates, size = ClientHistory(shared).messages, len(shared)
    rates.take("a", 1, 0.0)
    for number in range(1_000):
        rates.take(f"client {number}", 1, 0.0)
    assert len(shared) == size
    assert not rates.take("a", 1, 0.0)


def test_who_authenticated_with_one_process_is_known_to_the_others() -> None:
    shared = shared_history(2)
    one, two = (ClientHistory(shared, column).known for column in range(2))
    assert not two.has("a", 0.0)
    one.note("a", 0.0)
    assert two.has("a", 3_599.0)
    assert not two.has("b", 1.0)
    assert not two.has("a", 3_600.0)


async def test_too_many_connections_or_messages_in_a_minute_are_deferred(world: Callable[..., World]) -> None:
    limits = {"connections_per_minute_per_client": 2, "messages_per_minute_per_client": 2}
    mailbox = (InboundMailbox(purpose=Purpose.BOUNCE, address="b@b.example"),)
    made = world(trusted_networks=(), role="inbound", mailbox=mailbox, limits=limits)
    client = made.connect(STRANGER)
    mails = ["MAIL FROM:<>", "RSET"] * 3
    said = client.lines("HELO c.test", *mails)
    assert said[-2:] == ["450 4.7.1 Too many messages in a minute from your address", "250 2.0.0 Ok"]
    assert said.count("250 2.1.0 Sender ok") == 2
    made.connect(STRANGER)
    assert made.connect(STRANGER).take().startswith(b"421 4.7.0 Too many connections in a minute")
    made.clock.advance(61)
    assert made.connect(STRANGER).take().startswith(b"220 ")
    assert client.lines("MAIL FROM:<>")[-1] == "250 2.1.0 Sender ok"


async def test_trusted_clients_have_no_rate(world: Callable[..., World]) -> None:
    made = world(limits={"connections_per_minute_per_client": 1, "messages_per_minute_per_client": 1})
    made.connect()
    client = made.connect()
    assert client.lines("HELO c.test", "MAIL FROM:<a@b.example>", "RSET", "MAIL FROM:<a@b.example>")[-1] == (
        "250 2.1.0 Sender ok"
    )


async def test_the_banner_is_the_operators(world: Callable[..., World]) -> None:
    assert world(banner="No UCE").connect().take() == b"220 mx.outrider.test ESMTP No UCE\r\n"
    assert world(banner="").connect().take() == b"220 mx.outrider.test ESMTP\r\n"
    with pytest.raises(ValueError, match="banner"):
        world(banner="a\r\nb")
