"""Ports: can the listeners be opened, or, while a server runs, do they answer?"""

import asyncio
from collections.abc import Sequence

from outrider.base.errors import ConfigError
from outrider.net.listen import open_listener
from outrider.server.doctor.finding import Finding, fault, good, note
from outrider.server.settings import Settings

CONNECT_SECONDS = 5.0
# chosen: on the same machine
PRIVILEGED = 1_024


def places(settings: Settings) -> list[tuple[str, str, int]]:
    """(name, address, port) of everything that listens."""
    found = [(one.name, one.address, one.port) for one in settings.listeners]
    if settings.record.metrics_port:
        found.append(("metrics", settings.record.metrics_address, settings.record.metrics_port))
    return found


async def check_ports(wanted: Sequence[tuple[str, str, int]], *, running: bool) -> list[Finding]:
    """All ports."""
    return [await _answers(*place) if running else _can_open(*place) for place in wanted]


def _can_open(name: str, address: str, port: int) -> Finding:
    check = f"port.{name}"
    shown = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    if not port:
        return good(check, f"{name} takes any free port of {address}")
    try:
        open_listener(shown, option=f"listener {name}", reuse_port=False).close()
    except ConfigError as error:
        if port < PRIVILEGED and "may not be opened" in error.message:
            return note(
                check,
                f"{shown} needs a privilege that this user does not have",
                f"let outrider-{name}.socket open it, or give the service CAP_NET_BIND_SERVICE",
            )
        other = "stop the other program, or " if "another program" in error.message else ""
        return fault(check, error.message, f"{other}choose another address or port")
    return good(check, f"{shown} can be opened")


async def _answers(name: str, address: str, port: int) -> Finding:
    check = f"port.{name}"
    if not port:
        return note(check, f"{name} has a port that the system chose; `outrider serve` said which")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
    except (OSError, TimeoutError) as error:
        return fault(
            check,
            f"the server runs, but {name} does not answer at {host}:{port}: "
            f"{str(error) or 'no answer in time'}",
            "look at the server's log; did it start with another configuration?",
        )
    return good(check, f"{name} answers at {host}:{port}")
