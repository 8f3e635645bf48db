"""The shadow run of a server: begun, asked and ended for operators, in the control process.

In: scripts. Out: reports; a file that says that one runs, so that one that ended with the server is told of.

Theory: the shadow is a child of the control process and ends with it. What it is and since when is kept in a
small file in the state directory: who finds it at a start says that the run is over, and it is not begun
again, because nobody may be there who looks at it.
"""

import asyncio
import re
import sys
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Final

import msgspec

from outrider.base.clock import Clock, format_utc
from outrider.base.errors import ConfigError, SpoolError, UnavailableError
from outrider.base.files import Files, read_file, write_atomic
from outrider.base.log import Log
from outrider.policy.script import NAME_CHARACTERS
from outrider.server.requests import RefusedError
from outrider.server.settings import Settings
from outrider.server.shadow_link import SOCKET
from outrider.server.shadow_process import FIRST, LINE_OCTETS, Begin

FILE: Final = "shadow.json"
ANSWER_SECONDS: Final = 10.0
# chosen: a report takes milliseconds
BEGIN_SECONDS: Final = 60.0
# chosen: a process begins and loads scripts in two seconds, and in twenty where ten others want the processor


class Kept(msgspec.Struct):
    """What runs, as the file says it."""

    scripts: list[tuple[str, str]]
    actor: str
    since_time: float


class Shadows:
    """See the module.

    Args:
        files: The file primitive.
        clock: Time.
        log: Server log.
        settings: What the server runs with now.
    """

    def __init__(self, files: Files, clock: Clock, log: Log, settings: Callable[[], Settings]) -> None:
        self._files = files
        self._clock = clock
        self._log = log
        self._settings = settings
        self._path = str(settings().server.state_directory / FILE)
        self._process: asyncio.subprocess.Process | None = None
        self._kept: Kept | None = None
        self._turn = asyncio.Lock()
        self._numbers = count(FIRST + 1)
        self._ended = ""
        self._look_back()

    def _look_back(self) -> None:
        """Say that a run ended with the server that it ran beside."""
        try:
            kept = msgspec.json.decode(read_file(self._files, self._path), type=Kept)
            since = format_utc(kept.since_time)
            names = ", ".join(name for name, _ in kept.scripts)
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError):
            since, names = "an unknown time", "unknown scripts"
        self._ended = f"the run of {names} since {since} ended when the server was restarted"
        self._log.warning("policy.shadow_ended", reason=self._ended)
        self._forget()

    def _forget(self) -> None:
        try:
            self._files.unlink(self._path)
        except FileNotFoundError:
            pass
        except OSError as error:
            self._log.error("policy.shadow_file", error=str(error))

    async def start(self, scripts: Sequence[tuple[str, str]], actor: str) -> dict[str, Any]:
        """Begin a run.

        Raises:
            RefusedError: One runs already, or no live scripts are there to compare with.
            ConfigError: The scripts cannot be loaded.
            UnavailableError: The process does not begin.
        """
        async with self._turn:
            if self._is_running():
                raise RefusedError("a shadow runs already; `outrider policy shadow stop` ends it", "conflict")
            settings = self._settings()
            if not settings.policy.script:
                raise RefusedError(
                    "the server runs without scripts, so there is nothing to compare with; "
                    "`outrider policy run-trace` tries scripts on what was received",
                    "conflict",
                )
            self._ended = ""
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "outrider.server.shadow_process",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=LINE_OCTETS,
            )
            self._process = process
            begin = Begin(settings.model_dump_json(exclude_unset=True), list(scripts))
            try:
                await self._begin(begin, actor)
            except BaseException:
                await self._end()
                raise
            self._log.info("policy.shadow_began", scripts=[name for name, _ in scripts], actor=actor)
            return self._shown(running=True)

    async def _begin(self, begin: Begin, actor: str) -> None:
        answer = await self._ask(FIRST, msgspec.json.encode(begin), BEGIN_SECONDS)
        faults = tuple(answer["faults"])
        if faults:
            raise ConfigError("the shadow's scripts cannot be loaded: " + "; ".join(faults), faults)
        self._kept = Kept(begin.scripts, actor, self._clock.wall())
        try:
            write_atomic(self._files, self._path, msgspec.json.encode(self._kept))
        except OSError as error:
            raise SpoolError(f"{self._path} cannot be written: {error.strerror}") from error

    async def report(self) -> dict[str, Any]:
        """What the run has seen so far, or why there is none."""
        async with self._turn:
            if not self._is_running():
                return self._shown(running=False)
            return {**self._shown(running=True), **await self._report()}

    async def stop(self) -> dict[str, Any]:
        """End the run; its last report, or in `ended` why there is none.

        Raises:
            RefusedError: There is none.
        """
        async with self._turn:
            if not self._is_running():
                raise RefusedError(f"no shadow runs{': ' if self._ended else ''}{self._ended}", "absent")
            last: dict[str, Any] = {}
            try:
                last = await self._report()
            except UnavailableError:
                self._ended = "its process did not answer and was killed"
            told = {**self._shown(running=False), **last}
            await self._end()
            self._forget()
            self._log.info("policy.shadow_stopped", asked=last.get("asked"), differing=last.get("differing"))
            return told

    async def close(self) -> None:
        """The control process ends; the file stays, so that the next one says so."""
        await self._end()

    def _is_running(self) -> bool:
        process = self._process
        if process is None:
            return False
        if process.returncode is not None:
            self._ended = f"its process ended with {process.returncode}; the server's log may say why"
            self._log.error("policy.shadow_ended", reason=self._ended)
            self._process = self._kept = None
            self._forget()
            return False
        return True

    def _shown(self, *, running: bool) -> dict[str, Any]:
        kept = self._kept
        return {
            "running": running,
            "scripts": [{"name": name, "source": source} for name, source in kept.scripts] if kept else [],
            "actor": kept.actor if kept else "",
            "ended": self._ended,
        }

    async def _report(self) -> dict[str, Any]:
        number = next(self._numbers)
        return await self._ask(number, b"%d" % number, ANSWER_SECONDS)

    async def _ask(self, number: int, line: bytes, seconds: float) -> dict[str, Any]:
        """The answer of that number; others came too late for whoever asked."""
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise UnavailableError("the shadow's process is not there")
        try:
            async with asyncio.timeout(seconds):
                process.stdin.write(line + b"\n")
                await process.stdin.drain()
                while answer := await process.stdout.readline():
                    decoded: dict[str, Any] = msgspec.json.decode(answer)
                    if decoded.pop("number") == number:
                        return decoded
        except (TimeoutError, OSError) as error:
            raise UnavailableError("the shadow's process does not answer; stop it and begin anew") from error
        raise UnavailableError("the shadow's process ended; the server's log may say why")

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        self._kept = None
        if process.returncode is None:
            process.kill()
        await process.wait()
        (self._settings().server.sockets_directory / SOCKET).unlink(missing_ok=True)


def _name_of(path: Path) -> str:
    """A name for a script of a directory, as the configuration would take it."""
    stem = re.sub(r"[^A-Za-z0-9_-]", "_", path.stem)
    return (stem if stem[:1].isalpha() else f"script-{stem}")[:NAME_CHARACTERS]


def scripts_in(directory: Path) -> list[tuple[str, Path]]:
    """The scripts of a directory by name, in the order of their names."""
    return [
        (_name_of(path), path)
        for path in sorted(directory.iterdir())
        if path.suffix in {".py", ".lua"} and path.is_file()
    ]
