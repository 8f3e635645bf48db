"""Ways to a host other than the usual one: LMTP, Unix sockets, TLS from the first octet, IPv6."""

from pathlib import Path

import pytest

from outrider.deliver.options import DeliveryOptions
from outrider.model.flow import Phase
from tests.deliver.conftest import Peer, World


def by_name(peer: Peer, verb: str, line: str) -> str | None:
    if verb == "CONTENT" and line == "c":
        return "452 4.2.2 Mailbox full"
    if verb == "CONTENT" and line == "d":
        return "550 5.7.1 Not here"
    return None


@pytest.mark.parametrize("features", [(), ("PIPELINING",), ("PIPELINING", "CHUNKING", "8BITMIME")])
@pytest.mark.parametrize("unix", [False, True])
async def test_each_recipient_has_the_stores_own_answer(
    world: World, tmp_path: Path, features: tuple[str, ...], unix: bool
) -> None:
    path = str(tmp_path / "lmtp") if unix else None
    peer = await world.peer(by_name, features=features, unix=path)
    entries = world.message("b", "c", "d", "e")
    more = world.message("f")
    async with world.running(protocol="lmtp", idle_seconds=0.01) as deliverer:
        world.answer_wants(deliverer, more)
        world.open_slot(deliverer, [peer], *entries)
        await world.report.until(lambda: world.report.ends)
    numbers = [granted.entry for granted in (*entries, *more)]
    body = Phase.BODY
    answers = [
        (250, body, False),
        (452, body, False),
        (550, body, False),
        (250, body, False),
        (250, body, False),
    ]
    assert world.report.codes() == dict(zip(numbers, answers, strict=True))
    assert [names for _, names, _ in peer.contents] == [("b", "e"), ("f",)]
    assert peer.verbs[:2] == ["CONNECT", "LHLO"]
    assert peer.count("BDAT") == 0
    outcome = world.report.outcomes[numbers[0]][0]
    assert outcome.peer == (f"unix:{path}" if unix else f"127.0.0.1:{peer.host.port}")


async def test_a_unix_socket_that_is_not_there_is_a_failure_of_ours(world: World, tmp_path: Path) -> None:
    peer = await world.peer(unix=str(tmp_path / "lmtp"))
    (tmp_path / "lmtp").unlink()
    entries = world.message()
    async with world.running(protocol="lmtp") as deliverer:
        world.open_slot(deliverer, [peer], *entries)
        await world.report.until(lambda: world.report.ends)
    ((outcome,),) = world.report.outcomes.values()
    assert (outcome.reply.code, outcome.phase, outcome.ours) == (451, Phase.CONNECT, True)
    assert "No such file" in outcome.reply.text


async def test_a_unix_socket_needs_no_tls_for_a_password(world: World, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret\n")
    peer = await world.peer(features=("AUTH PLAIN",), unix=str(tmp_path / "lmtp"))
    entries = world.message()
    async with world.running(
        protocol="lmtp", tls="required", auth_user="me", password_file=str(tmp_path / "password")
    ) as deliverer:
        world.open_slot(deliverer, [peer], *entries)
        await world.report.until(lambda: world.report.outcomes)
    assert peer.count("AUTH") == 1
    assert [outcome.reply.code for (outcome,) in world.report.outcomes.values()] == [250]


async def test_implicit_tls_speaks_tls_first_and_then_gives_the_password(
    world: World, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("secret")
    peer = await world.peer(features=("AUTH LOGIN PLAIN",), implicit=world.certificate())
    entries = world.message()
    async with world.running(
        tls="implicit", auth_user="me", password_file=str(tmp_path / "password")
    ) as deliverer:
        world.open_slot(deliverer, [peer], *entries)
        await world.report.until(lambda: world.report.outcomes)
    ((outcome,),) = world.report.outcomes.values()
    assert outcome.reply.code == 250
    assert outcome.tls is not None
    assert outcome.tls.startswith("TLSv1.")
    assert peer.count("STARTTLS") == 0
    assert peer.lines[peer.verbs.index("AUTH")] == "AUTH PLAIN AG1lAHNlY3JldA=="


async def test_implicit_tls_with_a_certificate_for_another_name_gives_nothing_away(world: World) -> None:
    peer = await world.peer(implicit=world.certificate("other.peer.test"))
    entries = world.message()
    async with world.running(tls="implicit") as deliverer:
        world.open_slot(deliverer, [peer], *entries)
        await world.report.until(lambda: world.report.ends)
    ((outcome,),) = world.report.outcomes.values()
    assert (outcome.reply.code, outcome.phase, outcome.ours) == (451, Phase.STARTTLS, True)
    assert peer.count("EHLO") == 0


async def test_implicit_tls_with_a_host_in_clear_text_fails_within_its_time(world: World) -> None:
    peer = await world.peer()
    entries = world.message()
    async with world.running(tls="implicit", starttls_seconds=0.2) as deliverer:
        world.open_slot(deliverer, [peer], *entries)
        await world.report.until(lambda: world.report.ends)
    ((outcome,),) = world.report.outcomes.values()
    assert outcome.ours
    assert outcome.reply.code == 451
    assert "failed: it answers in clear text, so STARTTLS may be its way" in outcome.reply.text


async def test_an_ipv6_host_is_delivered_to(world: World) -> None:
    peer = await world.peer(address="::1")
    entries = world.message()
    async with world.running() as deliverer:
        world.open_slot(deliverer, [peer], *entries)
        await world.report.until(lambda: world.report.outcomes)
    ((outcome,),) = world.report.outcomes.values()
    assert (outcome.reply.code, outcome.peer, outcome.source) == (250, f"[::1]:{peer.host.port}", "::1")


def test_a_password_needs_a_host_that_proves_its_name() -> None:
    with pytest.raises(ValueError, match="implicit"):
        DeliveryOptions(tls="off", auth_user="me", password_file="p")
    assert DeliveryOptions(tls="implicit", auth_user="me", password_file="p").auth_user == "me"
