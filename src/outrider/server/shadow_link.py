"""Sightings on their way from a worker to the process that runs the shadow: never waited for.

In: what the live scripts were asked. Out: octets on a socket, as long as it takes them.

Theory: the process with the shadow listens on a socket of its own in the run directory. A worker looks once a
second whether it is there, and while it is, sessions that begin are told. What the socket does not take at
once waits here up to a bound; beyond it a sighting is dropped, and of its session only the end is told, when
there is room again, with how many were dropped.

Invariant: the live mail never waits for the shadow, and what is kept for it is bounded.
"""

import asyncio
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from outrider.model.flow import Origin
from outrider.model.ports import PolicySession
from outrider.policy.sightings import Closed, Message, Missed, Opened, Seen, Sighting
from outrider.policy.way_out_sightings import Outward

SOCKET: Final = "shadow.sock"
BUFFER_OCTETS_MAX: Final = 8 << 20
# chosen: of each worker; some thousand small messages
LOOK_SECONDS: Final = 1.0
# chosen: an operator waits that long without wondering
FRAME_OCTETS_MAX: Final = 64 << 20
# chosen: larger messages are not looked at
_LENGTH_OCTETS: Final = 4

_ENCODER: Final = msgspec.msgpack.Encoder()


class Tap(asyncio.Protocol):
    """`policy.surroundings.Tap` of a worker.

    Args:
        path: The socket.
    """

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._transport: asyncio.WriteTransport | None = None
        self._numbers = count(1)
        self._broken: set[int] = set()  # sessions of which something was dropped
        self._unclosed: list[int] = []  # those that have ended, and nobody was told
        self._missed = 0

    @property
    def is_on(self) -> bool:
        """Somebody listens."""
        return self._transport is not None

    def session(self, session: PolicySession, origin: Origin) -> PolicySession:
        """`session`, seen, as long as there is room to say so."""
        self._catch_up()
        number = next(self._numbers)
        return Seen(session, number, self._tell) if self._send(Opened(number, origin)) else session

    def outward(self, told: Outward) -> None:
        """Scripts were asked on the way out: each question stands alone."""
        self._catch_up()
        self._send(told)

    def _tell(self, sighting: Sighting) -> None:
        number = sighting.session
        if self._transport is None:
            return
        self._catch_up()
        if isinstance(sighting, Closed):
            self._broken.discard(number)
            if not self._write(sighting):
                self._unclosed.append(number)
        elif number not in self._broken and not self._send(sighting):
            self._broken.add(number)

    def _send(self, sighting: Sighting | Outward) -> bool:
        """False, and counted, where there is no room for it."""
        is_sent = self._write(sighting)
        self._missed += not is_sent
        return is_sent

    def _catch_up(self) -> None:
        """Say what there was no room for and what the shadow has to know all the same."""
        while self._unclosed and self._write(Closed(self._unclosed[-1])):
            self._unclosed.pop()
        if self._missed and self._write(Missed(self._missed)):
            self._missed = 0

    def _write(self, message: Message) -> bool:
        transport = self._transport
        octets = _ENCODER.encode(message)
        if transport is None or len(octets) + transport.get_write_buffer_size() > BUFFER_OCTETS_MAX:
            return False
        transport.write(len(octets).to_bytes(_LENGTH_OCTETS, "big") + octets)
        return True

    async def run(self) -> None:
        """Look for a listener until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                if self._transport is None and Path(self._path).exists():  # noqa: ASYNC240 - a look into a cache
                    with suppress(OSError):
                        await loop.create_unix_connection(lambda: self, self._path)
                self._catch_up()
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            if self._transport is not None:
                self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        own = cast("asyncio.WriteTransport", transport)  # uvloop's is none by its class
        own.set_write_buffer_limits(high=BUFFER_OCTETS_MAX)
        self._broken.clear()
        self._unclosed.clear()
        self._missed = 0
        self._transport = own

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why it went does not matter
        self._transport = None


class SightingReader:
    """Octets in, sightings out. Raises MsgspecError where they are none."""

    def __init__(self) -> None:
        self._decoder: Any = msgspec.msgpack.Decoder(Message)
        self._buffer = bytearray()

    def feed(self, octets: bytes) -> list[Message]:
        """What is whole by now."""
        buffer = self._buffer
        buffer += octets
        found = []
        start = 0
        while len(buffer) - start >= _LENGTH_OCTETS:
            end = start + _LENGTH_OCTETS + int.from_bytes(buffer[start : start + _LENGTH_OCTETS], "big")
            if end - start > FRAME_OCTETS_MAX:
                raise msgspec.DecodeError("a sighting is too long")
            if len(buffer) < end:
                break
            found.append(self._decoder.decode(bytes(buffer[start + _LENGTH_OCTETS : end])))
            start = end
        del buffer[:start]
        return found
