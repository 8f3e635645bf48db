"""`outrider sim`: run a practice internet, or ask one that runs."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from outrider.base.clock import SystemClock
from outrider.net.loop import run
from outrider.sim.control import ControlSocket, ask_numbers, ask_report, ask_stop
from outrider.sim.demo import demo_world
from outrider.sim.options import WorldOptions
from outrider.sim.server import PracticeInternet
from outrider.sim.stopping import Stopping
from outrider.sim.world import load_world

app = typer.Typer(add_completion=False)


def sim(
    world: Annotated[
        Path | None, typer.Argument(help="World file; without one, the demo's world.", show_default=False)
    ] = None,
    control: Annotated[Path | None, typer.Option(help="Unix socket that answers questions.")] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write what was seen here at the end, and the numbers beside it.")
    ] = None,
    store: Annotated[Path | None, typer.Option(help="Folder for every message received.")] = None,
    smtp_port: Annotated[int | None, typer.Option(help="Port of the exchangers; 0 takes a free one.")] = None,
    dns_port: Annotated[int | None, typer.Option(help="Port of the DNS server; 0 takes a free one.")] = None,
    seconds: Annotated[float, typer.Option(help="End after so long; 0 is without end.")] = 0,
    ask: Annotated[
        str, typer.Option(help="Ask the simulator at --control: report, numbers or stop.", show_default=False)
    ] = "",
    until_eof: Annotated[bool, typer.Option("--until-eof", help="End when standard input closes.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON: one line when ready, the report at the end.")
    ] = False,
) -> None:
    """Run simulated mailbox providers and their DNS on loopback, as one TOML file describes them.

    Examples:
      outrider sim

      outrider sim world.toml --store received --report seen.json

      outrider sim world.toml --control sim.sock &  outrider sim --ask report --control sim.sock
    """
    if ask:
        _ask(ask, control)
        return
    options = load_world(world) if world else demo_world()
    changes: dict[str, Any] = {}
    if smtp_port is not None:
        changes["smtp_port"] = smtp_port
    if dns_port is not None:
        changes["dns"] = options.dns.model_copy(update={"port": dns_port})
    options = options.model_copy(update=changes)
    seen = run(_run(options, control, report, store, seconds, until_eof=until_eof, as_json=as_json))
    if as_json:
        typer.echo(json.dumps(seen))
    else:
        Console().print(report_table(seen))


async def _run(
    options: WorldOptions,
    control: Path | None,
    report: Path | None,
    store: Path | None,
    seconds: float,
    *,
    until_eof: bool,
    as_json: bool,
) -> dict[str, Any]:
    stopping = Stopping()
    stopping.after(seconds)
    if until_eof:
        stopping.at_end_of_input()
    async with PracticeInternet(options, clock=SystemClock(), store=store) as world:
        socket = ControlSocket(world, control, stopping.event.set) if control else None
        if socket:
            await socket.start()
        _announce(world, as_json=as_json)
        await stopping.event.wait()
        if socket:
            await socket.close()
        if report:
            world.write_report(report)
        return world.report()


def _announce(world: PracticeInternet, *, as_json: bool) -> None:
    if as_json:
        places = [
            {"provider": one.provider, "host": one.host, "address": one.address, "port": one.port}
            for one in world.listeners
        ]
        ready = {"ready": True, "smtp_port": world.smtp_port, "dns_port": world.dns_port, "listeners": places}
        typer.echo(json.dumps(ready))
    else:
        typer.echo(f"DNS on {world.dns.address}:{world.dns_port}; {len(world.listeners)} exchangers:")
        for one in world.listeners:
            typer.echo(f"  {one.address}:{one.port}  {one.host} ({one.provider})")
        typer.echo("Ctrl-C ends and shows what was seen.")
    sys.stdout.flush()


def _ask(question: str, control: Path | None) -> None:
    if control is None:
        raise typer.BadParameter("--ask needs --control, the socket of a running simulator")
    if question == "report":
        typer.echo(json.dumps(asyncio.run(ask_report(control)), indent=2))
    elif question == "numbers":
        for (number, recipient), (taken, reported) in asyncio.run(ask_numbers(control)).items():
            typer.echo(f"{number}\t{recipient}\t{taken}\t{reported}")
    elif question == "stop":
        asyncio.run(ask_stop(control))
    else:
        raise typer.BadParameter(f"--ask knows report, numbers and stop, not {question!r}")


def report_table(seen: dict[str, Any]) -> Table:
    """What the providers saw, as a table for people: recipients, and the most connections and messages."""
    title = f"{seen['seconds']:.0f} s, {seen['dns']['queries']} DNS questions"
    table = Table("provider", title=title, title_justify="left", box=box.SIMPLE, padding=(0, 1))
    for heading in ("taken", "twice", "deferred", "rejected", "conns", "minute"):
        table.add_column(heading, justify="right")
    table.add_column("breaches")
    for name, one in seen["providers"].items():
        table.add_row(
            name,
            str(one["recipients"]),
            str(one["duplicates"]),
            str(one["deferred"]),
            str(one["rejected"]),
            str(one["connections"]["most"]),
            str(one["most_in_a_minute"]["messages"]),
            ", ".join(f"{kind} {count}" for kind, count in one["violations"].items()),
        )
    return table


app.command()(sim)

if __name__ == "__main__":
    app()
