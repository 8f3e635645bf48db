"""How many connections, messages and refusals came lately from a network, and how many sessions it has open.

In: what happens at the SMTP listeners that scripts are asked for. Out: sums of windows by network, over all
workers of the node.

Theory: as in `policy.series`, a window of a network is one shared number that ends with the span. An address
counts in each of its `PREFIXES`, because there is no sum over the hashes of the addresses of a network.
Sessions that are open are numbers of each worker's own, found again by their owner: what a worker that died
had counted is forgotten when its successor begins. A session is open for a day at most as far as this goes,
and each connection of its network renews that.

Invariant: what cannot be counted costs no mail; the log says so.

Not here: the limits of listeners (receive.clients), which know single clients only.
"""

import contextlib
import ipaddress
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from outrider.base.errors import StoreError, UnavailableError
from outrider.base.log import Log
from outrider.model.flow import Origin
from outrider.policy.shared import SharedCells, owner_of

Kind = Literal["connections", "receptions", "rejections"]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

PREFIXES: Final = {4: (8, 16, 24, 32), 6: (24, 32, 48, 56, 64, 128)}
"""Of networks that are counted; an IPv6 /24 because scripts ask for "/24" whoever the client is."""

WINDOWS_MAX: Final = 1_440
# chosen: a day in minutes; each window that is counted is looked up
SECONDS_MAX: Final = 86_400
# chosen: of a window; who means more has mistaken the unit
MONITORS_MAX: Final = 16
# chosen: each costs six numbers for whatever happens
_SESSION_SECONDS: Final = 86_400.0
# chosen: the longest of a connection's deadlines, renewed by its client's commands, is far below
_WARN_SECONDS: Final = 60.0
# chosen: whoever looks at the log sees that it lasts
_KNOWN_CLIENTS: Final = 4_096
# chosen: those of a busy minute; their networks are worked out once


@dataclass(frozen=True, slots=True)
class Monitor:
    """Windows that are counted.

    Attributes:
        seconds: Of a window.
        windows: How many are kept.
    """

    seconds: int
    windows: int

    def __str__(self) -> str:
        return f"{self.seconds},{self.windows}"


def parse_monitor(text: str) -> Monitor:
    """A monitor as it is configured and as scripts name it: seconds and windows, as `60,1`.

    Raises:
        ValueError: It is none.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() and len(part) <= 6 for part in parts):
        raise ValueError(f"{text!r} is no monitor: write seconds and windows, as '60,1'")
    seconds, windows = map(int, parts)
    if not 1 <= seconds <= SECONDS_MAX or not 1 <= windows <= WINDOWS_MAX:
        raise ValueError(
            f"the monitor {text!r} has windows of 1 to {SECONDS_MAX} seconds, and 1 to {WINDOWS_MAX} of them"
        )
    return Monitor(seconds, windows)


def parse_network(text: str) -> Network:
    """A network or an address, as one of those that are counted; IPv4 in IPv6 is IPv4 (RFC 4291 §2.5.5.2).

    Raises:
        ValueError: It is none, or its size is not counted.
    """
    address, slash, prefix = text.partition("/")
    try:
        found = ipaddress.ip_address(address)
        mapped = found.ipv4_mapped if found.version == 6 else None
        network = ipaddress.ip_network(f"{mapped or found}{slash}{prefix}", strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is no address or network") from None
    if network.prefixlen not in PREFIXES[network.version]:
        known = ", ".join(f"/{each}" for each in PREFIXES[network.version])
        raise ValueError(f"networks are counted for {known}, not for /{network.prefixlen}")
    return network


@lru_cache(_KNOWN_CLIENTS)
def networks_of(client: str) -> tuple[bytes, ...]:
    """The networks that an address counts in, itself first; none for what is no address."""
    try:
        network = parse_network(client)
    except ValueError:
        return ()
    prefixes = reversed(PREFIXES[network.version])
    return tuple(str(network.supernet(new_prefix=each)).encode() for each in prefixes)


class Audit:
    """See the module.

    Args:
        monitors: What is counted; at least one.
        listeners: Names of the listeners that are.
        workers: How many processes count sessions.
        cells: Gives the numbers that all workers share.
        wall: Unix seconds.
        log: Server log.
        column: Number of this process, from 0; one that counts nothing itself needs none.
    """

    def __init__(
        self,
        monitors: Sequence[Monitor],
        listeners: frozenset[str],
        workers: int,
        cells: Callable[[], SharedCells],
        wall: Callable[[], float],
        log: Log,
        column: int = 0,
    ) -> None:
        self._monitors = tuple(monitors)
        self._listeners = listeners
        self._workers = workers
        self._cells = cells
        self._wall = wall
        self._log = log
        self._column = column
        self._dropped = -1
        self._warned_at = -_WARN_SECONDS

    # what happens

    def begin(self) -> None:
        """A worker begins: the sessions of the one whose column it takes are over."""
        with self._tolerated():
            cells, owner = self._cells(), self._owner(self._column)
            cells.forget_oldest(owner, cells.slots, self._wall())

    def connected(self, client: str) -> None:
        """A session begins."""
        self._count("connections", client)
        self._count_session(client, 1)

    def left(self, client: str) -> None:
        """A session that `connected` counted has ended."""
        self._count_session(client, -1)

    def received(self, origin: Origin) -> None:
        """A message is durable."""
        if origin.listener in self._listeners:
            self._count("receptions", origin.client)

    def refused(self, origin: Origin) -> None:
        """Somebody heard a refusal."""
        if origin.listener in self._listeners:
            self._count("rejections", origin.client)

    def _count(self, kind: Kind, client: str) -> None:
        networks, now = networks_of(client), self._wall()
        with self._tolerated():
            cells = self._cells()
            for monitor in self._monitors:
                window = int(now // monitor.seconds)
                until = float((window + monitor.windows) * monitor.seconds)
                for network in networks:
                    cells.add(cells.window(_cell(cells, kind, monitor, network), window), 1, now, until)

    def _count_session(self, client: str, delta: int) -> None:
        now = self._wall()
        with self._tolerated():
            cells, owner = self._cells(), self._owner(self._column)
            for network in networks_of(client):
                key = self._session(cells, self._column, network)
                if cells.add(key, delta, now, now + _SESSION_SECONDS, owner) <= 0:
                    cells.drop(key)

    @contextlib.contextmanager
    def _tolerated(self) -> Iterator[None]:
        """Say now and then that something was not counted; nobody is refused for that."""
        reason = ""
        try:
            yield
            dropped = self._cells().dropped
            self._dropped, before = dropped, self._dropped
            if 0 <= before < dropped:
                reason = "there is too little room: raise policy.shared_numbers"
        except (StoreError, UnavailableError) as error:
            reason = error.message
        now = self._wall()
        if reason and abs(now - self._warned_at) >= _WARN_SECONDS:
            self._warned_at = now
            self._log.warning("policy.audit_not_counted", reason=reason)

    # what scripts ask

    def monitor(self, text: str) -> Monitor:
        """A monitor by its name. Raises ValueError: there is none of it."""
        monitor = parse_monitor(text)
        if monitor not in self._monitors:
            known = ", ".join(map(repr, map(str, self._monitors)))
            raise ValueError(f"no monitor {text!r} is configured; policy.audit_monitors has {known}")
        return monitor

    def total(self, kind: Kind, monitor: Monitor, network: Network, first: int, last: int) -> int:
        """The sum of the windows `first` to `last` of a network; 0 is the one that it is.

        Raises:
            UnavailableError: Nothing is counted in this process.
        """
        cells, now = self._cells(), self._wall()
        newest = int(now // monitor.seconds)
        key = _cell(cells, kind, monitor, str(network).encode())
        backs = range(first, min(last, monitor.windows - 1) + 1)
        return sum(cells.get(cells.window(key, newest - back), now) or 0 for back in backs)

    def sessions(self, network: Network) -> int:
        """How many sessions a network has open. Raises as `total`."""
        cells, now, name = self._cells(), self._wall(), str(network).encode()
        keys = (self._session(cells, column, name) for column in range(self._workers))
        return sum(max(cells.get(key, now) or 0, 0) for key in keys)

    @staticmethod
    def _owner(column: int) -> int:
        return owner_of(b"audit sessions %d" % column)

    @staticmethod
    def _session(cells: SharedCells, column: int, network: bytes) -> bytes:
        return cells.key(b"audit sessions", b"%d" % column, network)


def _cell(cells: SharedCells, kind: Kind, monitor: Monitor, network: bytes) -> bytes:
    """The key of the windows of a network."""
    return cells.key(b"audit", kind.encode(), str(monitor).encode(), network)
