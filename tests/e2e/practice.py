"""A practice internet beside the test, and servers that deliver into it.

In: TOML for the world and for the server. Out: a simulator whose counters the test reads directly, loads that
run on its loop, and the little dialogues that hand in single messages.
"""

import asyncio
import http.client
import json
import os
import signal
import smtplib
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from outrider.base.clock import SystemClock
from outrider.sim.counts import Counts
from outrider.sim.load import Load
from outrider.sim.options import LoadOptions
from outrider.sim.server import PracticeInternet
from outrider.sim.tally import Tally
from outrider.sim.world import parse_world
from tests.e2e.outrider_process import OutriderProcess
from tests.patience import PATIENCE_SECONDS, UNHURRIED
from tests.peers.processes import wait_until

Result = TypeVar("Result")
LOOP_SECONDS = 120.0
"""Chosen: above everything that a test hands to the loop, below pytest's own limit."""


class Practice:
    """A practice internet on a thread of its own.

    Attributes:
        internet: The simulator; its counters are exact and may be read from the test.
    """

    def __init__(self, world: str, store: Path | None = None) -> None:
        self._options = parse_world(world, "world")
        self._store = store
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="practice")
        self._put_aside: dict[str, dict[Any, list[Any]]] = {}
        self.internet: PracticeInternet

    def start(self) -> None:
        """Listen."""
        self._thread.start()
        self.internet = self.call(self._open())

    async def _open(self) -> PracticeInternet:
        return await PracticeInternet(self._options, clock=SystemClock(), store=self._store).__aenter__()

    def stop(self) -> None:
        """End once the peers have closed their connections."""
        try:
            wait_until(lambda: all(one.connections == 0 for one in self.counts().values()), "no connection")
            self.call(self.internet.__aexit__())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def call(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Do `work` on the simulator's loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(LOOP_SECONDS)

    def begin(self, work: Coroutine[Any, Any, Result]) -> "Future[Result]":
        """Do `work` on the simulator's loop meanwhile."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self, address: str) -> None:
        """Refuse connections at an address from now on."""

        async def close() -> None:
            for server in self.internet._servers:
                if any(sock.getsockname()[0] == address for sock in server.sockets):
                    server.close()

        self.call(close())

    def open(self, provider: str) -> None:
        """From now on no rule of the provider applies: what it deferred it takes."""
        rules = self.internet.providers[provider].temper._rules
        self._put_aside.setdefault(provider, {phase: list(found) for phase, found in rules.items()})
        for found in rules.values():
            found.clear()

    def shut(self, provider: str) -> None:
        """The provider's rules apply again."""
        rules = self.internet.providers[provider].temper._rules
        for phase, found in self._put_aside.pop(provider, {}).items():
            rules[phase][:] = found

    def counts(self) -> dict[str, Counts]:
        """Counters by provider."""
        return {name: provider.counts for name, provider in self.internet.providers.items()}

    def seen(self, provider: str) -> Counts:
        """Counters of one provider."""
        return self.internet.providers[provider].counts

    def load(self, port: int, **options: Any) -> "Future[Tally]":
        """Hand in numbered messages; the result knows the fate of each."""
        chosen = LoadOptions.model_validate({"port": port, "size": 512, "connections": 8, **options})

        async def run() -> Tally:
            return await Load(chosen, clock=SystemClock(), remember=True).run()

        return self.begin(run())

    def numbered(self) -> list[tuple[str, str, int, int]]:
        """The simulator's account of numbered messages, taken between two turns of its loop."""

        async def account() -> list[tuple[str, str, int, int]]:
            return self.internet.numbered()

        return self.call(account())

    def taken(self) -> dict[tuple[str, str], int]:
        """(number, recipient) → how often a provider took it."""
        return {(number, whom): times for number, whom, times, _ in self.numbered() if times}

    def bounced(self) -> dict[tuple[str, str], int]:
        """(number, recipient) → failure reports about it."""
        return {(number, whom): times for number, whom, _, times in self.numbered() if times}

    def owed(self, *tallies: Tally) -> list[tuple[str, str]]:
        """(number, recipient) of what was acknowledged and not taken yet."""
        taken = self.taken()
        return [
            key
            for tally in tallies
            for key, fate in (tally.remembered or {}).items()
            if fate == "acknowledged" and key not in taken
        ]

    def owes_nothing(self, *tallies: Tally) -> bool:
        """True when all that was acknowledged was taken."""
        return not self.owed(*tallies)

    def configuration(
        self,
        *,
        workers: int = 2,
        address: str = "127.0.0.1",
        port: int = 0,
        server: str = "",
        shaping: str = "",
        more: str = "",
        redaction: str = "full",
        users_file: Path | None = None,
    ) -> str:
        """A server that finds the practice internet by its DNS; each argument adds lines to its section."""
        exchanger_port = self.internet.smtp_port
        users = f'users_file = "{users_file}"\n' if users_file else ""
        http = '[[http]]\nname = "http"\nport = 0\n' if users_file else ""
        return f"""\
[server]
hostname = "outrider.example.test"
workers = {workers}
state_directory = "state"
{users}{server}

[[listener]]
name = "smtp"
address = "{address}"
port = {port}
{UNHURRIED}
trusted_networks = ["127.0.0.0/8"]

{http}
[net]
nameservers = ["127.0.0.1:{self.internet.dns_port}"]
allowed_target_networks = ["127.0.0.0/8"]
failure_ttl_seconds = 1

[shaping.default]
smtp_port = {exchanger_port}
retry_interval_seconds = 0.5
max_retry_interval_seconds = 1
retry_jitter = 0
{shaping}

[record]
redaction = "{redaction}"
metrics_port = 0

{more}
"""


@contextmanager
def practising(world: str, store: Path | None = None) -> Iterator[Practice]:
    """A practice internet until the end of the block."""
    practice = Practice(world, store)
    practice.start()
    try:
        yield practice
    finally:
        practice.stop()


def provider(name: str, domain: str, address: str, more: str = "", mx: str = "") -> str:
    """The TOML of one provider with one exchanger."""
    return f"""
[[provider]]
name = "{name}"
domains = ["{domain}"]
mx = [{{ name = "{mx or "mx." + domain}", address = "{address}" }}]
{more}
"""


DEFERS = '[[provider.rule]]\non = "rcpt"\nreply = "450 4.2.0 Not yet"'
"""A rule by which a provider takes nothing until the test opens it."""


def send(
    port: int,
    *recipients: str,
    host: str = "127.0.0.1",
    mail_from: str = "shop@sender.test",
    body: str = "It is on its way.",
    options: tuple[str, ...] = (),
) -> str:
    """Hands in one message and returns its id; `options` are those of RCPT."""
    with smtplib.SMTP(host, port, timeout=PATIENCE_SECONDS) as client:
        client.ehlo("client.test")
        client.mail(mail_from)
        for recipient in recipients:
            code, text = client.rcpt(recipient, options)
            assert code == 250, text
        code, text = client.data(f"From: shop@sender.test\r\nSubject: Your order\r\n\r\n{body}\r\n".encode())
    assert code == 250, text
    return id_in(text.decode())


def reply_to(
    server: OutriderProcess,
    content: bytes,
    *recipients: str,
    mail_from: str = "ann@sender.test",
    listener: str = "smtp",
) -> tuple[int, str]:
    """The reply to a message that is handed in."""
    with smtplib.SMTP("127.0.0.1", server.ports[listener], timeout=PATIENCE_SECONDS) as client:
        client.ehlo("client.test")
        client.mail(mail_from)
        for recipient in recipients or ("joe@one.test",):
            client.rcpt(recipient)
        code, text = client.data(content)
    return code, text.decode()


def post(server: OutriderProcess, key: str, message: Any) -> tuple[int, dict[str, Any]]:
    """Hand in a message by HTTP; status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", server.ports["http"], timeout=PATIENCE_SECONDS)
    fields = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    try:
        connection.request("POST", "/v1/messages", json.dumps(message), fields)
        answer = connection.getresponse()
        return answer.status, json.load(answer)
    finally:
        connection.close()


def id_in(reply: str) -> str:
    """The id that a message was given, as the reply to it says."""
    return reply.partition("queued as ")[2].partition(",")[0]


def copies(store: Path, message_id: str) -> list[bytes]:
    """What the receivers got of a message, each time that it came."""
    found = [path.read_bytes() for path in store.rglob("*.eml")]
    return [octets for octets in found if message_id.encode() in octets]


def events_of(server: OutriderProcess, *types: str, message_id: str = "") -> list[dict[str, Any]]:
    """Events of these types, of one message or of all."""
    return [
        event
        for event in server.events()
        if event["type"] in types and (not message_id or event.get("message_id") == message_id)
    ]


def await_events(
    server: OutriderProcess, count: int, *types: str, message_id: str = ""
) -> list[dict[str, Any]]:
    """Wait for at least so many events of these types, which are written a moment after what they tell."""
    wait_until(
        lambda: len(events_of(server, *types, message_id=message_id)) >= count, f"{count} events {types}"
    )
    return events_of(server, *types, message_id=message_id)


def reports_of(server: OutriderProcess) -> list[dict[str, Any]]:
    """Receptions of our own reports to senders."""
    return [event for event in events_of(server, "reception") if event.get("protocol") == "internal"]


def log_lines(server: OutriderProcess, event: str = "") -> list[dict[str, Any]]:
    """The lines of the server log, all or those of one event."""
    lines = [json.loads(line) for line in server.log().splitlines() if line.startswith("{")]
    return [line for line in lines if not event or line["event"] == event]


def pids(server: OutriderProcess) -> dict[str, int]:
    """The process id that each child was last started with, by its name."""
    return {str(line["name"]): int(line["pid"]) for line in log_lines(server, "process.started")}


def kill_child(server: OutriderProcess, name: str, number: signal.Signals = signal.SIGKILL) -> int:
    """Signal a child, by its name; returns its process id."""
    pid = pids(server)[name]
    os.kill(pid, number)
    return pid


def await_restart(server: OutriderProcess, name: str, old_pid: int) -> None:
    """Return when the child works again."""
    wait_until(lambda: pids(server)[name] != old_pid, f"{name} was started again")


def queue_is(server: OutriderProcess, count: int) -> Callable[[], bool]:
    """A condition: the queue holds so many entries."""
    return lambda: bool(server.command("queue", "count")["count"] == count)
