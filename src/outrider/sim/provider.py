"""One simulated provider: what all its connections share.

In: its options, a clock, a seeded source of chance. Out: sessions' answers, counts, stored messages.

Invariant: a connection is counted from accept until its close was seen. Where a new one would set a record or
break the limit, connections that the peer has already closed (the kernel says so) do not count, although
their close is still on its way to us: the peer never had both open.
"""

import json
import random
import socket
import ssl
from pathlib import Path
from typing import Any, Protocol

from outrider.base.clock import Clock
from outrider.sim.counts import Counts
from outrider.sim.numbered import failure_report, message_number
from outrider.sim.options import ProviderOptions
from outrider.sim.temper import Answer, Temper

CONTENT_OCTETS_MAX = 67_108_864  # chosen, because no test sends more than 64 MiB
_TCP_ESTABLISHED = 1  # linux/include/net/tcp_states.h


class Connection(Protocol):
    """A session as the provider sees it."""

    def peer_is_there(self) -> bool:
        """False once the peer has closed its end."""
        ...

    def abort(self) -> None:
        """Close it at once."""
        ...


class Provider:
    """The shared state of one provider.

    Args:
        options: What the world file says.
        clock: Time.
        chance: Seeded source of chance.
        tls: Context where TLS is offered.
        store: Folder for received messages, or None.
    """

    def __init__(
        self,
        options: ProviderOptions,
        *,
        clock: Clock,
        chance: random.Random,
        tls: ssl.SSLContext | None = None,
        store: Path | None = None,
    ) -> None:
        behaviour = options.behaviour
        self.name = options.name
        self.behaviour = behaviour
        self.counts = Counts()
        self.temper = Temper(options, chance, clock.now())
        self.tls = tls
        self.extensions = frozenset(behaviour.extensions)
        self.domains = None if behaviour.accept_any_domain else frozenset(options.all_domains())
        self.content_octets_max = behaviour.limits.max_message_bytes or CONTENT_OCTETS_MAX
        self.slow_phases = frozenset(behaviour.delay.by_phase()) | {pause.on for pause in behaviour.pause}
        self.now = clock.now
        self._store = store / options.name if store else None
        self._stored = 0
        self._connections: set[Connection] = set()
        if self._store:
            self._store.mkdir(parents=True, exist_ok=True)

    def opened(self, connection: Connection) -> Answer | None:
        """A connection was accepted; an answer means that it is one too many."""
        counts = self.counts
        here = len(self._connections)
        limit = self.behaviour.limits.max_connections
        if here >= counts.connections_most or (limit and here >= limit):
            here = sum(1 for other in self._connections if other.peer_is_there())
        refused = self.temper.too_many_connections(here)
        self._connections.add(connection)
        counts.connections = len(self._connections)
        counts.connections_total += 1
        counts.connections_most = max(counts.connections_most, here + 1)
        if refused:
            counts.connections_refused += 1
        return refused

    def closed(self, connection: Connection) -> None:
        """The close of a connection was seen."""
        self._connections.discard(connection)
        self.counts.connections = len(self._connections)

    def takes_domain(self, domain: str) -> bool:
        """True for a domain whose mail is ours."""
        return self.domains is None or domain in self.domains

    def take(self, sender: str, recipients: list[str], content: bytes, facts: dict[str, Any]) -> None:
        """A content is taken: count it, and store it where asked.

        Args:
            sender: Empty for the null reverse-path.
            recipients: Those accepted.
            content: Wire form, dot-stuffed unless it came by BDAT (`facts["stuffed"]`).
            facts: What else the envelope said.
        """
        now = self.now()
        counts = self.counts
        self._look_for_violations(content, facts)
        counts.delivered(message_number(content), recipients, len(content), now)
        self.temper.accepted(now)
        if not sender:
            number, failed = failure_report(content)
            for recipient in failed:
                counts.bounced(number, recipient)
        if self._store:
            self._write(self._store, sender, recipients, content, facts)

    def _look_for_violations(self, content: bytes, facts: dict[str, Any]) -> None:
        violations = self.counts.violations
        lines = content.count(b"\r\n")
        if content.count(b"\n") != lines:
            violations["bare-lf"] += 1
        if content.count(b"\r") != lines:
            violations["bare-cr"] += 1
        if b"\0" in content:
            violations["nul"] += 1
        if not content.isascii() and not facts["eight_bit"]:
            violations["undeclared-8bit"] += 1

    def _write(
        self, folder: Path, sender: str, recipients: list[str], content: bytes, facts: dict[str, Any]
    ) -> None:
        self._stored += 1
        raw = content
        if facts["stuffed"]:
            raw = (b"\r\n" + content).replace(b"\r\n..", b"\r\n.")[2:]
        envelope = {"mail_from": sender, "recipients": recipients, **facts}
        stem = folder / f"{self._stored:08d}"
        stem.with_suffix(".eml").write_bytes(raw)
        stem.with_suffix(".json").write_text(json.dumps(envelope) + "\n", encoding="utf-8")


def is_established(sock: Any) -> bool:
    """False when the peer's close has arrived, whether or not the loop has looked at it yet."""
    try:
        state: bytes = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
    except OSError:
        return False
    return state[0] == _TCP_ESTABLISHED
