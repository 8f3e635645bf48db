"""Receivers and name servers that are slow, silent or lie: good mail goes out, and theirs is kept.

All hostile providers of a kind stand in one world, each with a path of its own. That they hold nobody up is
seen without a clock: the good messages are delivered while none of the hostile ones is settled, because all
their deadlines are far away.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_args

import pytest

from outrider.sim.spite import Spite
from tests.e2e.outrider_process import OutriderProcess, serving
from tests.e2e.practice import Practice, await_events, events_of, practising, provider, queue_is, send
from tests.hostility.attack import largest_resident, unharmed
from tests.peers.processes import PeerError, wait_until

GOOD = provider("good", "good.test", "127.0.30.1")
PHASES = ("connect", "ehlo", "mail", "rcpt", "data", "body")
KINDS = [kind for kind in get_args(Spite) if kind != "none"]
GROWTH_OCTETS = 48 << 20
"""Chosen: the buffers of a few dozen connections; an endless reply sends this in a tenth of a second."""

FAR = """
[delivery.default]
chunking = false
idle_seconds = 1
starttls_seconds = 600
data_seconds = 600
block_seconds = 600
"""
SHORT = """
[delivery.default]
chunking = false
idle_seconds = 1
connect_seconds = 2
greeting_seconds = 2
ehlo_seconds = 2
starttls_seconds = 2
mail_seconds = 2
rcpt_seconds = 2
data_seconds = 2
block_seconds = 2
body_seconds = 2
quit_seconds = 1

[[delivery.override]]
site = "mx.good.test"
connect_seconds = 60
greeting_seconds = 60
ehlo_seconds = 60
mail_seconds = 60
rcpt_seconds = 60
data_seconds = 60
block_seconds = 60
body_seconds = 60
"""
"""The good have time: on a busy machine two seconds may pass beside so many who are hostile."""


def hostile(name: str, number: int, more: str) -> str:
    return provider(name, f"{name}.test", f"127.0.31.{number}", more)


def rule(on: str, action: str, more: str = "") -> str:
    return f'[[provider.rule]]\non = "{on}"\naction = "{action}"\n{more}'


@contextmanager
def standing(world: str, deadlines: str, **options: Any) -> Iterator[tuple[Practice, OutriderProcess]]:
    with practising(GOOD + world) as practice:
        folder = options.pop("folder")
        text = practice.configuration(workers=1, more=deadlines, **options)
        text = text.replace("retry_interval_seconds = 0.5", "retry_interval_seconds = 300", 1)
        text = text.replace("max_retry_interval_seconds = 1\n", "max_retry_interval_seconds = 600\n", 1)
        with serving(folder, text) as server:
            yield practice, server
            if server.process.poll() is None:
                unharmed(server)
                practice.call(hang_up(practice))


def good_mail_goes_out(practice: Practice, server: OutriderProcess, count: int = 20) -> None:
    before = practice.seen("good").messages
    for number in range(count):
        send(server.ports["smtp"], f"user{number}@good.test")
    wait_until(lambda: practice.seen("good").messages >= before + count, "good mail is delivered")


def settled(server: OutriderProcess) -> set[str]:
    """Domains of the hostile whose message was decided about at least once."""
    return {event["domain"] for event in events_of(server, "transient", "bounce", "delivery")} - {"good.test"}


async def hang_up(practice: Practice) -> None:
    """Who never reads does not hear that the other side is gone."""
    for each in practice.internet.providers.values():
        for connection in tuple(each._connections):
            connection.abort()


SLOW = {
    **{f"silent-{phase}": rule(phase, "stall") for phase in PHASES},
    **{f"trickle-{phase}": rule(phase, "spite", 'spite = "trickle"\n') for phase in PHASES},
    "deaf": rule("data", "deaf", 'reply = "354 Go on"\n'),
    "tarpit": "[provider.behaviour]\ndelay = { connect = 250, ehlo = 250, mail = 250 }\n",
    "one-octet-a-second": "[provider.behaviour]\nread_bytes_per_second = 1\n",
    **{
        f"tls-{fault}": f'[provider.behaviour]\ntls = {{ mode = "offer", fault = "{fault}" }}\n'
        for fault in ("stall", "stall-early", "stall-late")
    },
    "tls-then-silent": '[provider.behaviour]\ntls = { mode = "offer" }\n'
    + rule("ehlo", "stall", "every = 2\n"),
}


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Practice, OutriderProcess]]:
    world = "".join(hostile(name, number, more) for number, (name, more) in enumerate(SLOW.items(), 1))
    with standing(world, FAR, folder=tmp_path_factory.mktemp("slow")) as (practice, server):
        yield practice, server
        unharmed(server)
        server.kill()  # their deadlines are minutes
        practice.call(hang_up(practice))


def test_good_mail_passes_all_who_are_slow(slow: tuple[Practice, OutriderProcess]) -> None:
    practice, server = slow
    good_mail_goes_out(practice, server, 1)
    before = largest_resident(server)
    for name in SLOW:
        # Over the window of a connection, so that the deaf close it.
        send(
            server.ports["smtp"],
            f"user@{name}.test",
            body=("x" * 70 + "\r\n") * 60_000 if name == "deaf" else "x",
        )
    wait_until(
        lambda: all(practice.seen(name).connections == 1 for name in SLOW), "each of them holds a connection"
    )
    good_mail_goes_out(practice, server)
    assert settled(server) == set()
    assert all(practice.seen(name).connections == 1 for name in SLOW)
    assert largest_resident(server) - before < GROWTH_OCTETS
    assert server.command("queue", "count")["count"] == len(SLOW)


SPITEFUL = {
    f"{kind}-{phase}": rule(phase, "spite", f'spite = "{kind}"\n') for kind in KINDS for phase in PHASES
}
WHOLE = ("controls", "bare-line-ends", "extra-replies", "wrong-code")
PLAIN_TEXT = {f"{name}.test" for name in SLOW if name.startswith("tls-")}
"""Where TLS fails, mail goes in clear text unless the path requires it."""

LEAVING = {f"{action}-{phase}": rule(phase, action) for action in ("drop", "disconnect") for phase in PHASES}


@pytest.mark.parametrize("which", ["spiteful", "leaving"])
def test_mail_for_the_hostile_is_kept_and_bounded(which: str, tmp_path: Any) -> None:
    tempers = (
        SPITEFUL if which == "spiteful" else {**LEAVING, **{k: v for k, v in SLOW.items() if "tls" in k}}
    )
    world = "".join(hostile(name, number, more) for number, (name, more) in enumerate(tempers.items(), 1))
    with standing(world, SHORT, folder=tmp_path / "server") as (practice, server):
        good_mail_goes_out(practice, server, 1)
        before = largest_resident(server)
        for name in tempers:
            send(server.ports["smtp"], f"user@{name}.test")
        good_mail_goes_out(practice, server)
        domains = {f"{name}.test" for name in tempers}
        wait_until(lambda: settled(server) >= domains, "each was tried")
        lost = {event["domain"] for event in events_of(server, "bounce")} & domains
        taken = {event["domain"] for event in events_of(server, "delivery")} & domains
        # A whole 250 is a yes, however strangely it is said; what such a peer says next is its own affair.
        assert lost | taken <= {f"{kind}-{phase}.test" for kind in WHOLE for phase in PHASES} | PLAIN_TEXT
        count = len(domains - lost - taken)
        wait_until(queue_is(server, count), f"{count} stay in the queue")
        assert largest_resident(server) - before < GROWTH_OCTETS
        for event in events_of(server, "transient"):
            assert str(event.get("reply", "")).isprintable(), event


def records(domain: str, *lines: str, more: str = "") -> str:
    """A zone with records `name type value`."""
    made = ",\n  ".join(
        '{{ name = "{}", type = "{}", value = "{}" }}'.format(*line.split(" ", 2)) for line in lines
    )
    return f'[[zone]]\nname = "{domain}"\n{more}record = [\n  {made}\n]\n'


LIARS = {
    **{
        f"lie-{lie}": records(f"lie-{lie}.test", "@ MX 10 mx.good.test.", more=f'lie = "{lie}"\n')
        for lie in ("wrong-id", "wrong-question", "garbage", "cut")
    },
    "servfail": '[[zone]]\nname = "servfail.test"\nanswer = "servfail"\n',
    "refused": '[[zone]]\nname = "refused.test"\nanswer = "refused"\n',
    "silent": '[[zone]]\nname = "silent.test"\nanswer = "silent"\n',
    "slow-dns": records("slow-dns.test", "@ MX 10 mx.good.test.", more="delay_seconds = 60\n"),
    "thousand": records("thousand.test", *(f"@ MX {n} mx{n}.thousand.test." for n in range(1, 1000))),
}
"""What a later look-up may mend: kept."""

FALSE = {
    "cname-loop": records("cname-loop.test", "@ CNAME a.cname-loop.test.", "a CNAME cname-loop.test."),
    "mx-loop": records(
        "mx-loop.test", "@ MX 10 a.mx-loop.test.", "a CNAME b.mx-loop.test.", "b CNAME a.mx-loop.test."
    ),
    "loopback": records("loopback.test", "@ MX 10 mx.loopback.test.", "mx A 127.9.9.9"),
    "private": records("private.test", "@ MX 10 mx.private.test.", "mx A 10.1.2.3", "mx A 192.168.1.1"),
    "metadata": records("metadata.test", "@ MX 10 mx.metadata.test.", "mx A 169.254.169.254"),
    "mapped": records("mapped.test", "@ MX 10 mx.mapped.test.", "mx AAAA ::ffff:127.9.9.9"),
    "localhost": records("localhost.test", "@ MX 0 localhost."),
    "nowhere": records("nowhere.test", "@ MX 10 gone.nowhere.test."),
    "null": '[[zone]]\nname = "null.test"\nanswer = "null-mx"\n',
    "number": records("number.test", "@ MX 10 127.0.0.1."),
}
"""What leads nowhere or where mail must not go: never connected to."""

HONEST = {
    "flood": records("flood.test", "@ MX 10 mx.good.test.", more='lie = "flood"\n'),
    "truncated": records("truncated.test", "@ MX 10 mx.good.test.", more="truncate = true\n"),
    "seconds": records("seconds.test", "@ MX 10 mx.good.test.", more="delay_seconds = 1.5\n"),
    "hundred": records(
        "hundred.test", "@ MX 1 mx.good.test.", *(f"@ MX {n} mx{n}.hundred.test." for n in range(2, 102))
    ),
    "huge": records(
        "huge.test",
        "@ MX 10 mx.good.test.",
        *(f"@ TXT '{'x' * 200}{n}'".replace("'", '\\"') for n in range(200)),
    ),
}
"""What is odd and yet true: delivered."""


def test_lying_dns_holds_nobody_up_and_leads_nowhere(tmp_path: Any) -> None:
    good = GOOD.replace(
        'domains = ["good.test"]', 'domains = ["good.test", ' + ", ".join(f'"{n}.test"' for n in HONEST) + "]"
    )
    zones = "".join((LIARS | FALSE | HONEST).values())
    world = good + zones
    with practising(world) as practice:
        text = practice.configuration(workers=1, more=SHORT)
        text = text.replace(
            'allowed_target_networks = ["127.0.0.0/8"]', 'allowed_target_networks = ["127.0.30.0/24"]'
        )
        text = text.replace("retry_interval_seconds = 0.5", "retry_interval_seconds = 5", 1)
        text = text.replace("max_retry_interval_seconds = 1\n", "max_retry_interval_seconds = 5\n", 1)
        with serving(tmp_path / "server", text) as server:
            for name in (*LIARS, *FALSE, *HONEST):
                send(server.ports["smtp"], f"user@{name}.test")
            good_mail_goes_out(practice, server)
            delivered = {f"{name}.test" for name in HONEST} | {"good.test"}
            try:
                wait_until(
                    lambda: {event["domain"] for event in events_of(server, "delivery")} >= delivered,
                    "the true are delivered, at the second try where a look-up was late",
                    60,
                )
            except PeerError as error:
                told = [
                    (event["type"], event["domain"], event.get("reply"))
                    for event in events_of(server, "delivery", "deferral", "bounce")
                ]
                error.add_note(f"{told}")
                raise
            bounced = {event["domain"] for event in await_events(server, 1, "bounce")}
            assert not bounced & {f"{name}.test" for name in (*LIARS, *HONEST)}
            assert {event["domain"] for event in events_of(server, "delivery")} == delivered
            unharmed(server)
