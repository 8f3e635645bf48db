"""A queued message whose frame is damaged on disk: held with the reason, seen by the operator, purged."""

import json
from pathlib import Path

from tests.e2e.outrider_process import OutriderProcess, configuration_for, serving, start_server
from tests.e2e.practice import send
from tests.peers.processes import free_port, wait_until


def damage(folder: Path, mark: bytes) -> None:
    """Turn over one bit of the content in the log."""
    for path in (folder / "state" / "spool" / "logs").rglob("*"):
        octets = path.read_bytes() if path.is_file() else b""
        if mark in octets:
            at = octets.index(mark)
            path.write_bytes(octets[:at] + bytes([octets[at] ^ 1]) + octets[at + 1 :])


def queue(server: OutriderProcess, *arguments: str) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = server.command("queue", "list", *arguments)
    return rows


def test_a_damaged_message_is_held_seen_and_purged(tmp_path: Path) -> None:
    configuration = configuration_for({"example.test": free_port()}, workers=1)
    with serving(tmp_path, configuration) as server:
        message_id = send(server.ports["smtp"], "customer@example.test")
        wait_until(lambda: '"transient"' in json.dumps(server.command("trace", message_id)), "a deferral")
        assert server.stop() == 0
    damage(tmp_path, b"It is on its way.")
    server = start_server(tmp_path)
    try:
        [before] = queue(server, "--not-held")
        server.command("queue", "retry", "--domain", "example.test", "--yes")
        wait_until(lambda: bool(queue(server, "--held")), "the message on hold")
        [row] = queue(server, "--held")
        assert row["held"] == "The message cannot be read from the spool"
        assert row["attempts"] == before["attempts"] == 1
        assert server.command("queue", "purge", "--held", "--reason", "unreadable", "--yes")["changed"] == 1
        assert queue(server) == []
        wait_until(lambda: any(each["type"] == "purge" for each in server.events()), "the record of it")
        assert server.stop() == 0
    finally:
        server.kill()
        if server.process.stdout is not None:
            server.process.stdout.close()
