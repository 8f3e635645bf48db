"""Injection by HTTP: recipients a second and CPU each, for JSON in batches of a hundred.

A server with `--workers` takes batches over some connections; nothing is delivered meanwhile, because every
message has a `send_at` an hour ahead, so the figure is that of the door alone: JSON, MIME, policy, spool,
announcement. Four forms: `lines` (a batch of 100 lines), `personal` (one request with 100 recipients, a
message each), `shared` (one message to 100 recipients), and `keyed` (`personal` under an Idempotency-Key).

Usage: http_injection.py [--workers N] [--seconds S] [--connections N] [--forms FORM,…] [--json]
"""

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from processes import cpu_seconds, free_port, stop

BATCH = 100
TEXT_OCTETS = 1500
FORMS = ("lines", "personal", "shared", "keyed")
CONFIGURATION = """\
[server]
hostname = "bench.test"
workers = {workers}
state_directory = "state"
users_file = "users.toml"

[[listener]]
name = "smtp"
port = 0

[[http]]
name = "http"
port = {port}
key_requests = 10000

[record]
metrics_port = 0
log_level = "warning"
"""
OUTRIDER = (sys.executable, "-m", "outrider.cli.main")


def body_of(form: str, number: int, *, later: bool = True) -> tuple[str, str, bytes]:
    """Path, media type and body of request `number`; `later` keeps its messages from being delivered."""
    at = (datetime.now(UTC) + timedelta(hours=1)).isoformat() if later else None
    text = "Dear {{name}},\n" + "your order is on its way. " * (TEXT_OCTETS // 26) + "\n"
    common: dict[str, Any] = {
        "from": {"address": "shop@bench.test", "name": "Shop"},
        "subject": "Your order {{name}}",
        "html": None,
        "send_at": at,
    }
    addresses = [f"user{number}-{index}@receiver.test" for index in range(BATCH)]
    if form == "lines":
        plain = text.replace("{{name}}", "you")
        lines = [
            json.dumps(common | {"subject": "Your order", "to": [each], "text": plain}) for each in addresses
        ]
        return "/v1/batches", "application/x-ndjson", "\n".join(lines).encode()
    if form == "shared":
        message = common | {"subject": "News", "bcc": addresses, "text": text.replace("{{name}}", "you")}
    else:
        recipients = [{"address": each, "variables": {"name": each[:8]}} for each in addresses]
        message = common | {"recipients": recipients, "text": text}
    return "/v1/messages", "application/json", json.dumps(message).encode()


class Load:
    """Clients that hand in one form until the time is over, or each of them has made `requests`."""

    def __init__(
        self, form: str, port: int, key: str, *, seconds: float = 600.0, requests: int = 0, later: bool = True
    ) -> None:
        self.form = form
        self.port = port
        self.key = key
        self.later = later
        self.requests = requests
        self.recipients = 0
        self.took_seconds = 0.0
        self.seconds: list[float] = []
        self._until = time.perf_counter() + seconds
        self._lock = threading.Lock()

    def run(self, connections: int) -> None:
        """Load over so many connections at once."""
        started = time.perf_counter()
        clients = [threading.Thread(target=self._run, args=(number,)) for number in range(connections)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        self.took_seconds = time.perf_counter() - started

    def _run(self, client: int) -> None:
        """One connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        prepared = [body_of(self.form, client * 1000 + number, later=self.later) for number in range(8)]
        number = 0
        while time.perf_counter() < self._until and number != (self.requests or -1):
            path, kind, octets = prepared[number % len(prepared)]
            fields = {"Authorization": f"Bearer {self.key}", "Content-Type": kind}
            if self.form == "keyed":
                fields["Idempotency-Key"] = f"{client}-{number}"
            started = time.perf_counter()
            connection.request("POST", path, octets, fields)
            with connection.getresponse() as answer:
                found = answer.read()
            taken = found.count(b'"status":202') if self.form == "lines" else BATCH * (answer.status == 202)
            if taken != BATCH:
                raise SystemExit(f"{answer.status}: {found[:300]!r}")
            with self._lock:
                self.recipients += taken
                self.seconds.append(time.perf_counter() - started)
            number += 1
        connection.close()


def make_key(folder: Path) -> str:
    """A key that may send as bench.test, in the users file of `folder`."""
    command = [
        *OUTRIDER,
        "user",
        "key",
        "create",
        "bench",
        "-d",
        "bench.test",
        "--file",
        "users.toml",
        "--json",
    ]
    made = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return str(json.loads(made.stdout)["key"])


def measure(form: str, *, workers: int, seconds: float, connections: int) -> dict[str, Any]:
    """One form against a server of its own."""
    with tempfile.TemporaryDirectory(prefix="http-bench-") as name:
        folder = Path(name)
        port = free_port()
        (folder / "outrider.toml").write_text(CONFIGURATION.format(workers=workers, port=port))
        key = make_key(folder)
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen([*OUTRIDER, "serve"], cwd=folder, stdout=subprocess.PIPE, stderr=log)
        try:
            if server.stdout is None or not server.stdout.readline().startswith(b"Ready"):
                raise SystemExit((folder / "log").read_text()[-2000:])
            before = cpu_seconds(server.pid)
            load = Load(form, port, key, seconds=seconds)
            load.run(connections)
            used = cpu_seconds(server.pid) - before
        finally:
            stop(server)
    return {
        "form": form,
        "workers": workers,
        "recipients_per_second": round(load.recipients / load.took_seconds),
        "cpu_us_per_recipient": round(used / load.recipients * 1e6, 1),
        "request_p50_ms": round(statistics.median(load.seconds) * 1000, 1),
        "recipients": load.recipients,
    }


def main() -> int:
    """Measure the forms one after the other."""
    parser = argparse.ArgumentParser(description="Injection by HTTP in batches of a hundred.")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--forms", default=",".join(FORMS))
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows = [
        measure(form, workers=given.workers, seconds=given.seconds, connections=given.connections)
        for form in given.forms.split(",")
    ]
    for row in rows:
        text = json.dumps(row) if given.json else "  ".join(f"{name} {value}" for name, value in row.items())
        print(text, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
