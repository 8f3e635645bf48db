"""The control process: serves the control API, sums the metrics and serves them, ages the events.

What it knows of the queue it asks the dispatcher; it touches no mail itself.

Theory: the API's socket listens before the process says that it is ready; the application, whose import
takes a tenth of a second, is made meanwhile, and who connects earlier waits in the backlog.
"""

import asyncio
import os
import socket
from functools import partial
from pathlib import Path
from typing import Any

from outrider.base.log import Log
from outrider.net.http import HttpLimits, HttpServer
from outrider.net.listen import open_listener
from outrider.record.exposition import metrics_app
from outrider.record.recover import expire
from outrider.server.audit_room import AuditRoom
from outrider.server.calendar import Calendar
from outrider.server.doors import METRICS
from outrider.server.faults import files_of
from outrider.server.follow import Snapshot, Swap
from outrider.server.key_pruning import keep_pruning
from outrider.server.lifecycle import Birth, Lifecycle
from outrider.server.measures import SOCKET_NAME, Measures, Receiver, Summed
from outrider.server.requests import ask
from outrider.server.shadows import Shadows
from outrider.server.signing import signing_keys
from outrider.server.unix_door import Closable, UnixDoor
from outrider.spool.directory import SpoolDirectory
from outrider.store.engine import database_path, open_engine

EXPIRE_SECONDS = 3600.0
# chosen: events are kept for weeks, an hour more or less does not matter
SOCKET = "control.sock"
LIMITS = HttpLimits(header_seconds=10.0, body_seconds=30.0, connections=128)
# chosen: operators and their programs, not the world
OTHERS = 0o077
# who else may enter the run directory: nobody
ROOT_USER = 0


class Control:
    """See the module."""

    def __init__(self, birth: Birth, life: Lifecycle) -> None:
        self._birth = birth
        self._life = life
        self._sockets = birth.settings.server.sockets_directory
        self._summed = Summed()

    async def _age_events(self) -> None:
        """Remove events that are older than they are kept."""
        settings = self._birth.settings
        files = files_of(os.environ)
        spool = SpoolDirectory(files, str(settings.server.spool_directory))
        directory = settings.server.events_directory
        while True:
            try:
                living = frozenset(log for log in spool.logs() if spool.is_alive(log))
                removed = await asyncio.to_thread(
                    expire, files, directory, settings.record, self._birth.clock, living
                )
            except OSError as error:  # as of a file system that became read-only: all else goes on
                self._birth.log.error("record.not_expired", directory=str(directory), error=str(error))
            else:
                if removed:
                    self._birth.log.info("record.expired", files=removed)
            await asyncio.sleep(EXPIRE_SECONDS)

    async def _prune_keys(self) -> None:
        """Remove texts of signing keys that no message of the queue names."""
        birth = self._birth
        keys = signing_keys(birth.settings, os.environ, birth.clock)
        await keep_pruning(keys, partial(ask, self._sockets / "queue.sock"), birth.clock, birth.log)

    async def _serve_api(self, listening: socket.socket) -> None:
        """Serve the control API until told to stop."""
        birth = self._birth
        settings = birth.settings
        app_module, hub_module = await asyncio.to_thread(_import_api)
        hub = hub_module.Hub(
            settings=settings,
            clock=birth.clock,
            log=birth.log,
            database=open_engine(settings.store, settings.server.state_directory),
            summed=self._summed,
            reload=self._life.reload,
            started_at=birth.up_since_at,
        )
        if database_path(settings.store, settings.server.state_directory) is not None:
            hub.room = AuditRoom(files_of(os.environ), settings.server.state_directory, birth.log)
        hub.shadows = Shadows(files_of(os.environ), birth.clock, birth.log, lambda: hub.settings)
        users = {ROOT_USER, os.geteuid()}
        api = HttpServer(app_module.control_app(hub), LIMITS, birth.clock, birth.log, users=users)
        async with asyncio.TaskGroup() as tasks:
            self._life.follow(partial(_prepare, hub, tasks), tasks)
            upgrading = tasks.create_task(hub_module.upgrade_store(hub))
            await api.start([])
            door = UnixDoor(
                self._sockets / SOCKET, partial(self._accept, api), birth.log, await api.accept(listening)
            )
            watching = [tasks.create_task(door.watch())]
            if hub.room is not None:
                watching.append(tasks.create_task(hub.room.watch()))
            await self._life.draining.wait()
            await api.close(1.0)
            for task in watching:
                task.cancel()
            upgrading.cancel()
            await hub.shadows.close()
        await hub.database.dispose()

    async def _accept(self, api: HttpServer) -> Closable:
        return await api.accept(open_control_socket(self._sockets, self._birth.log))

    async def _receive(self) -> Closable:
        """Take the snapshots of all processes."""
        return Receiver(self._summed, self._summed.open(self._sockets))

    async def run(self) -> None:
        """Answer until told to stop."""
        settings = self._birth.settings
        listening = open_control_socket(self._sockets, self._birth.log)
        http = HttpServer(
            metrics_app(self._summed.collection.render), HttpLimits(), self._birth.clock, self._birth.log
        )
        snapshots = UnixDoor(self._sockets / SOCKET_NAME, self._receive, self._birth.log)
        await snapshots.open()
        measures = Measures(
            settings.record, self._birth.name, self._birth.clock, is_restart=self._birth.is_restart
        )
        calendar = Calendar(self._birth.clock, self._birth.log, measures.set_clock_steps)
        async with asyncio.TaskGroup() as tasks:
            if (metrics := self._birth.sockets.get(METRICS)) is not None:
                await http.start([metrics])
            background = [
                tasks.create_task(self._age_events()),
                tasks.create_task(self._prune_keys()),
                tasks.create_task(measures.send_to(self._sockets)),
                tasks.create_task(snapshots.watch()),
                tasks.create_task(calendar.watch()),
            ]
            self._life.ready()
            await self._serve_api(listening)
            await http.close(1.0)
            for task in background:
                task.cancel()


def _prepare(hub: Any, tasks: asyncio.TaskGroup, snapshot: Snapshot) -> Swap:
    """Show other settings; nothing else here depends on what a reload may change."""

    async def swap() -> None:
        hub.settings = snapshot.settings
        if snapshot.is_signalled:  # beside the swap, which a slow database must not hold up
            tasks.create_task(hub.signalled("config.reload", "configuration", **snapshot.facts()))

    return swap


def _import_api() -> tuple[Any, Any]:
    from outrider.server.control_api import app, hub

    return app, hub


def open_control_socket(directory: Path, log: Log) -> socket.socket:
    """The API's listening socket, for the server's own user alone; so is the directory from now on."""
    mode = directory.stat().st_mode
    if mode & OTHERS and directory.stat().st_uid == os.geteuid():
        log.warning("control.directory_closed", directory=str(directory), mode=f"{mode & 0o777:o}")
        directory.chmod(mode & ~OTHERS & 0o7777)
    path = directory / SOCKET
    path.unlink(missing_ok=True)
    return open_listener(f"unix:{path}", option="server.run_directory")


async def run_control(birth: Birth, life: Lifecycle) -> None:
    """Main of the control process."""
    await Control(birth, life).run()
