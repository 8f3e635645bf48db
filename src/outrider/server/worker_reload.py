"""A worker takes other settings: what it builds beforehand, and the swap.

Theory: connections and transactions that are open keep what they began with; whatever begins afterwards
takes the new. A listener that goes on keeps its socket, so what waits in its backlog is taken by the new one.
One that is removed takes no more connections and lets its sessions come to their end.

Invariant: no connection is closed by a reload.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from outrider.model.ports import Intake, PolicyDoor
from outrider.net.http import HttpServer
from outrider.net.tls import TlsContexts
from outrider.policy.signing import ConfiguredSigning
from outrider.receive.listener import SmtpListener
from outrider.receive.options import ListenerOptions
from outrider.schedule.shaping import ShapingTable
from outrider.server.bindings import delivery_of, shaping_of
from outrider.server.doors import server_tls
from outrider.server.follow import Snapshot, Swap
from outrider.server.scripts import configured_signing
from outrider.server.settings import Settings
from outrider.server.worker import Worker, scripts_for

RETIRED_SECONDS = 3600.0
# chosen: the longest that a request may take by the largest body deadline; then it is broken off


@dataclass(slots=True)
class _Built:
    """What can fail, done beforehand."""

    shaping: ShapingTable
    tls: TlsContexts
    scripts: PolicyDoor | None
    signing: ConfiguredSigning | None
    sources: Callable[[], Awaitable[list[str]]]
    changed: list[tuple[ListenerOptions, Intake, ssl.SSLContext | None]] = field(default_factory=list)
    smtp: list[SmtpListener] = field(default_factory=list)
    http: list[tuple[str, HttpServer]] = field(default_factory=list)


def prepare(worker: Worker, snapshot: Snapshot) -> Swap:
    """Build what `snapshot` needs; see `Follower.follow`."""
    old, new = worker.settings, snapshot.settings
    worker.add_counts(snapshot.counts)
    built = _Built(
        shaping_of(new),
        TlsContexts(new.net.tls),
        worker.policy.build(new),
        configured_signing(new, worker.clock),
        worker.policy.prepare_sources(new),
    )
    built.tls.client("required")
    known = {listener.options.name for listener in worker.listeners}
    for options in new.listener:
        if options.name in known:
            built.changed.append((options, worker.intake_of(options), server_tls(options)))
        else:
            built.smtp.append(worker.smtp_door(options, built.scripts))
    before = {options.name: options for options in old.http}
    for door in new.http:
        if before.get(door.name) != door or door.name in snapshot.sockets:
            built.http.append((door.name, worker.http_door(door)))

    async def swap() -> None:
        await _swap(worker, new, snapshot, built)

    return swap


async def _swap(worker: Worker, new: Settings, snapshot: Snapshot, built: _Built) -> None:
    worker.egress.reshape(built.shaping)
    delivery = delivery_of(new)
    worker.deliverer.reconfigure(delivery, built.tls)
    worker.pressure.reshape(new.server)
    worker.contents.reshape(new.server.content_cache_bytes)
    worker.reports.reshape(new.classify.dsn)
    worker.events.reshape(new.record)
    await built.sources()
    worker.policy.reshape(new.policy)
    worker.routing.reshape(new, built.shaping, delivery, built.signing)
    worker.take_scripts(built.scripts)
    old_sockets = [worker.sockets[name] for name in snapshot.sockets if name in worker.sockets]
    worker.sockets.update(snapshot.sockets)
    await _swap_smtp(worker, new, built)
    await _swap_http(worker, new, built)
    for each in old_sockets:
        each.close()
    wanted = {listener.name for listener in new.listeners}
    for name in set(worker.sockets) - wanted:
        worker.sockets.pop(name).close()


async def _swap_smtp(worker: Worker, new: Settings, built: _Built) -> None:
    by_name = {listener.options.name: listener for listener in worker.listeners}
    for options, intake, tls in built.changed:
        listener = by_name[options.name]
        listener.reconfigure(options, intake=intake, tls=tls, scripts=scripts_for(options, built.scripts))
        await worker.listen(listener)
    for listener in built.smtp:
        worker.tasks.create_task(listener.run())
        worker.listeners.append(listener)
        await worker.listen(listener)
    wanted = {options.name for options in new.listener}
    for name in set(by_name) - wanted:
        worker.servers.pop(name).close()
        worker.listeners.remove(by_name[name])
        worker.removed.append(by_name[name])
        _retire(worker, _ended(worker, by_name[name]))


async def _ended(worker: Worker, listener: SmtpListener) -> None:
    """Wait for the last session of a listener that was removed."""
    while listener.sessions:  # noqa: ASYNC110 - they end by themselves, perhaps in minutes
        await asyncio.sleep(1.0)
    listener.stop()
    worker.removed.remove(listener)


async def _swap_http(worker: Worker, new: Settings, built: _Built) -> None:
    old = dict(worker.http)
    wanted = {door.name for door in new.http}
    fresh = dict(built.http)
    for door in new.http:
        worker.rates_of(door).reshape(door.key_recipients_per_second)
    for name, http in fresh.items():
        await http.start([worker.sockets[name].dup()])
    worker.http[:] = [(name, http) for name, http in (old | fresh).items() if name in wanted]
    for name, http in old.items():
        if name in fresh or name not in wanted:
            _retire(worker, http.close(RETIRED_SECONDS))


def _retire(worker: Worker, work: Coroutine[Any, Any, None]) -> None:
    task = worker.tasks.create_task(_quietly(work))
    worker.retiring.add(task)
    task.add_done_callback(worker.retiring.discard)


async def _quietly(work: Coroutine[Any, Any, None]) -> None:
    with suppress(asyncio.CancelledError):
        await work
