"""Mail by way of real proxies: HAProxy told by PROXY headers, and microsocks with a password."""

import json
from pathlib import Path

import pytest

from tests.e2e.outrider_process import serving
from tests.e2e.practice import await_events, events_of, practising, provider, send
from tests.peers import haproxy as haproxy_peer
from tests.peers import microsocks as microsocks_peer
from tests.peers.processes import free_port, wait_until

pytestmark = pytest.mark.peer

WORLD = provider("one", "one.test", "127.30.7.1")


def seen(store: Path) -> dict[str, tuple[str, str]]:
    """By sender: the address and the EHLO name that the receiver saw."""
    found = {}
    for path in sorted(store.rglob("*.json")):
        envelope = json.loads(path.read_text(encoding="utf-8"))
        found[envelope["mail_from"]] = (envelope["client"].partition(":")[0], envelope["ehlo"])
    return found


SCRIPT = "def set_binding(mail):\n    mail.binding = mail.mail_from.partition('@')[0]\n"
POLICY = '[[policy.script]]\nname = "shop"\nsource = "shop.py"\n'


def binding(name: str, **options: str | list[str]) -> str:
    given = "".join(f"{key} = {json.dumps(value)}\n" for key, value in options.items())
    return f'[[binding]]\nname = "{name}"\nehlo_name = "{name}.test"\n{given}'


def test_mail_leaves_from_the_addresses_that_a_real_haproxy_is_told(tmp_path: Path) -> None:
    if reason := haproxy_peer.missing():
        pytest.skip(reason)
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "shop.py").write_text(SCRIPT, encoding="utf-8")
    sources = {"a": "127.40.1.1", "b": "127.40.1.2"}
    with (
        practising(WORLD, tmp_path / "store") as practice,
        haproxy_peer.haproxy_egress(list(sources.values())) as port,
    ):
        proxy = f"haproxy://127.0.0.1:{port}"
        more = POLICY + "".join(
            binding(name, source_addresses=[source], proxy=proxy) for name, source in sources.items()
        )
        with serving(tmp_path / "server", practice.configuration(more=more)) as server:
            for name in sources:
                send(server.ports["smtp"], "joe@one.test", mail_from=f"{name}@sender.test")
            events = await_events(server, 2, "delivery")
    assert {event["binding"]: event["source"] for event in events} == sources
    assert seen(tmp_path / "store") == {
        f"{name}@sender.test": (source, f"{name}.test") for name, source in sources.items()
    }


def test_mail_leaves_from_the_address_of_a_real_socks_server(tmp_path: Path) -> None:
    if reason := microsocks_peer.missing():
        pytest.skip(reason)
    folder = tmp_path / "server"
    folder.mkdir()
    (folder / "shop.py").write_text(SCRIPT, encoding="utf-8")
    (folder / "password").write_text(microsocks_peer.PASSWORD + "\n", encoding="utf-8")
    (folder / "wrong").write_text("wrong\n", encoding="utf-8")
    with (
        practising(WORLD, tmp_path / "store") as practice,
        microsocks_peer.microsocks("127.40.1.3") as port,
    ):
        proxy = f"socks5://127.0.0.1:{port}"
        more = (
            POLICY
            + binding("a", proxy=proxy, proxy_user=microsocks_peer.USER, proxy_password_file="password")
            + binding("b", proxy=proxy, proxy_user=microsocks_peer.USER, proxy_password_file="wrong")
            + binding("c", proxy=f"socks5://127.0.0.1:{free_port()}")
        )
        with serving(folder, practice.configuration(more=more)) as server:
            for name in "abc":
                send(server.ports["smtp"], "joe@one.test", mail_from=f"{name}@sender.test")
            await_events(server, 1, "delivery")
            said: dict[str, str] = {}

            def both_failed() -> bool:
                said.update((each["binding"], each["reply_text"]) for each in events_of(server, "transient"))
                return len(said) == 2

            wait_until(both_failed, "both others fail")
    assert seen(tmp_path / "store") == {"a@sender.test": ("127.40.1.3", "a.test")}
    assert "it does not take user and password" in said["b"]
    assert "it is not reached" in said["c"]
