"""`outrider demo`: a server, a practice internet and a stream of mail on one screen.

The server and the simulator are processes of their own; the generator runs here. At the end the account is
drawn up from what the generator was told and what the simulator received.
"""

import asyncio
import json
import re
import signal
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.live import Live as Screen
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from outrider.base.clock import SystemClock
from outrider.base.errors import OutriderError, UnavailableError
from outrider.base.exits import Exit
from outrider.cli.sim import report_table
from outrider.net.loop import run
from outrider.privacy.credentials import make_key
from outrider.server.control_api.client import ControlClient
from outrider.sim.control import ask_numbers, ask_report
from outrider.sim.demo import SENDER, demo_load, providers_by_domain, server_toml
from outrider.sim.live import Account, Live, Sample, account, sites_of
from outrider.sim.load import Load
from outrider.sim.stopping import Stopping, first_failure

app = typer.Typer(add_completion=False)

SMTP_PORT = 2525
HTTP_PORT = 8025
METRICS_PORT = 9325
# chosen, because they need no privilege and are the server's defaults; free ones serve when these are in use
START_SECONDS = 60.0  # chosen, because a start takes ten seconds or two on a busy machine
STOP_SECONDS = 40.0  # chosen: the server's drain_seconds, twice
ANSWER_SECONDS = 60.0  # chosen: twice what a start takes on a busy machine
LOOK_SECONDS = 0.05  # chosen: how exactly the time of the first delivery is known
FRAME_COLUMNS = 4
# a border and a space on either side, as rich draws a panel
FREE_COLUMNS = 2
# chosen: the terminal shows `^C` behind the last line, and what it pushes to the next one would stay there
WIDE_COLUMNS = 100
# chosen: from so many on a refusal can be read beside all the numbers
_READY = re.compile(r"\b(smtp|http) on 127\.0\.0\.1:(\d+)")
_PROGRAM = (sys.executable, "-m", "outrider.cli.main")


@dataclass(slots=True)
class _First:
    """When the first message was delivered: seconds after the demo began, None until then."""

    seconds: float | None = None

    def line(self) -> str:
        """For people."""
        if self.seconds is None:
            return "No message was delivered."
        return f"The first message was delivered {self.seconds:.1f} s after the demo began."


@dataclass(frozen=True, slots=True)
class _Stage:
    """Everything that runs."""

    smtp_port: int
    http_port: int
    api_key: str
    sim_socket: Path
    server_sockets: Path
    server: asyncio.subprocess.Process
    server_log: Path


def demo(
    seconds: Annotated[float, typer.Option(help="End by itself after so long; 0 runs until Ctrl-C.")] = 0,
    rate: Annotated[float, typer.Option(help="Messages a second.")] = 100,
    workers: Annotated[int, typer.Option(help="Worker processes of the server.")] = 2,
    drain_seconds: Annotated[
        float, typer.Option(help="Wait so long for the queue to empty at the end.")
    ] = 20,
    folder: Annotated[
        Path | None, typer.Option(help="Keep configuration, spool and logs here.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The final account as JSON.")] = False,
) -> None:
    """Run a server and a practice internet on loopback, send mail through them, and account for each message.

    Exit code 0 says that every acknowledged message was received, bounced, or is in the queue.

    Examples:
      outrider demo

      outrider demo --seconds 20 --rate 300
    """
    with tempfile.TemporaryDirectory(prefix="outrider-demo-") as temporary:
        place = folder.resolve() if folder else Path(temporary)
        place.mkdir(parents=True, exist_ok=True)
        try:
            result, seen, first = run(_demo(place, seconds, rate, workers, drain_seconds, quiet=as_json))
        except asyncio.CancelledError:
            # the second Ctrl-C, which does not wait for the queue
            raise typer.Exit(Exit.INTERRUPTED) from None
    if as_json:
        fields = {name: getattr(result, name) for name in Account.__slots__}
        typer.echo(
            json.dumps({**fields, "complete": result.complete, "first_delivery_seconds": first.seconds})
        )
    else:
        Console().print(report_table(seen))
        verdict = (
            "every acknowledged message is accounted for" if result.complete else "MAIL IS UNACCOUNTED FOR"
        )
        typer.echo(f"{first.line()}\n{result.line()}\n{verdict}")
    if not result.complete:
        raise typer.Exit(Exit.FOUND)


async def _demo(
    place: Path, seconds: float, rate: float, workers: int, drain_seconds: float, *, quiet: bool
) -> tuple[Account, dict[str, Any], _First]:
    clock = SystemClock()
    began_at = clock.now()
    first = _First()
    stopping = Stopping()
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(_running(place, workers))
        if not quiet:
            typer.echo(by_hand(stage.smtp_port, stage.http_port, stage.api_key))
        loads = _loads(stage, rate)
        stopping.after(seconds)
        async with AsyncExitStack() as shown:
            show = shown.enter_context(_Display(quiet=quiet))
            try:
                async with asyncio.TaskGroup() as watching:
                    watcher = watching.create_task(_see_first(stage, clock, began_at, first, show))
                    await _send(stage, loads, stopping, show)
                    await _drain(stage, loads, drain_seconds, clock, show)
                    watcher.cancel()
            except ExceptionGroup as failures:
                raise first_failure(failures) from None
        queued = await _left(stage, clock)
        await _stop(stage.server, signal.SIGTERM)
        seen = await ask_numbers(stage.sim_socket)
        report = await ask_report(stage.sim_socket)
    fates = {key: fate for load in loads for key, fate in (load.tally.remembered or {}).items()}
    return account(fates, seen, queued), report, first


def by_hand(smtp_port: int, http_port: int, api_key: str) -> str:
    """Command lines that send one message, to be pasted into another terminal."""
    body = json.dumps(
        {"from": SENDER, "to": ["user1@bigmail.test"], "subject": "By hand", "text": "Hello from curl."}
    )
    lines = [
        "Send a message by hand:",
        f"  swaks --server 127.0.0.1:{smtp_port} --from {SENDER} --to user1@bigmail.test",
    ]
    if api_key:
        lines.append(
            f"  curl -sS http://127.0.0.1:{http_port}/v1/messages -H 'Authorization: Bearer {api_key}' "
            f"-H 'Content-Type: application/json' -d '{body}'"
        )
    return "\n".join(lines)


# what runs


@asynccontextmanager
async def _running(place: Path, workers: int) -> AsyncIterator[_Stage]:
    sim_socket = place / "sim.sock"
    with (
        (place / "sim.log").open("wb") as sim_log,
        (place / "server.log").open("wb") as server_log,
        ExitStack() as claims,
    ):
        sim = await asyncio.create_subprocess_exec(
            *_PROGRAM, "sim", "--json", "--until-eof", "--control", str(sim_socket),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=sim_log,
            start_new_session=True,
        )  # fmt: skip
        server = None
        try:
            ready = await _ready_line(sim, place / "sim.log")
            smtp_port, http_port = _port(SMTP_PORT, claims), _port(HTTP_PORT, claims)
            users, api_key = _make_key(place)
            config = place / "outrider.toml"
            config.write_text(
                server_toml(
                    folder=place / "state",
                    workers=workers,
                    smtp_port=smtp_port,
                    http_port=http_port,
                    dns_port=ready["dns_port"],
                    exchanger_port=ready["smtp_port"],
                    metrics_port=_port(METRICS_PORT, claims) or _any_port(),
                    users_file=users,
                )
            )
            server = await asyncio.create_subprocess_exec(
                *_PROGRAM, "serve", "-c", str(config), "--until-eof",
                stdin=asyncio.subprocess.PIPE, stdout=server_log, stderr=server_log,
                start_new_session=True,
            )  # fmt: skip
            stage = _Stage(
                smtp_port,
                http_port,
                api_key,
                sim_socket,
                place / "state" / "run",
                server,
                place / "server.log",
            )
            yield await _ready_server(stage)
        finally:
            if server is not None:
                await _stop(server, signal.SIGTERM)
            await _stop(sim, signal.SIGINT)


async def _ready_line(sim: asyncio.subprocess.Process, log: Path) -> dict[str, Any]:
    if sim.stdout is None:
        raise UnavailableError("the simulator was started without a pipe")
    async with asyncio.timeout(START_SECONDS):
        line = await sim.stdout.readline()
    if not line:
        raise UnavailableError(f"the simulator did not start:\n{_tail(log)}")
    ready: dict[str, Any] = json.loads(line)
    return ready


def _make_key(place: Path) -> tuple[Path, str]:
    """A users file with one API key for the demo's sender."""
    users = place / "users.toml"
    users.unlink(missing_ok=True)
    return users, make_key(users, "demo", "default", frozenset((SENDER.partition("@")[2],)))


async def _ready_server(stage: _Stage) -> _Stage:
    """The stage with the ports that the server says to be its own, once it is ready.

    That somebody answers at a port does not say that it is this one.
    """
    try:
        async with asyncio.timeout(START_SECONDS):
            while (ports := dict(_READY.findall(_said(stage.server_log)))).keys() != {"smtp", "http"}:
                if stage.server.returncode is not None:
                    raise UnavailableError(f"the server ended at once:\n{_tail(stage.server_log)}")
                await asyncio.sleep(0.05)
    except TimeoutError as error:
        raise UnavailableError(
            f"the server was not ready within {START_SECONDS:.0f} s:\n{_tail(stage.server_log)}"
        ) from error
    return replace(stage, smtp_port=int(ports["smtp"]), http_port=int(ports["http"]))


def _said(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")


def _tail(log: Path) -> str:
    return _said(log)[-4000:]


async def _stop(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    if process.returncode is not None:
        return
    process.send_signal(number)
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _port(wanted: int, claims: ExitStack) -> int:
    """`wanted` where it is free, else 0: any. No other demo takes it until `claims` end."""
    claim = claims.enter_context(socket.socket(socket.AF_UNIX))
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            # a name that is no file and ends with the process (unix(7)): between a look at the port and the
            # server's own another demo finds it free too
            claim.bind(f"\0outrider-demo-{wanted}")
            sock.bind(("127.0.0.1", wanted))
        except OSError:
            return 0
    return wanted


def _any_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        found: int = sock.getsockname()[1]
        return found


# what is sent and counted


def _loads(stage: _Stage, rate: float) -> list[Load]:
    clock = SystemClock()
    loads = [
        Load(demo_load("smtp", stage.smtp_port, rate=rate, api_key=stage.api_key), clock=clock, remember=True)
    ]
    if stage.api_key:
        options = demo_load("http", stage.http_port, rate=rate, api_key=stage.api_key)
        loads.append(Load(options, clock=clock, remember=True))
    return loads


async def _send(stage: _Stage, loads: list[Load], stopping: Stopping, show: "_Display") -> None:
    try:
        async with asyncio.TaskGroup() as group:
            watcher = group.create_task(_watch(stage, loads, show))
            stopper = group.create_task(_stop_loads(stopping.event, loads))
            async with asyncio.TaskGroup() as senders:
                for load in loads:
                    senders.create_task(load.run())
            watcher.cancel()
            stopper.cancel()
    except ExceptionGroup as failures:
        raise first_failure(failures) from None


async def _see_first(
    stage: _Stage, clock: SystemClock, began_at: float, first: _First, show: "_Display"
) -> None:
    """Return when a provider has taken a message, and say when that was."""
    while first.seconds is None:
        sites = sites_of(await ask_report(stage.sim_socket))
        if any(site.delivered for site in sites.values()):
            first.seconds = clock.now() - began_at
            show.say(first.line())
        else:
            await asyncio.sleep(LOOK_SECONDS)


async def _stop_loads(event: asyncio.Event, loads: list[Load]) -> None:
    await event.wait()
    for load in loads:
        load.stop()


async def _watch(stage: _Stage, loads: list[Load], show: "_Display") -> None:
    while True:
        show.add(await _sample(stage, loads))
        await asyncio.sleep(1)


async def _sample(stage: _Stage, loads: list[Load]) -> Sample:
    report = await ask_report(stage.sim_socket)
    counts = [load.tally.recipients for load in loads]
    return Sample(
        at=loads[0].now(),
        acknowledged=sum(count["acknowledged"] for count in counts),
        refused=sum(count["refused"] for count in counts),
        unknown=sum(count["unknown"] for count in counts),
        queued=await _queued(stage),
        sites=sites_of(report, _by_provider(loads)),
    )


def _by_provider(loads: list[Load]) -> Counter[str]:
    """Recipients that the server took, by the provider of their domain."""
    found: Counter[str] = Counter()
    provider_of = providers_by_domain()
    for load in loads:
        for domain, count in load.tally.acknowledged_by_domain.items():
            found[provider_of[domain]] += count
    return found


def _status(sockets: Path) -> dict[str, Any]:
    with ControlClient(sockets) as server:
        found: dict[str, Any] = server.get("/v1/status")
    return found


async def _queued(stage: _Stage) -> int | None:
    try:
        status: dict[str, Any] = await asyncio.to_thread(_status, stage.server_sockets)
    except OutriderError:
        return None  # a process that restarts does not answer for a moment; the view says so
    alive: int = status["queue"]["alive"]
    return alive


async def _left(stage: _Stage, clock: SystemClock) -> int:
    """What is in the queue, as soon as the server says it, for without it the account is wrong; else 0."""
    ends_at = clock.now() + ANSWER_SECONDS
    while (queued := await _queued(stage)) is None and clock.now() < ends_at:  # noqa: ASYNC110 - asked anew
        await asyncio.sleep(LOOK_SECONDS)
    return queued or 0


async def _drain(
    stage: _Stage, loads: list[Load], seconds: float, clock: SystemClock, show: "_Display"
) -> None:
    await _left(stage, clock)  # a server that has only just begun has its time too
    ends_at = loads[0].now() + seconds
    while loads[0].now() < ends_at:
        sample = await _sample(stage, loads)
        show.add(sample)
        if sample.queued == 0:
            return
        await asyncio.sleep(1)


# what is shown


class _Display:
    """A live table on a terminal, one line a second elsewhere, nothing when quiet."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._live = Live()
        self._console = Console()
        self._screen: Screen | None = None

    def __enter__(self) -> "_Display":
        if self._console.is_terminal and not self._quiet:
            self._screen = Screen(console=self._console, refresh_per_second=2)
            self._screen.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._screen:
            self._screen.stop()

    def say(self, line: str) -> None:
        """One line that stays above what changes."""
        if not self._quiet:
            self._console.print(line, highlight=False, soft_wrap=True)

    def add(self, sample: Sample) -> None:
        self._live.add(sample)
        if self._screen:
            self._screen.update(_panel(self._live, self._console.width))
        elif not self._quiet:
            sys.stdout.write(f"{self._live.line()}\n")
            sys.stdout.flush()


def _panel(live: Live, width: int) -> Panel:
    is_wide = width >= WIDE_COLUMNS
    table = Table("provider", expand=True, box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("accepted", "delivered", "deferred", "bounced"):
        table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("/s", justify="right", no_wrap=True)
    if is_wide:
        table.add_column("conns", justify="right", no_wrap=True)
    table.add_column("last refusal", ratio=1, no_wrap=True)
    sample = live.current
    if sample:
        for name, site in sample.sites.items():
            totals = site.accepted, site.delivered, site.deferred, site.bounced
            pairs = zip(totals, live.site_rates(name), strict=True)
            table.add_row(
                name,
                *(shown for total, rate in pairs for shown in (str(total), f"{rate:.0f}")),
                *([str(site.connections)] if is_wide else []),
                Text(site.last_reply, style="dim"),
            )
    inside = width - FREE_COLUMNS - FRAME_COLUMNS
    numbers = Text("\n".join(_lines(live.parts(), inside)))
    return Panel(
        Group(numbers, table), title="Outrider", subtitle="Ctrl-C drains and ends", width=width - FREE_COLUMNS
    )


def _lines(parts: Sequence[str], width: int) -> list[str]:
    """The parts in as few lines as they fit in, none torn."""
    lines = [parts[0]]
    for part in parts[1:]:
        longer = f"{lines[-1]}  {part}"
        if len(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(part)
    return lines


app.command()(demo)

if __name__ == "__main__":
    app()
