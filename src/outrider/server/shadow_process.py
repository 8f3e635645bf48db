"""The process that runs a shadow: scripts that are asked what the live ones were, and change nothing.

In: on standard input a line of JSON with settings and scripts, then a line with a number for each report that
is wanted; on a socket the workers' sightings. Out: on standard output a line of JSON for each line with that
number, the first with `FIRST` and the faults of the scripts. It ends when its input does. What scripts print
goes to standard error, as it is no answer.

Theory: it is a process of its own, so that what its scripts cost, and how they fail, is nobody else's. Data
sources are opened to be read only, keys are looked at and thrown away, counts that workers share are others.
"""

import asyncio
import os
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from outrider.base.clock import SystemClock
from outrider.base.errors import ConfigError, OutriderError
from outrider.base.log import NullLog
from outrider.net.loop import run
from outrider.policy.options import PolicyOptions, ScriptOptions
from outrider.policy.scripted import Scripts
from outrider.policy.shadow import Shadow, ShadowBindings
from outrider.record.redact import Profile, Redactor
from outrider.server.rehearsing import Stage, staged
from outrider.server.settings import Settings
from outrider.server.shadow_link import SOCKET, SightingReader

LINE_OCTETS = 64 << 20
# chosen: the settings of a very large configuration

FIRST = 0
"""Number of the first line's answer."""

Say = Callable[[Any], None]


class Begin(msgspec.Struct):
    """The first line.

    Attributes:
        settings: As JSON.
        scripts: Name and file of each script.
    """

    settings: str
    scripts: list[tuple[str, str]]


class _Listener(asyncio.Protocol):
    """One worker's link."""

    def __init__(self, shadow: Shadow, number: int) -> None:
        self._shadow = shadow
        self._number = number
        self._reader = SightingReader()
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            for sighting in self._reader.feed(data):
                self._shadow.take(self._number, sighting)
        except msgspec.MsgspecError:
            if self._transport is not None:
                self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why it went does not matter
        self._shadow.lost(self._number)


def settings_with(begin: Begin) -> Settings:
    """The settings with the shadow's scripts, and data sources that nobody writes to."""
    settings = Settings.model_validate_json(begin.settings)
    scripts = tuple(ScriptOptions(name=name, source=Path(source)) for name, source in begin.scripts)
    policy = PolicyOptions.model_validate({**dict(settings.policy), "script": scripts})
    sources = tuple(each.model_copy(update={"writable": False}) for each in settings.data_source)
    return settings.model_copy(update={"policy": policy, "data_source": sources})


def shown_of(settings: Settings) -> Callable[[str], str]:
    """What a report may show of a text: addresses only where everything shows them."""
    redactor = Redactor(Profile.FULL if settings.record.redaction is Profile.FULL else Profile.DOMAIN)
    return redactor.text


async def _serve(begin: Begin, lines: asyncio.StreamReader, say: Say) -> None:
    settings = settings_with(begin)
    clock = SystemClock()
    sockets = settings.server.sockets_directory
    async with staged(settings, clock, NullLog(), os.environ) as stage, asyncio.TaskGroup() as tasks:
        shadow = Shadow(
            clock,
            tasks,
            shown_of(settings),
            with_addresses=settings.record.redaction is Profile.FULL,
        )
        shadow.door = door_of(stage, settings, shadow)
        path = sockets / SOCKET
        path.unlink(missing_ok=True)
        numbers = count(1)
        server = await asyncio.get_running_loop().create_unix_server(
            lambda: _Listener(shadow, next(numbers)), str(path)
        )
        try:
            say({"number": FIRST, "faults": []})
            while number := await lines.readline():
                say({"number": int(number), **shadow.report()})
        finally:
            server.close()
            path.unlink(missing_ok=True)
        os._exit(0)  # hooks that wait are not waited for


def door_of(stage: Stage, settings: Settings, shadow: Shadow) -> Scripts:
    """The shadow's scripts, with all that live ones meet; they tell the shadow of their failures."""
    return Scripts(
        stage.scripts,
        shadow,
        wait_seconds=settings.policy.wait_seconds,
        bindings=ShadowBindings(
            settings.binding_names, settings.binding_group, settings.policy.default_binding
        ),
        signing=stage.around.signing,
        notes=stage.around.notes,
        checks=stage.around.checks,
        addresses=stage.around.addresses,
    )


def _answers() -> Say:
    """Takes standard output for answers alone: whatever else is written to it goes to standard error."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def say(value: Any) -> None:
        answers.write(msgspec.json.encode(value) + b"\n")
        answers.flush()

    return say


async def _main() -> None:
    say = _answers()
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=LINE_OCTETS)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    begin = msgspec.json.decode(await lines.readline(), type=Begin)
    os.nice(10)  # the live mail goes first
    try:
        await _serve(begin, lines, say)
    except OutriderError as error:
        faults = error.faults if isinstance(error, ConfigError) else ()
        say({"number": FIRST, "faults": list(faults) or [error.message]})


if __name__ == "__main__":
    run(_main())
