"""Sightings on their way from a worker to the process that runs the shadow: never waited for.

In: what the live scripts were asked. Out: octets on a socket, as long as it takes them.

Theory: the process with the shadow listens on a socket of its own in the run directory. A worker looks once a
second whether it is there, and while it is, sessions that begin are told. What the socket does not take at
once waits here up to a bound; beyond it a sighting is dropped, and its session is told of no more.

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
from outrider.policy.sightings import Closed, Opened, Seen, Sighting

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

    Attributes:
        dropped: Sightings that were not sent.
    """

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._transport: asyncio.WriteTransport | None = None
        self._numbers = count(1)
        self._broken: set[int] = set()
        self.dropped = 0

    @property
    def is_on(self) -> bool:
        """Somebody listens."""
        return self._transport is not None

    def session(self, session: PolicySession, origin: Origin) -> PolicySession:
        """`session`, seen."""
        number = next(self._numbers)
        self._tell(Opened(number, origin))
        return Seen(session, number, self._tell)

    def _tell(self, sighting: Sighting) -> None:
        transport = self._transport
        number = sighting.session
        if number in self._broken:
            if isinstance(sighting, Closed):
                self._broken.discard(number)
            return
        if transport is None:
            return
        octets = _ENCODER.encode(sighting)
        if len(octets) + transport.get_write_buffer_size() > BUFFER_OCTETS_MAX:
            self.dropped += 1
            if isinstance(sighting, Closed):
                return  # it never hears of the end; it has a bound for those
            self._broken.add(number)
            return
        transport.write(len(octets).to_bytes(_LENGTH_OCTETS, "big") + octets)

    async def run(self) -> None:
        """Look for a listener until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                if self._transport is None and Path(self._path).exists():  # noqa: ASYNC240 - a look into a cache
                    with suppress(OSError):
                        await loop.create_unix_connection(lambda: self, self._path)
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            if self._transport is not None:
                self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        own = cast("asyncio.WriteTransport", transport)  # uvloop's is none by its class
        own.set_write_buffer_limits(high=BUFFER_OCTETS_MAX)
        self._broken.clear()
        self._transport = own

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why it went does not matter
        self._transport = None


class SightingReader:
    """Octets in, sightings out. Raises MsgspecError where they are none."""

    def __init__(self) -> None:
        self._decoder: Any = msgspec.msgpack.Decoder(Sighting)
        self._buffer = bytearray()

    def feed(self, octets: bytes) -> list[Sighting]:
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
