"""The classic probes for an open relay, against every configuration that we give to anybody, by every door.

Each probe that gets as far as content is a message in the queue, so relaying is seen where it counts: in the
replies, in the events and in the queue.
"""

import contextlib
import http.client
import json
import re
import socket
import tomllib
from collections.abc import Iterator, Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from outrider.cli.main import app
from tests.e2e.outrider_process import OutriderProcess, serving
from tests.e2e.practice import events_of
from tests.hostility.attack import Attacker, certificate, unharmed
from tests.patience import PATIENCE_SECONDS
from tools.project_files import ROOT

OURS = "mx.outrider.test"
HEADER = b"Subject: probe\r\n\r\nprobe\r\n.\r\n"

SENDERS = [
    "<probe@probe.example>",
    "<>",
    "<probe@localhost>",
    "<probe>",
    f"<probe@{OURS}>",
    "<probe@[127.0.0.1]>",
    "<probe@[IPv6:::1]>",
    f"<@{OURS}:probe@probe.example>",
    f"<postmaster@{OURS}>",
    "<probe@victim.example>",
    "probe@probe.example",
    "<probe@probe.example> AUTH=<>",
    f"<probe@{OURS}> AUTH=postmaster@{OURS}",
]
RECIPIENTS = [
    "<victim@victim.example>",
    "victim@victim.example",
    f"<victim%victim.example@{OURS}>",
    "<victim%victim.example@[127.0.0.1]>",
    "<victim%victim.example>",
    '<"victim@victim.example">',
    '<"victim%victim.example">',
    f'<"victim@victim.example"@{OURS}>',
    '<"victim@victim.example"@[127.0.0.1]>',
    f"<victim@victim.example@{OURS}>",
    "<victim@victim.example@[127.0.0.1]>",
    f"<@{OURS}:victim@victim.example>",
    "<@[127.0.0.1]:victim@victim.example>",
    f"<@localhost,@{OURS}:victim@victim.example>",
    f"<@{OURS},@victim.example:victim@victim.example>",
    "<victim.example!victim>",
    f"<victim.example!victim@{OURS}>",
    "<victim.example!victim@[127.0.0.1]>",
    f"<{OURS}!victim.example!victim>",
    f"<{OURS}!victim%victim.example>",
    "<victim@[198.51.100.1]>",
    "<victim@[IPv6:2001:db8::1]>",
    "<victim@198.51.100.1>",
    '<"victim"@victim.example>',
    "<vict\\im@victim.example>",
    "<victim@VICTIM.example.>",
    "<victim@victim.example\\>",
    "<victim@victim。example>",
    "<victim@victim.example>,<other@victim.example>",
    "<victim@victim.example> <other@victim.example>",
    "<victim>",
    "<Postmaster>",
    f"<postmaster@{OURS}>",
    "<postmaster@localhost>",
    "<|victim@victim.example>",
    "<victim@victim.example> NOTIFY=SUCCESS ORCPT=rfc822;victim@victim.example",
    "<victim@>",
    "<@victim.example>",
]


def own_addresses() -> Iterator[str]:
    """Addresses of this machine: the one that it goes out with, where it has one, and loopback's last."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing: it only asks for the route
        yield probe.getsockname()[0]
    yield "127.255.255.254"


def outside_address(trusted: Sequence[str] = ()) -> str:
    """An address of this machine that is in none of the networks; machines may be in those of examples."""
    networks = list(map(ip_network, trusted))
    for address in own_addresses():
        if not any(ip_address(address) in network for network in networks):
            return address
    raise AssertionError(f"no address of this machine is outside {trusted}")


def pages() -> Iterator[tuple[str, str]]:
    """Every configuration with a listener that a page of the manual shows, or that is shipped as a file."""
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        if "reference" not in page.parts:
            blocks = re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
            for number, text in enumerate(blocks):
                if "listener" in tomllib.loads(text):
                    yield f"{page.relative_to(ROOT)}:{number}", text
    for folder in ("packaging", "examples", "src"):
        for file in sorted((ROOT / folder).rglob("*.toml")):
            text = file.read_text(encoding="utf-8")
            if "listener" in tomllib.loads(text):
                yield str(file.relative_to(ROOT)), text


def plain(value: Any) -> str:
    """A value as TOML."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {plain(each)}" for name, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(plain, value)) + "]"
    return json.dumps(value)


def reachable(text: str, folder: Path, **changes: Any) -> str:
    """The same listeners and grants, on free ports, reachable by the prober, with files that exist.

    Everything that decides who may relay is left as it is written.
    """
    tables = tomllib.loads(text)
    files = certificate(folder)
    pem = dict(line.split(" = ") for line in files.splitlines())
    made = [f'[server]\nhostname = "{OURS}"\nworkers = 1\nstate_directory = "state"\n']
    for kind in ("listener", "http"):
        for number, listener in enumerate(tables.get(kind, [{}] if kind == "listener" else [])):
            one = {"name": f"{kind}{number}", **listener, "port": 0, **changes}
            one.pop("certificate", None)
            one.pop("private_key", None)
            if kind == "http":
                one = {name: value for name, value in one.items() if name in {"name", "port", "address"}}
            made.append(
                f"[[{kind}]]\n" + "".join(f"{name} = {plain(value)}\n" for name, value in one.items())
            )
            if one.get("tls", "none") != "none":
                made.append("".join(f"{name} = {value}\n" for name, value in pem.items()))
    return "\n".join([*made, '[record]\nmetrics_port = 0\nredaction = "full"\n'])


def relayed(server: OutriderProcess, address: str, name: str, tls: str) -> list[tuple[str, str, str]]:
    """The probes that went through, on one connection for each sender."""
    found = []
    for sender in SENDERS:
        with Attacker(server.ports[name], address) as attacker:
            if tls == "starttls":
                attacker.starttls()
            else:
                if tls == "implicit":
                    attacker.secure()
                attacker.reply()
            for recipient in RECIPIENTS:
                attacker.ask(b"EHLO probe.example")
                attacker.ask(f"MAIL FROM:{sender}".encode())
                attacker.ask(f"RCPT TO:{recipient}".encode())
                reply = attacker.ask(b"DATA")
                if reply.startswith("354"):
                    attacker.say(HEADER)
                    found.append((sender, recipient, attacker.reply()))
                if not reply or reply.startswith("421"):
                    break
                attacker.ask(b"RSET")
    return found


def nothing_was_taken(server: OutriderProcess) -> None:
    assert events_of(server, "reception") == []
    assert server.command("queue", "count")["count"] == 0
    unharmed(server)


PATIENT = {"limits": {"errors": 100_000, "idle_commands": 100_000}, "stress": {"lag_seconds": 3600}}
"""So that every probe is judged and none is saved by the session's end, or by a machine that stands still."""


@pytest.mark.parametrize(
    ("place", "text"), [("default", ""), *pages()], ids=lambda value: value.partition("\n")[0]
)
def test_no_configuration_that_we_show_relays(place: str, text: str, tmp_path: Path) -> None:
    configuration = reachable(text, tmp_path, address="0.0.0.0", **PATIENT)
    with serving(tmp_path / "server", configuration) as server:
        for listener in tomllib.loads(configuration)["listener"]:
            tls = listener.get("tls", "none")
            address = outside_address(listener.get("trusted_networks", ()))
            for way in {tls, "none"} if tls == "starttls" else {tls}:
                assert relayed(server, address, listener["name"], way) == [], place
        nothing_was_taken(server)


@pytest.fixture(scope="module")
def careful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OutriderProcess]:
    """What `outrider init` writes, its listener doubled: with STARTTLS, and on IPv6."""
    folder = tmp_path_factory.mktemp("relay")
    written = folder / "written.toml"
    done = CliRunner().invoke(app, ["init", "-c", str(written), "--hostname", OURS])
    assert done.exit_code == 0, done.output
    text = written.read_text(encoding="utf-8")
    (listener,) = tomllib.loads(text)["listener"]
    assert not listener.get("trusted_networks")
    text += "".join(
        f"\n[[listener]]\n{more}port = 0\n"
        for more in ('name = "secure"\ntls = "starttls"\n', 'name = "six"\naddress = "::1"\n')
    )
    with serving(folder / "server", reachable(text, folder, **PATIENT)) as server:
        yield server


@pytest.mark.parametrize(
    ("name", "address", "tls"),
    [("submission", "127.0.0.1", "none"), ("secure", "127.0.0.1", "starttls"), ("six", "::1", "none")],
)
def test_what_init_writes_relays_by_no_door(
    careful: OutriderProcess, name: str, address: str, tls: str
) -> None:
    assert relayed(careful, address, name, tls) == []
    nothing_was_taken(careful)


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Bearer x", "Basic YTpi", f"Bearer ork_app_{'0' * 64}_00000000"],
)
@pytest.mark.parametrize("media_type", ["application/json", "message/rfc822", "application/x-ndjson"])
def test_http_takes_nothing_without_a_key(
    careful: OutriderProcess, authorization: str | None, media_type: str
) -> None:
    name = next(name for name in careful.ports if name not in {"submission", "secure", "six"})
    client = http.client.HTTPConnection("127.0.0.1", careful.ports[name], timeout=PATIENCE_SECONDS)
    headers = {
        "Content-Type": media_type,
        "Outrider-Mail-From": f"probe@{OURS}",
        "Outrider-Rcpt-To": "victim@victim.example",
    }
    if authorization is not None:
        headers["Authorization"] = authorization
    request = {"from": f"probe@{OURS}", "to": ["victim@victim.example"], "text": "probe"}
    body = HEADER if media_type == "message/rfc822" else json.dumps(request).encode()
    try:
        path = "/v1/batches" if media_type == "application/x-ndjson" else "/v1/messages"
        client.request("POST", path, body, headers)
        assert client.getresponse().status == 401
    finally:
        client.close()
    nothing_was_taken(careful)


def test_the_probes_would_get_through_an_open_relay(tmp_path: Path) -> None:
    """The same list against a listener that trusts the prober: most of it is relayed."""
    text = '[[listener]]\nname = "open"\ntrusted_networks = ["127.0.0.0/8"]\n'
    with serving(tmp_path / "server", reachable(text, tmp_path, **PATIENT)) as server:
        assert len(relayed(server, "127.0.0.1", "open", "none")) > 50
