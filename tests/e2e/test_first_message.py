"""The tutorial, as a test: init, serve, send, trace; a message waits for its receiver and then goes out."""

import json
import smtplib
import subprocess
from pathlib import Path

from tests.e2e.outrider_process import PROGRAM, start_server
from tests.peers.processes import free_port, running, wait_until


def outrider(*arguments: str, folder: Path) -> str:
    done = subprocess.run(
        [*PROGRAM, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def send(port: int) -> str:
    """Hands in one message and returns its id, which the reply holds."""
    with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
        client.ehlo("client.test")
        client.mail("shop@example.test")
        client.rcpt("customer@example.test")
        code, text = client.data(
            b"From: shop@example.test\r\nSubject: Your order\r\n\r\nIt is on its way.\r\n"
        )
    assert code == 250
    return text.decode().partition("queued as ")[2].partition(",")[0]


def test_the_tutorial_works_as_written(tmp_path: Path) -> None:
    sink_port = free_port()
    outrider("init", "--trust", "127.0.0.0/8", "--state", "state", folder=tmp_path)
    config = tmp_path / "outrider.toml"
    text = (
        config.read_text(encoding="utf-8")
        .replace("port = 2525", "port = 0")
        .replace("port = 8025", "port = 0")
    )
    route = f'\n[[net.routes]]\ndomain = "example.test"\nhosts = ["127.0.0.1:{sink_port}"]\n'
    config.write_text(text + "metrics_port = 0\n" + route, encoding="utf-8")
    assert json.loads(outrider("check-config", "--json", folder=tmp_path))["ok"] is True
    server = start_server(tmp_path)
    try:
        message_id = send(server.ports["submission"])
        wait_until(lambda: '"transient"' in json.dumps(server.command("trace", message_id)), "a deferral")
        assert server.command("queue", "count")["count"] == 1
        sink = [*PROGRAM, "sink", str(sink_port)]
        with running(sink, port=sink_port, log=tmp_path / "sink.log", cwd=tmp_path):
            outrider("queue", "retry", "--domain", "example.test", "--yes", folder=tmp_path)
            wait_until(lambda: '"delivery"' in json.dumps(server.command("trace", message_id)), "a delivery")
        assert server.command("queue", "count")["count"] == 0
        assert server.stop() == 0
    finally:
        server.kill()
        if server.process.stdout is not None:
            server.process.stdout.close()
