"""A disabled tenant's queue: nothing of it leaves, whatever dies, until the tenant is enabled again."""

import smtplib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.outrider_process import OutriderProcess, serving
from tests.e2e.practice import (
    DEFERS,
    Practice,
    await_events,
    await_restart,
    kill_child,
    log_lines,
    practising,
    provider,
    queue_is,
    send,
)
from tests.patience import PATIENCE_SECONDS
from tests.peers.processes import wait_until

WORLD = provider("closed", "closed.test", "127.30.9.1", DEFERS) + provider(
    "sender", "sender.test", "127.30.9.2"
)
LISTENER = """
[[listener]]
name = "acme"
address = "127.0.0.1"
port = 0
trusted_networks = ["127.0.0.0/8"]
tenant = "acme"
"""


@pytest.fixture
def practice() -> Iterator[Practice]:
    with practising(WORLD) as practice:
        yield practice


def of_acme(server: OutriderProcess) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.command("queue", "list", "--tenant", "acme")
    return found


def hold(server: OutriderProcess, message_id: str) -> None:
    """An operator holds a message; while a worker has it, that is to be asked again."""
    order = ("queue", "hold", "--id", message_id, "--reason", "a complaint", "--yes")
    wait_until(lambda: server.command(*order)["changed"] == 1, "the operator holds it")


def are_held(server: OutriderProcess, count: int) -> Callable[[], bool]:
    return lambda: (
        [(row["state"], row["held"]) for row in of_acme(server)] == [("held", "tenant disabled")] * count
    )


def test_nothing_leaves_while_disabled_and_all_of_it_afterwards(
    practice: Practice, serve: Callable[[str], OutriderProcess]
) -> None:
    server = serve(practice.configuration(more=LISTENER))
    server.command("tenant", "add", "acme", "--reason", "a test")
    for number in range(3):
        send(server.ports["acme"], f"acme-{number}@closed.test")
    complained = send(server.ports["acme"], "complaint@closed.test")
    send(server.ports["smtp"], "other@closed.test")
    wait_until(lambda: all(row["attempts"] for row in server.command("queue", "list")), "each was tried")
    hold(server, complained)

    # it is disabled by another process, and the dispatcher dies before or after it has heard of it
    server.command("tenant", "disable", "acme", "--reason", "complaints")
    await_restart(server, "dispatcher", kill_child(server, "dispatcher"))
    wait_until(lambda: len(log_lines(server, "dispatcher.granting")) == 2, "it grants again")
    wait_until(lambda: len([row for row in of_acme(server) if row["held"]]) == 4, "it is held")

    # its successor knows it from the start: others' mail leaves, and nothing of the disabled tenant
    practice.open("closed")
    await_restart(server, "dispatcher", kill_child(server, "dispatcher"))
    wait_until(queue_is(server, 4), "the other tenant's mail has gone")
    assert sorted(row["held"] for row in of_acme(server)) == ["a complaint"] + ["tenant disabled"] * 3
    with smtplib.SMTP("127.0.0.1", server.ports["acme"], timeout=PATIENCE_SECONDS) as client:
        client.ehlo("client.test")
        assert client.mail("shop@sender.test")[0] == 450

    # what somebody releases by hand is held again
    server.command("queue", "release", "--tenant", "acme", "--yes")
    wait_until(are_held(server, 4), "it is held again")
    hold(server, complained)
    assert practice.seen("closed").messages == 1

    # enabled again, all of it leaves but what is held for another reason
    server.command("tenant", "enable", "acme")
    wait_until(lambda: [row["held"] for row in of_acme(server)] == ["a complaint"], "it was released")
    assert practice.seen("closed").messages == 4
    assert [event.get("reason") for event in await_events(server, 7, "release")].count("tenant enabled") == 3
    assert {event["actor"] for event in await_events(server, 3, "hold")} > {"server"}


def test_the_server_may_stop_meanwhile_and_the_tenant_be_enabled_while_it_is_down(
    practice: Practice, tmp_path: Path
) -> None:
    configuration = practice.configuration(more=LISTENER)
    with serving(tmp_path / "server", configuration) as server:
        server.command("tenant", "add", "acme")
        for number in range(3):
            send(server.ports["acme"], f"acme-{number}@closed.test")
        server.command("tenant", "disable", "acme", "--reason", "a test")
        wait_until(are_held(server, 3), "it is held")
        server.kill()
    practice.open("closed")
    with serving(tmp_path / "server", configuration) as server:
        send(server.ports["smtp"], "other@closed.test")
        wait_until(lambda: practice.seen("closed").messages == 1, "the other tenant's mail has gone")
        assert are_held(server, 3)()
        assert server.stop() == 0
    server.command("tenant", "enable", "acme")
    with serving(tmp_path / "server", configuration) as server:
        wait_until(queue_is(server, 0), "all of it has gone")
    assert practice.seen("closed").messages == 4
