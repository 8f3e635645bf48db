"""What the supervisor opens for its workers: sockets for each listener, and counts that they share.

In: settings. Out: sockets and memory that workers inherit when they are forked; at a reload the new ones,
which are handed to workers that run already.

Invariant: until a reload is adopted, what was open stays open and what it opened can be closed again. A
socket that we were given stays with its listener as long as there is one, whatever address and port it names.
"""

import mmap
import os
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field

from outrider.base.errors import ConfigError
from outrider.net.listen import local_endpoint, open_listener, open_listeners
from outrider.net.tls import TlsContexts, server_context
from outrider.receive.client_history import history_name, shared_history
from outrider.receive.clients import shared_counts
from outrider.receive.http_limits import rates_name, shared_rates
from outrider.receive.options import ListenerOptions
from outrider.record.options import RecordOptions
from outrider.server.settings import Settings

METRICS = "metrics"
"""The name of the metrics' socket among those of the control process."""


@dataclass(slots=True)
class Opened:
    """What a reload opened.

    Attributes:
        sockets: By listener, for each worker.
        memory: Shared counts of listeners that are new, by name.
        files: Their descriptors.
    """

    sockets: dict[str, tuple[socket.socket, ...]] = field(default_factory=dict)
    memory: dict[str, mmap.mmap] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)

    def close(self) -> None:
        """The reload does not take place."""
        for group in self.sockets.values():
            for each in group:
                each.close()
        self.forget_files()

    def forget_files(self) -> None:
        """The workers have their own descriptors."""
        for descriptor in self.files.values():
            os.close(descriptor)
        self.files.clear()


class Doors:
    """See the module.

    Attributes:
        sockets: For each worker, by listener; what is forked later takes them from here.
        counts: Shared memory by name; see `receive.clients`.
        given: Listeners whose socket was opened for us; who did that says where it listens.
    """

    def __init__(self, settings: Settings, activated: Mapping[str, socket.socket] | None = None) -> None:
        """Open everything.

        Args:
            settings: Validated.
            activated: Sockets that were opened for us, by listener; all workers share them.

        Raises:
            ConfigError: An address cannot be had.
        """
        self.workers = settings.server.workers
        self.sockets: list[dict[str, socket.socket]] = [{} for _ in range(self.workers)]
        self.counts: dict[str, mmap.mmap] = {}
        activated = activated or {}
        self.given = set(activated)
        for listener in settings.listeners:
            given = activated.get(listener.name)
            self._put(
                listener.name,
                (given,) * self.workers
                if given is not None
                else self._open(listener.name, listener.address, listener.port),
            )
        for name in _counts_of(settings):
            self.counts[name] = _memory(name, self.workers)

    def _open(self, name: str, address: str, port: int) -> tuple[socket.socket, ...]:
        return open_listeners(endpoint(address, port), self.workers, option=f"listener.{name}")

    def _put(self, name: str, group: tuple[socket.socket, ...]) -> None:
        for own, each in zip(self.sockets, group, strict=True):
            old = own.get(name)
            own[name] = each
            if old is not None:
                old.close()

    def open_for(self, old: Settings, new: Settings) -> Opened:
        """What `new` needs and `old` had not.

        Raises:
            ConfigError: An address cannot be had; nothing is left open.
        """
        opened = Opened()
        known = {listener.name: (listener.address, listener.port) for listener in old.listeners}
        try:
            for listener in new.listeners:
                is_moved = known.get(listener.name) != (listener.address, listener.port)
                if is_moved and listener.name not in self.given:
                    opened.sockets[listener.name] = self._open(listener.name, listener.address, listener.port)
            for name in _counts_of(new):
                if name not in self.counts:
                    size = len(_memory(name, self.workers))
                    descriptor = opened.files[name] = os.memfd_create("outrider-counts")
                    os.ftruncate(descriptor, size)
                    opened.memory[name] = mmap.mmap(descriptor, size)
        except (ConfigError, OSError):
            opened.close()
            raise
        return opened

    def adopt(self, opened: Opened, settings: Settings) -> None:
        """The reload took place: have what it opened, and close what is not needed any more."""
        for name, group in opened.sockets.items():
            self._put(name, group)
        self.counts.update(opened.memory)
        opened.forget_files()
        names = {listener.name for listener in settings.listeners}
        self.given &= names
        for own in self.sockets:
            for name in set(own) - names:
                own.pop(name).close()

    def places(self, settings: Settings, opened: Opened) -> list[tuple[str, int]]:
        """Where the SMTP listeners of `settings` really listen; ports that were 0 are known now."""
        return [
            local_endpoint(opened.sockets.get(listener.name, (self.sockets[0].get(listener.name),))[0])  # type: ignore[arg-type]  # one of the two has it
            for listener in settings.listener
        ]


def endpoint(address: str, port: int) -> str:
    """As `net.listen` reads it."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def metrics_sockets(options: RecordOptions) -> dict[str, socket.socket]:
    """The listening socket of the metrics, as `METRICS`; nothing where they are switched off.

    Raises:
        ConfigError: The address cannot be had.
    """
    if not options.metrics_port:
        return {}
    place = endpoint(options.metrics_address, options.metrics_port)
    return {METRICS: open_listener(place, option="record.metrics_port", reuse_port=False)}


def check_certificates(settings: Settings) -> None:
    """Read the files of TLS, so that a server which could not use them does not start.

    Raises:
        ConfigError: With every listener whose certificate cannot be used, and what is wrong with authorities.
    """
    if faults := unusable_certificates(settings):
        raise ConfigError("mail could not be received or sent by TLS", faults)


def unusable_certificates(settings: Settings) -> tuple[str, ...]:
    """What is wrong with certificates and keys of listeners, and with the authorities that we believe."""
    faults = []
    try:
        if settings.net.tls.ca_file is not None:
            TlsContexts(settings.net.tls).client("required")
    except ConfigError as error:
        faults.append(error.message)
    for listener in settings.listener:
        try:
            server_tls(listener)
        except ConfigError as error:
            faults.append(error.message)
    return tuple(faults)


def server_tls(options: ListenerOptions) -> ssl.SSLContext | None:
    """The TLS context of a listener, its certificate read now; None where it has none.

    Raises:
        ConfigError: The certificate cannot be used.
    """
    if options.certificate is None:
        return None
    return server_context(options.certificate, options.private_key, where=f"listener {options.name}")


def _counts_of(settings: Settings) -> list[str]:
    return [
        *(listener.name for listener in settings.listeners),
        *(history_name(listener.name) for listener in settings.listener),
        *(rates_name(door.name) for door in settings.http),
    ]


def _memory(name: str, workers: int) -> mmap.mmap:
    if name.endswith(history_name("")):
        return shared_history(workers)
    return shared_rates(workers) if name.endswith(rates_name("")) else shared_counts(workers)
