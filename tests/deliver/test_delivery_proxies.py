"""Connections by way of SOCKS 5 and PROXY-protocol proxies; what fails is told, and whose fault it is."""

import asyncio
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from outrider.model.flow import Host, Phase
from tests.deliver.proxies import Socks, Told

if TYPE_CHECKING:
    from tests.deliver.conftest import Peer, World


def at(kind: str, host: Host) -> str:
    return f"{kind}://{host.address}:{host.port}"


async def delivered(world: "World", peers: "list[Peer | Host]", **options: Any) -> tuple[int, str, str]:
    """Code, text and source of the outcome of one message."""
    async with world.running(**options) as deliverer:
        slot = world.open_slot(deliverer, peers, *world.message())
        await world.report.until(lambda: slot in world.report.ends or world.report.outcomes)
    [[outcome]] = world.report.outcomes.values()
    if outcome.reply.code != 250:
        assert outcome.ours
        assert outcome.phase is Phase.CONNECT
    return outcome.reply.code, outcome.reply.text, outcome.source


@pytest.mark.parametrize("slow", [False, True])
async def test_a_socks_proxy_connects_for_us(world: "World", slow: bool) -> None:
    peer = await world.peer()
    socks = Socks(source="127.0.0.9", slow=slow)
    proxy = await world.listening(socks.serve)
    code, _, source = await delivered(world, [peer], proxy=at("socks5", proxy), ehlo_name="far.test")
    assert (code, source) == (250, "127.0.0.9")
    assert socks.asked == [(peer.host.address, peer.host.port)]
    assert "EHLO far.test" in peer.lines
    assert len(peer.contents) == 1


async def test_a_socks_proxy_gets_user_and_password(world: "World", tmp_path: Path) -> None:
    (tmp_path / "password").write_text("a secret\n", encoding="utf-8")
    peer = await world.peer()
    proxy = await world.listening(Socks(password="a secret").serve)
    code, _, _ = await delivered(
        world,
        [peer],
        proxy=at("socks5", proxy),
        proxy_user="user",
        proxy_password_file=str(tmp_path / "password"),
    )
    assert code == 250


async def test_a_connection_through_it_carries_many_messages_and_starttls(world: "World") -> None:
    peer = await world.peer(tls=world.certificate("mx.peer.test"))
    proxy = await world.listening(Socks().serve)
    entries = [entry for _ in range(20) for entry in world.message()]
    async with world.running(proxy=at("socks5", proxy), tls="required") as deliverer:
        world.answer_wants(deliverer, entries[1:])
        world.open_slot(deliverer, [peer], entries[0])
        await world.report.until(lambda: world.report.ends)
    assert peer.connections == 1
    assert len(peer.contents) == 20


async def test_tls_from_the_first_octet_goes_through_it(world: "World") -> None:
    context: ssl.SSLContext = world.certificate("mx.peer.test")
    peer = await world.peer(implicit=context)
    proxy = await world.listening(Socks().serve)
    code, _, _ = await delivered(world, [peer], proxy=at("socks5", proxy), tls="implicit")
    assert code == 250


async def test_a_proxy_is_told_from_where_to_connect(world: "World") -> None:
    peer = await world.peer()
    told = Told()
    proxy = await world.listening(told.serve)
    code, _, source = await delivered(
        world, [peer], proxy=at("haproxy", proxy), source_addresses=("127.0.0.8", "2001:db8::8")
    )
    assert (code, source) == (250, "127.0.0.8")
    assert told.headers == [("127.0.0.8", 0, peer.host.address, peer.host.port)]


@pytest.mark.parametrize(
    ("code", "said", "remembered"),
    [
        (1, "general failure", False),
        (2, "not allowed by its rules", False),
        (4, "host unreachable", True),
        (5, "connection refused", True),
    ],
)
async def test_what_the_proxy_says_of_a_host_is_told_and_the_next_host_is_tried(
    world: "World", code: int, said: str, remembered: bool
) -> None:
    socks = Socks(code=code)
    proxy = await world.listening(socks.serve)
    hosts: list[Peer | Host] = [Host("a.test", "198.51.100.1", 25), Host("b.test", "198.51.100.2", 25)]
    async with world.running(proxy=at("socks5", proxy)) as deliverer:
        world.open_slot(deliverer, hosts, *world.message())
        await world.report.until(lambda: world.report.ends)
        assert len(deliverer._memory._failed) == (2 if remembered else 0)
    [[outcome]] = world.report.outcomes.values()
    assert f"by way of our proxy failed: {said}" in outcome.reply.text
    told = [fields for _, event, fields in world.log.lines if event == "deliver.proxy_failed"]
    assert [fields["proxy"] for fields in told] == [at("socks5", proxy)] * 2
    assert [address for address, _ in socks.asked] == ["198.51.100.1", "198.51.100.2"]


async def test_a_proxy_that_is_not_there_is_no_fault_of_the_hosts(world: "World") -> None:
    peer, second = await world.peer(), await world.peer(name="second.test")
    proxy = await world.refusing()
    async with world.running(proxy=at("socks5", proxy)) as deliverer:
        world.open_slot(deliverer, [peer, second], *world.message())
        await world.report.until(lambda: world.report.ends)
        assert not deliverer._memory._failed
    [[outcome]] = world.report.outcomes.values()
    assert outcome.reply.code == 451
    assert outcome.reply.text.endswith("by way of our proxy failed: it is not reached: Connection refused")
    assert outcome.host == peer.host.name  # the second one was not tried
    assert peer.connections == second.connections == 0


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"\5\xff", "another kind of authentication"),
        (b"HTTP/1.1 400 Bad\r\n", "does not speak SOCKS 5"),
        (b"", "it closed the connection"),
        (b"\5\0\5", "it closed the connection"),
    ],
)
async def test_what_is_no_proxy_or_not_ours_is_told(world: "World", answer: bytes, said: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(answer)
        await writer.drain()
        writer.close()

    code, text, _ = await delivered(
        world, [await world.peer()], proxy=at("socks5", await world.listening(serve))
    )
    assert code == 451
    assert said in text


async def test_a_wrong_password_is_told(world: "World", tmp_path: Path) -> None:
    (tmp_path / "password").write_text("wrong", encoding="utf-8")
    proxy = await world.listening(Socks(password="right").serve)
    options = {"proxy_user": "user", "proxy_password_file": str(tmp_path / "password")}
    code, text, _ = await delivered(world, [await world.peer()], proxy=at("socks5", proxy), **options)
    assert code == 451
    assert "it does not take user and password" in text
    assert "wrong" not in text


async def test_a_password_file_that_is_not_there_is_told(world: "World", tmp_path: Path) -> None:
    socks = Socks(password="right")
    proxy = await world.listening(socks.serve)
    options = {"proxy_user": "user", "proxy_password_file": str(tmp_path / "password")}
    code, text, _ = await delivered(world, [await world.peer()], proxy=at("socks5", proxy), **options)
    assert (code, text) == (451, "The password file for the proxy cannot be read")
    assert socks.connections == 0


async def test_a_password_file_that_is_no_text_is_told_without_what_is_in_it(
    world: "World", tmp_path: Path
) -> None:
    (tmp_path / "password").write_bytes(b"s3cret\xff\n")
    options = {"proxy_user": "user", "proxy_password_file": str(tmp_path / "password")}
    proxy = at("socks5", await world.listening(Socks(password="right").serve))
    code, text, _ = await delivered(world, [await world.peer()], proxy=proxy, **options)
    assert (code, text) == (451, "The password file for the proxy cannot be read")
    [fields] = [fields for _, event, fields in world.log.lines if event == "deliver.password_unreadable"]
    assert "it is not UTF-8" in fields["error"]
    assert "s3cret" not in repr(world.log.lines)


async def test_a_proxy_that_says_nothing_is_given_up(world: "World") -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    proxy = await world.listening(serve)
    code, text, _ = await delivered(
        world, [await world.peer()], proxy=at("socks5", proxy), connect_seconds=0.2
    )
    assert code == 451
    assert "took over 0.2 s" in text


async def test_an_address_that_is_not_ours_is_told_and_no_fault_of_the_host(world: "World") -> None:
    peer = await world.peer()
    async with world.running(source_addresses=("192.0.2.77",)) as deliverer:
        world.open_slot(deliverer, [peer], *world.message())
        await world.report.until(lambda: world.report.ends)
        assert not deliverer._memory._failed
    [[outcome]] = world.report.outcomes.values()
    assert "192.0.2.77 is no address of this host" in outcome.reply.text
