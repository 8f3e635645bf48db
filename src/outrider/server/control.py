"""The control process: answers the command line, sums the metrics, ages the events.

What it knows of the queue it asks the dispatcher; it touches no mail itself.
"""

import asyncio
import os
import socket
from functools import partial
from typing import Any

from outrider.base.clock import format_utc
from outrider.net.http import HttpLimits, HttpServer
from outrider.net.listen import open_listener
from outrider.record.exposition import metrics_app
from outrider.record.options import RecordOptions
from outrider.record.recover import expire
from outrider.server.faults import files_of
from outrider.server.lifecycle import Birth, Lifecycle
from outrider.server.measures import Measures, Summed
from outrider.server.requests import RequestServer, ask
from outrider.spool.directory import SpoolDirectory

EXPIRE_SECONDS = 3600.0
# chosen: events are kept for weeks, an hour more or less does not matter
SOCKET_MODE = 0o600
RESTART_SECONDS = 10.0
# chosen: a dispatcher that died is back in a second or two, more where it has much to read
QUEUE_OPERATIONS = (
    "queue.select",
    "queue.count",
    "queue.hold",
    "queue.release",
    "queue.retry",
    "queue.purge",
    "queue.move",
)


class Control:
    """See the module."""

    def __init__(self, birth: Birth, life: Lifecycle) -> None:
        self._birth = birth
        self._life = life
        self._sockets = birth.settings.server.sockets_directory
        self._queue_socket = self._sockets / "queue.sock"
        self._started_at = birth.clock.now()
        self._summed = Summed()

    async def status(self) -> dict[str, Any]:
        """What `outrider status` shows."""
        dispatcher = await ask(self._queue_socket, "status", patience_seconds=RESTART_SECONDS)
        clock = self._birth.clock
        return {
            "time": format_utc(clock.wall()),
            "up_seconds": clock.now() - self._started_at,
            "hostname": self._birth.settings.server.hostname,
            "accepted": self._summed.accepted(),
            "attempts": self._summed.attempts(),
            **dispatcher,
        }

    async def _forward(self, operation: str, **arguments: Any) -> Any:
        return await ask(self._queue_socket, operation, patience_seconds=RESTART_SECONDS, **arguments)

    async def _age_events(self) -> None:
        """Remove events that are older than they are kept."""
        settings = self._birth.settings
        files = files_of(os.environ)
        spool = SpoolDirectory(files, str(settings.server.spool_directory))
        while True:
            living = frozenset(log for log in spool.logs() if spool.is_alive(log))
            removed = await asyncio.to_thread(
                expire, files, settings.server.events_directory, settings.record, self._birth.clock, living
            )
            if removed:
                self._birth.log.info("record.expired", files=removed)
            await asyncio.sleep(EXPIRE_SECONDS)

    async def run(self) -> None:
        """Answer until told to stop."""
        settings = self._birth.settings
        operations = {name: partial(self._forward, name) for name in QUEUE_OPERATIONS}
        requests = RequestServer({**operations, "status": self.status})
        path = self._sockets / "control.sock"
        path.unlink(missing_ok=True)
        http = HttpServer(
            metrics_app(self._summed.collection.render), HttpLimits(), self._birth.clock, self._birth.log
        )
        snapshots = self._summed.open(self._sockets)
        asyncio.get_running_loop().add_reader(snapshots, self._summed.receive, snapshots)
        measures = Measures(
            settings.record, self._birth.name, self._birth.clock, is_restart=self._birth.is_restart
        )
        async with asyncio.TaskGroup() as tasks:
            server = await asyncio.start_unix_server(requests.serve, str(path))
            path.chmod(SOCKET_MODE)
            if settings.record.metrics_port:
                await http.start([_metrics_socket(settings.record)])
            background = [
                tasks.create_task(self._age_events()),
                tasks.create_task(measures.send_to(self._sockets)),
            ]
            self._life.ready()
            await self._life.draining.wait()
            server.close()
            await http.close(1.0)
            for task in background:
                task.cancel()


def _metrics_socket(options: RecordOptions) -> socket.socket:
    address = options.metrics_address
    host = f"[{address}]" if ":" in address else address
    return open_listener(f"{host}:{options.metrics_port}", option="record.metrics_port", reuse_port=False)


async def run_control(birth: Birth, life: Lifecycle) -> None:
    """Main of the control process."""
    await Control(birth, life).run()
