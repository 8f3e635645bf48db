"""The control API on a real socket, with a dispatcher that keeps what it is asked."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from outrider.base.clock import FakeClock
from outrider.base.log import ListLog
from outrider.net.http import HttpLimits, HttpServer
from outrider.server.control import open_control_socket
from outrider.server.control_api.app import control_app
from outrider.server.control_api.client import ControlClient
from outrider.server.control_api.hub import Hub
from outrider.server.measures import Summed
from outrider.server.requests import RefusedError, RequestServer, tell_changed
from outrider.server.settings import Settings
from outrider.store.audit import list_audit
from outrider.store.editor import Author
from outrider.store.engine import Database, open_engine
from outrider.store.records import AuditRow
from outrider.store.upgrade import upgrade

ENTRY = {
    "message_id": "0" * 18,
    "channel": "smtp",
    "binding": "default",
    "routing_domain": "one.test",
    "site": "mx.one.test",
    "tenant": "default",
    "stream": "default",
    "priority": 0,
    "size": 10,
    "attempts": 1,
    "received_time": "2026-11-24T10:00:00.000000Z",
    "due_time": "2026-11-24T11:00:00.000000Z",
    "state": "deferred",
    "held": "",
    "last_reply": "450 4.2.0 Later",
    "last_host": "mx.one.test",
    "last_attempt_time": "2026-11-24T10:00:01.000000Z",
}
PATH = {
    "channel": "smtp",
    "binding": "default",
    "site": "mx.one.test",
    "queued": 3,
    "domains": 1,
    "waiting": 1,
    "deferred": 2,
    "granted": 0,
    "on_disk": 0,
    "connections": 0,
    "connecting": 0,
    "idle": 0,
    "failures": 0,
    "state": "active",
    "more_on_disk": False,
    "next_seconds": None,
}
DUE = "0" * 17 + "1"
"""A message that is due, on a path that is suspended."""
KEPT = {
    "number": 4,
    "channel": "*",
    "binding": "*",
    "site": "mx.one.test",
    "since_time": "2026-11-24T10:00:00Z",
    "until_time": None,
    "reason": "they asked",
    "actor": "root",
}


ORIGINS = {"server.state_directory": "outrider.toml:3", "server.workers": "outrider.toml:4"}
CHANGES = [
    {
        "name": "server.workers",
        "old": "1",
        "new": "8",
        "origin": "outrider.toml:4",
        "needs_restart": True,
    }
]
"""What the configuration's files say that is not what runs."""


@dataclass
class Dispatcher:
    """Answers like the dispatcher's process; `entries` is how many any filter matches.

    It refuses with `fault`, and dies in a purge behind each of the counts in `dies_at`, where there are any.
    """

    entries: int = 3
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    fault: str = ""
    dies_at: Sequence[int] | None = None

    def operations(self) -> dict[str, Any]:
        """All operations by name."""
        answers: dict[str, Any] = {
            "queue.count": lambda _: {"count": self.entries, "unresolved": 0},
            "queue.select": self._select,
            "queue.summary": lambda _: [],
            "record.admin": lambda _: None,
            "status": lambda _: STATUS,
            "paths.list": lambda _: {"paths": [dict(PATH)], "counted": True, "unresolved": 0},
            "paths.show": lambda _: {**PATH, "known": True, "top_domains": [], "suspensions": [KEPT]},
            "paths.suspensions": lambda _: [KEPT],
            "paths.suspend": lambda asked: {**KEPT, "reason": asked["reason"], "actor": asked["actor"]},
            "paths.resume": lambda _: KEPT,
        }
        for verb in ("hold", "release", "retry", "purge", "move"):
            answers[f"queue.{verb}"] = lambda _: {"matched": self.entries, "changed": self.entries, "busy": 0}
        return {name: self._operation(name, answer) for name, answer in answers.items()}

    def _operation(self, name: str, answer: Any) -> Any:
        async def operation(**arguments: Any) -> Any:
            self.asked.append((name, arguments))
            if self.fault and name.startswith(("queue.p", "paths.s")):
                raise RefusedError(self.fault, "conflict")
            if self.dies_at is not None and name == "queue.purge":
                for changed in self.dies_at:
                    tell_changed(changed)
                raise ConnectionResetError  # ends the connection, and nothing is answered
            return answer(arguments)

        return operation

    def _select(self, asked: dict[str, Any]) -> list[dict[str, Any]]:
        if "message_ids" in asked:
            return [{**ENTRY, "state": "due"}] if asked["message_ids"] == [DUE] else []
        first = asked.get("after", -1) + 1
        return [
            {**ENTRY, "entry": number} for number in range(first, min(self.entries, first + asked["limit"]))
        ]

    def changes(self) -> list[str]:
        """What changed something, in order."""
        verbs = ("hold", "release", "retry", "purge", "move", "suspend", "resume")
        return [name for name, _ in self.asked if name.rpartition(".")[2] in verbs]


STATUS = {
    "queue": {"alive": 3, "held": 0, "resident": 0, "granted": 0, "keys": 1, "unreadable": 0},
    "granting": True,
    "connections": 0,
    "suspensions": 1,
    "workers": [],
    "paths": [PATH],
}


@dataclass
class Site:
    """What a test speaks to."""

    folder: Path
    dispatcher: Dispatcher
    engine: Database
    log: ListLog
    reloads: list[bool]
    hub: Hub

    async def call(self, method: str, path: str, /, *arguments: Any, **query: Any) -> Any:
        """One request by the commands' own client."""

        def ask() -> Any:
            with ControlClient(self.folder) as client:
                return getattr(client, method)(path, *arguments, **query)

        return await asyncio.to_thread(ask)

    async def pages(self, path: str, limit: int, /, **query: Any) -> list[Any]:
        """The items of a list, as commands ask for them."""

        def ask() -> list[Any]:
            with ControlClient(self.folder) as client:
                return list(client.pages(path, limit, **query))

        return await asyncio.to_thread(ask)

    async def answer(self, method: str, path: str, body: str) -> tuple[int, dict[str, str], str]:
        """One request as it is; status, header fields and body."""
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
        )
        reader, writer = await asyncio.open_unix_connection(str(self.folder / "control.sock"))
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        told, _, rest = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        first, *lines = told.decode().split("\r\n")
        fields = (line.partition(":") for line in lines)
        return (
            int(first.split(" ", 2)[1]),
            {name.lower(): value.strip() for name, _, value in fields},
            rest.decode(),
        )

    async def raw(self, octets: bytes) -> tuple[int, bytes]:
        """Octets as they are; status and the rest of the answer."""
        reader, writer = await asyncio.open_unix_connection(str(self.folder / "control.sock"))
        writer.write(octets)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1]), body

    async def audit(self) -> list[AuditRow]:
        """Rows, oldest first, without what the start wrote."""
        return [row for row in reversed(await list_audit(self.engine)) if not row.action.startswith("store.")]


@asynccontextmanager
async def control_site(
    folder: Path, users: set[int] | None = None, database: Database | None = None
) -> AsyncIterator[Site]:
    """A control API whose run directory and state are `folder`; its database is `database`, or in there."""
    settings = Settings.model_validate({"server": {"state_directory": folder, "run_directory": folder}})
    clock, log, dispatcher = FakeClock(), ListLog(), Dispatcher()
    engine = database or open_engine(settings.store, folder)
    await upgrade(engine, Author("server", clock))
    reloads: list[bool] = []

    async def reload(*, dry_run: bool) -> dict[str, Any]:
        reloads.append(dry_run)
        return {"ok": True, "changes": CHANGES, "files": [], "origins": ORIGINS}

    hub = Hub(settings, clock, log, engine, Summed(), reload, clock.now())
    asked = await asyncio.start_unix_server(
        RequestServer(dispatcher.operations()).serve, str(folder / "queue.sock")
    )
    allowed = {os.geteuid()} if users is None else users
    server = HttpServer(control_app(hub), HttpLimits(), clock, log, users=allowed)
    listening: socket.socket = open_control_socket(folder, log)
    await server.start([listening])
    try:
        yield Site(folder, dispatcher, engine, log, reloads, hub)
    finally:
        await server.close(1)
        asked.close()
        await asked.wait_closed()
        if database is None:
            await engine.dispose()
