"""With the default redaction no address is written anywhere but into the spool, not even by remote texts."""

import json
import re
import smtplib
import subprocess
import urllib.request
from pathlib import Path

from tests.e2e.outrider_process import PROGRAM, OutriderProcess, serving, start_server
from tests.e2e.practice import Practice, await_events, provider, send
from tests.patience import PATIENCE_SECONDS
from tests.peers.processes import free_port, wait_until

# local parts in the forms that remote texts like to give them back in
CANARIES = ("canarydelivered", "canarydeferred", "canarybounced", "canary.dotted+tag", "canaryrefused")
SENDERS = ("canarysender", "canaryforeign")
ECHO = {
    "deferred": "450 4.2.1 <canarydeferred@echo.test>: mailbox canarydeferred is busy, rcpt=canarydeferred",
    "bounced": "550 5.1.1 user canarybounced does not exist (to=<canarybounced@echo.test>)",
    "dotted": "550 5.1.1 canary.dotted+tag@echo.test unknown",
}
WORLD = provider(
    "echo",
    "echo.test",
    "127.30.6.1",
    "".join(
        f'[[provider.rule]]\non = "rcpt"\nmatch = "canary*{name}*"\nreply = "{reply}"\n'
        for name, reply in ECHO.items()
    ),
) + provider("sender", "sender.test", "127.30.6.2")


def found_in(text: str) -> list[str]:
    return [canary for canary in (*CANARIES, *SENDERS) if canary.lower() in text.lower()]


def use_every_way(server: OutriderProcess, practice: Practice) -> list[str]:
    """Mail that is delivered, deferred, bounced and refused; returns the ids."""
    port = server.ports["smtp"]
    ids = [send(port, f"{canary}@echo.test", mail_from="canarysender@sender.test") for canary in CANARIES[:4]]
    with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE_SECONDS) as client:
        client.ehlo("client.test")
        assert client.mail("canaryforeign@sender.test")[0] == 250
        assert client.rcpt("canaryrefused@bad_domain..test")[0] >= 500
        assert client.docmd("RCPT", "TO:<canaryrefused@echo.test> NOTIFY=SOMETIMES")[0] >= 500
    await_events(server, 1, "delivery")
    await_events(server, 1, "transient")
    await_events(server, 2, "bounce")
    wait_until(lambda: practice.seen("sender").recipients >= 2, "the sender was told")
    return ids


def output_of(server: OutriderProcess, *arguments: str) -> str:
    line = [*PROGRAM, *arguments, "-c", str(server.config)]
    done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout + done.stderr


def metrics_of(port: int) -> str:
    """The exposition, once the workers' numbers are in it."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_SECONDS) as answer:
        text: str = answer.read().decode()
    return text


def test_no_local_part_leaves_the_spool(practice: Practice, tmp_path: Path) -> None:
    configuration = practice.configuration(redaction="domain")
    configuration = re.sub(r'^redaction = "domain"$', "", configuration, flags=re.MULTILINE)
    metrics_port = free_port()
    configuration = configuration.replace("metrics_port = 0", f"metrics_port = {metrics_port}")
    with serving(tmp_path / "server", configuration) as server:
        ids = use_every_way(server, practice)
        wait_until(lambda: "bounced" in metrics_of(metrics_port), "the metrics know of it")
        shown = {
            "metrics": metrics_of(metrics_port),
            "status": output_of(server, "status"),
            "status --json": output_of(server, "status", "--json"),
            "queue list": output_of(server, "queue", "list"),
            "queue list --json": output_of(server, "queue", "list", "--json"),
            **{f"trace {message_id}": output_of(server, "trace", message_id) for message_id in ids},
        }
        assert server.stop() == 0
        shown["server log"] = server.log()
        state = server.folder / "state"
        files = [path for path in state.rglob("*") if path.is_file()]
        outside = [path for path in files if "spool" not in path.relative_to(state).parts]
        assert any(path.suffix == ".jsonl" for path in outside)
        shown |= {str(path): path.read_bytes().decode("latin-1") for path in outside}
        inside = "".join(path.read_bytes().decode("latin-1") for path in files if path not in outside)
    assert {where: found for where, text in shown.items() if (found := found_in(text))} == {}
    # what is looked for can be found: the spool holds it, and events show the domains and the remote texts
    assert set(found_in(inside)) >= {"canarydeferred", "canarysender"}
    events = "".join(text for where, text in shown.items() if where.endswith(".jsonl"))
    assert "echo.test" in events
    assert "does not exist" in events


def test_full_redaction_shows_what_the_search_finds(practice: Practice, tmp_path: Path) -> None:
    with serving(tmp_path / "server", practice.configuration(redaction="full")) as server:
        use_every_way(server, practice)
        events = "".join(
            path.read_text(encoding="utf-8") for path in (server.folder / "state" / "events").rglob("*.jsonl")
        )
    assert set(found_in(events)) >= {
        "canarydelivered",
        "canarydeferred",
        "canarybounced",
        "canary.dotted+tag",
    }


def trace(server: OutriderProcess, address: str) -> list[dict[str, str]]:
    """The messages to an address, as the command finds them."""
    line = [*PROGRAM, "trace", "--recipient", "-", "-c", str(server.config), "--json"]
    done = subprocess.run(line, input=f"{address}\n", capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == (0 if json.loads(done.stdout)["messages"] else 1), done.stderr
    messages: list[dict[str, str]] = json.loads(done.stdout)["messages"]
    return messages


def test_one_recipient_is_found_over_a_rotation_in_a_server_that_writes_no_address(
    practice: Practice, tmp_path: Path
) -> None:
    """All defaults but an encrypted spool: then not even the spool holds a local part."""
    configuration = practice.configuration(redaction="token") + (
        '[spool]\nencryption = "aes-256-gcm"\ncompression = "zstd"\n'
    )
    folder = tmp_path / "server"
    folder.mkdir()
    (folder / "outrider.toml").write_text(configuration)
    output_of_keys(folder, "generate", "spool")
    with serving(folder, configuration) as server:
        port = server.ports["smtp"]
        first = send(port, "canarydelivered@echo.test", mail_from="canarysender@sender.test")
        send(port, "canarydeferred@echo.test", mail_from="canarysender@sender.test")
        await_events(server, 1, "delivery")
        await_events(server, 1, "transient")
        output_of_keys(folder, "rotate", "log")
        output_of_keys(folder, "rotate", "spool")
        wait_until(lambda: found_second_token(server, port), "events have tokens of the new version")
        server.kill()
        again = start_server(folder)  # what is queued is read by the keys of then
        try:
            assert again.command("queue", "list")
            found = trace(again, "CanaryDelivered@ECHO.test")
            assert len(found) >= 2
            assert {each["message_id"]: each["state"] for each in found}[first] == "delivered"
            assert [each["state"] for each in trace(again, "canarydeferred@echo.test")] == ["queued"]
            assert trace(again, "canarydelivere@echo.test") == []
            assert again.stop() == 0
        finally:
            again.kill()
            assert again.process.stdout is not None
            again.process.stdout.close()
        events = again.events()
        files = [path for path in (folder / "state").rglob("*") if path.is_file()]
        text = {str(path): path.read_bytes().decode("latin-1") for path in (*files, folder / "server.log")}
    assert {path: found_in(each) for path, each in text.items() if found_in(each)} == {}
    shown = {str(event["recipient"]).partition(".")[0] for event in events if event["type"] == "delivery"}
    assert shown == {"t1", "t2"}
    assert any("00000000.log" in path for path in text)
    assert "privacy.key_made" in again.log()


def found_second_token(server: OutriderProcess, port: int) -> bool:
    """True once an event has a token of the second version; sends what may have it."""
    send(port, "canarydelivered@echo.test", mail_from="canarysender@sender.test")
    return any(str(event.get("recipient", "")).startswith("t2.") for event in server.events())


def output_of_keys(folder: Path, *arguments: str) -> None:
    line = [*PROGRAM, "keys", *arguments, "-c", str(folder / "outrider.toml")]
    subprocess.run(line, capture_output=True, check=True, timeout=60)
