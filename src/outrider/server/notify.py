"""Tells the service manager how the server is: ready, reloading, stopping, alive.

In: the environment that the manager gave us, and what happens. Out: datagrams on its socket. Without a
manager nothing is sent and nothing fails.

Theory: the watchdog's sign of life is tied to the beats of the children. The supervisor heals a child that
is stuck by ending it; so the sign is withheld only when that does not help, as when a process hangs in the
kernel on a dead disk. Then the manager ends and starts the whole service.

Invariant: whatever the manager's socket does, sending never waits and never raises.

Standards: sd_notify(3), sd_watchdog_enabled(3).
"""

import contextlib
import os
import socket
from collections.abc import Iterable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Self

from outrider.base.clock import Clock

MICROSECONDS = 1_000_000
EXTEND_SECONDS = 60.0
# chosen: a start that reads long logs asks for so much more time, again and again while its processes beat
WATCHDOG_SHARE = 3
# chosen: three signs of life within the manager's time; sd_watchdog_enabled(3) recommends at least two
STATUS_OCTETS_MAX = 1_024
# chosen: one line for `systemctl status`


@dataclass(slots=True)
class Notifier:
    """See the module; `from_environment` makes one.

    Attributes:
        address: The manager's socket, `@` for one in the abstract namespace; empty without a manager.
        watchdog_seconds: The manager ends a service that gives no sign for so long; 0 is never.
        clock: For the watchdog's pace; its `now` is the machine's monotonic clock.
    """

    address: str
    watchdog_seconds: float
    clock: Clock
    _socket: socket.socket | None = None
    _sign_at: float = 0.0
    _status: str = ""
    _healthy: str = ""

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str], clock: Clock) -> Self:
        """What `environment` asks for; takes the variables out, as they are not the children's."""
        address = environment.pop("NOTIFY_SOCKET", "")
        microseconds = environment.pop("WATCHDOG_USEC", "")
        pid = environment.pop("WATCHDOG_PID", "")
        ours = not pid or pid == str(os.getpid())
        seconds = int(microseconds) / MICROSECONDS if ours and microseconds.isdecimal() else 0.0
        return cls(address if address[:1] in {"/", "@"} else "", seconds, clock)

    def send(self, *lines: str) -> None:
        """Send assignments such as `READY=1` in one datagram."""
        if not self.address:
            return
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
        place = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        with contextlib.suppress(OSError):  # a manager that is gone or full has nothing that we could mend
            self._socket.sendto("\n".join(lines).encode(), place)

    def ready(self, status: str) -> None:
        """Everything works: after the start, and again after each reload."""
        self._status = self._healthy = _one_line(status)
        self._sign_at = 0.0
        self.send("READY=1", f"STATUS={self._status}")

    def reloading(self) -> None:
        """The configuration is being read; `ready` must follow, whether it is taken or not."""
        self.send("RELOADING=1", f"MONOTONIC_USEC={int(self.clock.now() * MICROSECONDS)}")

    def stopping(self, seconds: float) -> None:
        """The server drains, which may take so long."""
        self.send(
            "STOPPING=1",
            "STATUS=Finishing what is under way",
            f"EXTEND_TIMEOUT_USEC={int(seconds * MICROSECONDS)}",
        )

    def starting(self, names: Sequence[str], silences: Iterable[float], patience_seconds: float) -> None:
        """These processes do not work yet; ask for more time while none of them is silent for too long."""
        now = self.clock.now()
        if now >= self._sign_at and all(silence <= patience_seconds for silence in silences):
            self._sign_at = now + EXTEND_SECONDS / WATCHDOG_SHARE
            self._status = _one_line(f"Starting: waiting for {', '.join(names)}")
            extension = int(EXTEND_SECONDS * MICROSECONDS)
            self.send(f"STATUS={self._status}", f"EXTEND_TIMEOUT_USEC={extension}")

    def missing(self, names: Sequence[str]) -> None:
        """These processes do not work, or none of them; told in the status when it changed."""
        text = _one_line(f"Starting again: {', '.join(names)}") if names else self._healthy
        if text != self._status:
            self._status = text
            self.send(f"STATUS={text}")

    def sign_of_life(self, silences: Iterable[float], patience_seconds: float) -> None:
        """Give the watchdog its sign when one is due and no child has been silent for too long.

        Args:
            silences: For each living child the seconds since it was really heard.
            patience_seconds: Longest silence that the supervisor can still heal.
        """
        now = self.clock.now()
        if not self.watchdog_seconds or now < self._sign_at:
            return
        if all(silence <= patience_seconds for silence in silences):
            self._sign_at = now + self.watchdog_seconds / WATCHDOG_SHARE
            self.send("WATCHDOG=1")

    def close(self) -> None:
        """Close the socket, as a child of the supervisor does that must not speak for it."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _one_line(text: str) -> str:
    return " ".join(text.split())[:STATUS_OCTETS_MAX]
