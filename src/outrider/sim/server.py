"""The practice internet as one running thing: DNS, providers, reports.

In: a world. Out: listeners on loopback; `report` says what was seen.

Not here: the control socket (`sim.control`).
"""

import asyncio
import json
import random
import socket
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

from outrider.base.clock import Clock
from outrider.base.errors import ConfigError
from outrider.sim.dns import DnsServer
from outrider.sim.options import ProviderOptions, WorldOptions
from outrider.sim.provider import Provider
from outrider.sim.session import Session
from outrider.sim.tls import server_context
from outrider.sim.zones import Zones

_BACKLOG = 1024  # chosen, because a burst of connections must not be refused by the kernel first
_PORT_TRIES = 50  # chosen, because a free port is found at the first try but for bad luck


@dataclass(frozen=True, slots=True)
class Listener:
    """Where an exchanger listens."""

    provider: str
    host: str
    address: str
    port: int


class PracticeInternet:
    """All of one world.

    Use as an async context manager: inside, everything listens; `smtp_port` and `dns_port` are known.

    Args:
        options: The world.
        clock: Time.
        store: Folder for received messages, or None.
    """

    def __init__(self, options: WorldOptions, *, clock: Clock, store: Path | None = None) -> None:
        self._options = options
        self._clock = clock
        self._store = store
        self._servers: list[asyncio.Server] = []
        self._made = ExitStack()
        self._started_at = clock.now()
        self.dns = DnsServer(Zones(options), options.dns.address, options.dns.port)
        self.providers: dict[str, Provider] = {}
        self.listeners: list[Listener] = []

    @property
    def smtp_port(self) -> int:
        """The port of the exchangers that have none of their own."""
        shared = {
            listener.port
            for listener in self.listeners
            if not next(one for one in self._options.provider if one.name == listener.provider).port
        }
        return shared.pop() if shared else self.listeners[0].port

    @property
    def dns_port(self) -> int:
        """The port of the DNS server."""
        return self.dns.port

    async def __aenter__(self) -> Self:
        folder = Path(self._made.enter_context(tempfile.TemporaryDirectory(prefix="outrider-sim-")))
        try:
            sockets = bind_exchangers(self._options)
            for number, options in enumerate(self._options.provider):
                await self._open(options, sockets[number], folder)
            await self.dns.start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        for server in self._servers:
            server.close()
        await self.dns.stop()
        self._made.close()

    async def _open(self, options: ProviderOptions, sockets: list[socket.socket], folder: Path) -> None:
        loop = asyncio.get_running_loop()
        chance = random.Random(f"{self._options.seed}/{options.name}")  # noqa: S311 - repeatable on purpose
        tls = None
        if options.behaviour.tls.mode != "none":
            names = [exchanger.name for exchanger in options.mx]
            tls = server_context(
                options.behaviour.tls, names, folder / options.name, self._clock.wall(), chance
            )
        provider = Provider(options, clock=self._clock, chance=chance, tls=tls, store=self._store)
        self.providers[options.name] = provider
        for exchanger, sock in zip(options.mx, sockets, strict=True):
            server = await loop.create_server(
                partial(Session, provider, exchanger.name, loop),
                sock=sock,
                backlog=_BACKLOG,
            )
            self._servers.append(server)
            self.listeners.append(
                Listener(options.name, exchanger.name, exchanger.address, sock.getsockname()[1])
            )

    def report(self) -> dict[str, Any]:
        """What every provider saw, ready for JSON."""
        return {
            "seconds": round(self._clock.now() - self._started_at, 3),
            "smtp_port": self.smtp_port,
            "dns": {"address": self.dns.address, "port": self.dns.port, "queries": self.dns.queries},
            "providers": {name: provider.counts.report() for name, provider in self.providers.items()},
        }

    def numbered(self) -> list[tuple[str, str, int, int]]:
        """(number, recipient, times taken, failure reports about it), over all providers."""
        taken: dict[tuple[str, str], int] = {}
        reported: dict[tuple[str, str], int] = {}
        for provider in self.providers.values():
            for key, count in provider.counts.deliveries.items():
                taken[key] = taken.get(key, 0) + count
            for key, count in provider.counts.bounces.items():
                reported[key] = reported.get(key, 0) + count
        keys = taken.keys() | reported.keys()
        return [(*key, taken.get(key, 0), reported.get(key, 0)) for key in sorted(keys)]

    def write_report(self, path: Path) -> None:
        """`report` as JSON in `path`, and `numbered` beside it, one line each, tabs between."""
        path.write_text(json.dumps(self.report(), indent=2) + "\n", encoding="utf-8")
        lines = ("\t".join(map(str, line)) for line in self.numbered())
        path.with_suffix(".numbers").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def bind_exchangers(options: WorldOptions) -> list[list[socket.socket]]:
    """Bound sockets for each provider's exchangers, all on one free port where the world leaves it open.

    Raises:
        ConfigError: An address or port cannot be bound.
    """
    for left in reversed(range(_PORT_TRIES)):
        bound: list[list[socket.socket]] = []
        shared = options.smtp_port
        try:
            for provider in options.provider:
                bound.append([])
                for exchanger in provider.mx:
                    sock = _bind(exchanger.address, provider.port or shared)
                    bound[-1].append(sock)
                    if not provider.port:
                        shared = sock.getsockname()[1]
        except OSError as error:
            for sock in (one for group in bound for one in group):
                sock.close()
            if options.smtp_port or not left:
                raise ConfigError(f"{exchanger.address}: cannot listen: {error}") from error
            continue
        return bound
    raise AssertionError("unreachable: the last try returns or raises")


def _bind(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
    except OSError:
        sock.close()
        raise
    return sock
