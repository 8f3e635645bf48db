"""What does not go out at once: retries, expiry, notices, reports, routes that fail, shared sites."""

from collections.abc import Callable

import pytest

from tests.e2e.outrider_process import OutriderProcess
from tests.e2e.practice import (
    Practice,
    await_events,
    events_of,
    provider,
    queue_is,
    reports_of,
    send,
)
from tests.peers.processes import wait_until

OURS = "127.30.1.99"
WORLD = (
    provider("grey", "grey.test", "127.30.1.1", "behaviour = { greylist_seconds = 1 }")
    + provider(
        "never", "never.test", "127.30.1.2", '[[provider.rule]]\non = "rcpt"\nreply = "450 4.2.0 Not today"'
    )
    + provider("sender", "sender.test", "127.30.1.3")
    + provider(
        "hard", "hard.test", "127.30.1.4", '[[provider.rule]]\non = "rcpt"\nreply = "550 5.1.1 No such user"'
    )
    + provider("old", "old.test", "127.30.1.5", 'behaviour = { extensions = ["PIPELINING", "SIZE"] }')
    + """
[[provider]]
name = "fallback"
domains = ["fallback.test"]
mx = [
  { name = "mx1.fallback.test", preference = 10, address = "127.30.1.6" },
  { name = "mx2.fallback.test", preference = 20, address = "127.30.1.7" },
]
[[provider]]
name = "shared"
domains = ["one.shared.test", "two.shared.test"]
mx = [
  { name = "mx1.shared.test", address = "127.30.1.8" },
  { name = "mx2.shared.test", address = "127.30.1.9" },
]
[[provider]]
name = "big"
domains = ["a.big.test"]
behaviour = { accept_any_domain = true }
mx = [{ name = "a-mx.big.test", address = "127.30.1.10" }]
[[provider]]
name = "big-too"
domains = ["b.big.test"]
behaviour = { accept_any_domain = true }
mx = [{ name = "b-mx.big.test", address = "127.30.1.11" }]

[[zone]]
name = "null.test"
answer = "null-mx"
[[zone]]
name = "missing.test"
answer = "nxdomain"
[[zone]]
name = "loop.test"
[[zone.record]]
name = "@"
type = "MX"
value = "10 here.loop.test."
[[zone.record]]
name = "here"
type = "A"
value = "127.30.1.99"
"""
)


Serve = Callable[[str], OutriderProcess]


def test_a_greylisting_site_takes_it_at_the_second_knock(practice: Practice, serve: Serve) -> None:
    server = serve(practice.configuration())
    message_id = send(server.ports["smtp"], "customer@grey.test")
    wait_until(lambda: practice.seen("grey").recipients == 1, "it was taken")
    count = practice.seen("grey").deferred + 1
    attempts = await_events(server, count, "transient", "delivery", message_id=message_id)
    assert [each["type"] for each in attempts] == ["transient"] * (len(attempts) - 1) + ["delivery"]
    assert attempts[-1]["attempts"] == len(attempts) >= 2
    assert practice.seen("grey").deferred == len(attempts) - 1


def test_expiry_is_told_once_to_the_sender_and_never_to_the_null_sender(
    practice: Practice, serve: Serve
) -> None:
    server = serve(
        practice.configuration(shaping="message_expiration_seconds = 2\ndelay_notice_after_seconds = 0")
    )
    before = practice.seen("sender").recipients
    first = send(server.ports["smtp"], "customer@never.test")
    null = send(server.ports["smtp"], "nobody@never.test", mail_from="")
    wait_until(lambda: len(events_of(server, "expiration")) == 2, "both have expired")
    wait_until(lambda: practice.seen("sender").recipients == before + 1, "the sender was told")
    wait_until(queue_is(server, 0), "the queue is empty")
    assert len(events_of(server, "expiration", message_id=first)) == 1
    assert len(events_of(server, "expiration", message_id=null)) == 1
    assert [event["recipient"] for event in reports_of(server)] == ["shop@sender.test"]
    assert len(events_of(server, "transient", message_id=first)) <= 4  # 0, 0.5, 1.5; the one at 2 is the last
    assert practice.seen("sender").recipients == before + 1


def test_a_delay_is_told_once(practice: Practice, serve: Serve) -> None:
    server = serve(practice.configuration(shaping="delay_notice_after_seconds = 0.4"))
    before = practice.seen("sender").recipients
    message_id = send(server.ports["smtp"], "customer@never.test")
    wait_until(lambda: len(events_of(server, "transient", message_id=message_id)) >= 4, "four attempts")
    assert [event["recipient"] for event in reports_of(server)] == ["shop@sender.test"]
    wait_until(lambda: practice.seen("sender").recipients == before + 1, "the sender was told")
    told = [each["delay_notified"] for each in events_of(server, "transient") if "delay_notified" in each]
    assert told.count(True) >= 2


def test_notify_never_is_silent_and_success_is_told(practice: Practice, serve: Serve) -> None:
    server = serve(practice.configuration())
    before = practice.seen("sender").recipients
    never = send(server.ports["smtp"], "customer@hard.test", options=("NOTIFY=NEVER",))
    asked = send(server.ports["smtp"], "customer@old.test", options=("NOTIFY=SUCCESS",))
    plain = send(server.ports["smtp"], "customer@hard.test")
    wait_until(lambda: practice.seen("sender").recipients == before + 2, "two reports")
    wait_until(queue_is(server, 0), "the queue is empty")
    assert len(await_events(server, 1, "bounce", message_id=never)) == 1
    assert len(await_events(server, 1, "bounce", message_id=plain)) == 1
    assert len(await_events(server, 1, "delivery", message_id=asked)) == 1
    assert [event["recipient"] for event in reports_of(server)] == ["shop@sender.test"] * 2


@pytest.mark.parametrize(
    ("domain", "enhanced"), [("null.test", "5.1.10"), ("missing.test", "5.1.2"), ("loop.test", "5.4.6")]
)
def test_a_domain_that_takes_no_mail_is_told_at_once(
    practice: Practice, serve: Serve, domain: str, enhanced: str
) -> None:
    # our own listener is at the address and port to which the MX of loop.test leads
    server = serve(practice.configuration(address=OURS, port=practice.internet.smtp_port))
    before = practice.seen("sender").recipients
    message_id = send(server.ports["smtp"], f"customer@{domain}", host=OURS)
    wait_until(lambda: practice.seen("sender").recipients == before + 1, "the sender was told")
    wait_until(queue_is(server, 0), "the queue is empty")
    bounces = await_events(server, 1, "bounce", message_id=message_id)
    assert [(event["reply_enhanced"], event["ours"], event["attempts"]) for event in bounces] == [
        (enhanced, True, 1)
    ]
    assert not events_of(server, "transient", message_id=message_id)


def test_the_second_exchanger_takes_what_the_first_cannot(practice: Practice, serve: Serve) -> None:
    server = serve(practice.configuration())
    first = next(one for one in practice.internet.listeners if one.host == "mx1.fallback.test")
    assert first.address == "127.30.1.6"
    practice.close("127.30.1.6")
    send(server.ports["smtp"], "customer@fallback.test")
    deliveries = await_events(server, 1, "delivery")
    assert [event["host"] for event in deliveries] == ["mx2.fallback.test"]
    assert [event["attempts"] for event in deliveries] == [1]


def test_domains_with_one_set_of_exchangers_share_a_path_and_its_limit(
    practice: Practice, serve: Serve
) -> None:
    site = "(mx1|mx2).shared.test"
    server = serve(
        practice.configuration(more=f'[[shaping.override]]\nsite = "{site}"\nmax_connections = 1\n')
    )
    tally = practice.load(
        server.ports["smtp"], count=60, domains=[("one.shared.test", 1.0), ("two.shared.test", 1.0)]
    ).result(60)
    wait_until(lambda: practice.owes_nothing(tally), "all were taken")
    assert practice.seen("shared").connections_most == 1
    deliveries = await_events(server, 60, "delivery")
    assert {event["site"] for event in deliveries} == {site}
    assert {event["domain"] for event in deliveries} == {"one.shared.test", "two.shared.test"}


def test_a_provider_pattern_makes_one_site_of_its_domains(practice: Practice, serve: Serve) -> None:
    pattern = '[[shaping.provider]]\nname = "bigmail"\nmx = ["*.big.test"]\n'
    server = serve(practice.configuration(more=pattern))
    send(server.ports["smtp"], "customer@a.big.test", "customer@b.big.test")
    assert {event["site"] for event in await_events(server, 2, "delivery")} == {"bigmail"}
    assert practice.seen("big").recipients + practice.seen("big-too").recipients == 2
