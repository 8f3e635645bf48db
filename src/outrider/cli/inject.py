"""`outrider inject`: hand in numbered messages and count what became of them."""

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.live import Live
from rich.text import Text

from outrider.base.clock import SystemClock
from outrider.base.errors import ConfigError
from outrider.base.exits import Exit
from outrider.net.loop import run
from outrider.sim.load import Load
from outrider.sim.options import LoadOptions
from outrider.sim.stopping import Stopping, first_failure
from outrider.sim.tally import Journal

app = typer.Typer(add_completion=False)


def inject(
    target: Annotated[
        str, typer.Argument(help="Server to hand messages to, as HOST:PORT.")
    ] = "127.0.0.1:2525",
    via: Annotated[str, typer.Option(help="smtp or http.")] = "smtp",
    http_form: Annotated[str, typer.Option(help="Body of HTTP requests: json or rfc822.")] = "json",
    api_key: Annotated[
        str, typer.Option(envvar="OUTRIDER_API_KEY", help="Bearer key for HTTP.", show_default=False)
    ] = "",
    count: Annotated[int, typer.Option(help="Messages to send; 0 is without end.")] = 1000,
    seconds: Annotated[float, typer.Option(help="Stop after so long; 0 is without end.")] = 0,
    rate: Annotated[float, typer.Option(help="Messages a second; 0 is as fast as it goes.")] = 0,
    size: Annotated[int, typer.Option(help="Octets of a message.")] = 2048,
    connections: Annotated[int, typer.Option(help="Connections at once.")] = 10,
    connection_messages: Annotated[int, typer.Option(help="Messages on a connection; 0 is no limit.")] = 0,
    recipients: Annotated[int, typer.Option(help="Recipients of a message.")] = 1,
    domain: Annotated[
        list[str] | None, typer.Option(help="Recipients' domain, DOMAIN or DOMAIN=WEIGHT; may be repeated.")
    ] = None,
    sender: Annotated[str, typer.Option(help="MAIL FROM.")] = "sender@practice.test",
    run_name: Annotated[str, typer.Option("--run", help="First part of every number.")] = "run",
    seed: Annotated[int, typer.Option(help="Seed of the choice of recipients.")] = 1,
    lock_step: Annotated[
        bool, typer.Option("--lock-step", help="Wait for each reply; no pipelining.")
    ] = False,
    give_up_seconds: Annotated[
        float, typer.Option(help="Fail when the server cannot be reached for so long; 0 is never.")
    ] = 30,
    journal: Annotated[
        Path | None, typer.Option(help="Append the fate of every message and recipient to this file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as JSON.")] = False,
) -> None:
    """Hand in numbered messages at a rate, over many connections, and count their fates.

    Examples:
      outrider inject --count 10000 --connections 20

      outrider inject 127.0.0.1:8025 --via http --api-key KEY --rate 50 --seconds 60 --journal sent.txt

      outrider inject --domain big.test=8 --domain small.test=2 --recipients 3 --size 50000
    """
    options = _options(
        target,
        via=via,
        http_form=http_form,
        api_key=api_key,
        count=count,
        seconds=seconds,
        rate=rate,
        size=size,
        connections=connections,
        connection_messages=connection_messages,
        recipients=recipients,
        domains=_domains(domain or ["plain.test"]),
        sender=sender,
        run=run_name,
        seed=seed,
        pipelined=not lock_step,
        give_up_seconds=give_up_seconds,
    )
    try:
        report = run(_run(options, journal, as_json=as_json))
    except asyncio.CancelledError:
        # the second Ctrl-C, which does not wait for replies
        raise typer.Exit(Exit.INTERRUPTED) from None
    typer.echo(json.dumps(report) if as_json else summary(report))


def _options(target: str, **values: Any) -> LoadOptions:
    host, _, port = target.rpartition(":")
    try:
        return LoadOptions(host=host.strip("[]") or "127.0.0.1", port=int(port), **values)
    except ValidationError as error:
        faults = tuple(
            f"--{'.'.join(map(str, one['loc'])).replace('_', '-')}: {one['msg']}" for one in error.errors()
        )
        raise ConfigError("these options do not fit", faults) from error
    except ValueError as error:
        raise ConfigError(f"{target}: a target is HOST:PORT") from error


def _domains(texts: list[str]) -> tuple[tuple[str, float], ...]:
    mix = []
    for text in texts:
        name, _, weight = text.partition("=")
        try:
            mix.append((name, float(weight or 1)))
        except ValueError as error:
            raise ConfigError(f"--domain {text}: the weight is not a number") from error
    return tuple(mix)


async def _run(options: LoadOptions, path: Path | None, *, as_json: bool) -> dict[str, Any]:
    stopping = Stopping()
    try:
        journal = Journal(path) if path else None
    except OSError as error:
        raise ConfigError(f"--journal {path}: {error}") from error
    load = Load(options, clock=SystemClock(), journal=journal)
    try:
        async with asyncio.TaskGroup() as group:
            helpers = [group.create_task(_stop_when(stopping.event, load))]
            if not as_json:
                helpers.append(group.create_task(_show(load)))
            try:
                await load.run()
            finally:
                for helper in helpers:
                    helper.cancel()
    except ExceptionGroup as failures:
        raise first_failure(failures) from None
    finally:
        if journal:
            journal.close()
    return load.tally.report(load.seconds)


async def _stop_when(event: asyncio.Event, load: Load) -> None:
    await event.wait()
    load.stop()


async def _show(load: Load) -> None:
    console = Console(stderr=True)
    if not console.is_terminal:
        return
    with Live(console=console, transient=True, refresh_per_second=4) as live:
        while True:
            live.update(Text(summary(load.tally.report(load.seconds))))
            await asyncio.sleep(0.25)


def summary(report: dict[str, Any]) -> str:
    """The report of a load in one line."""
    messages, latency = report["messages"], report["latency_ms"]
    line = (
        f"{messages['acknowledged']} acknowledged, {messages['refused']} refused, "
        f"{messages['unknown']} unknown"
        f" in {report['seconds']:.1f} s ({report['per_second']:.0f}/s); "
        f"p50 {latency['p50']:.1f} ms, p99 {latency['p99']:.1f} ms; "
        f"{report['connections']} connections, {report['connections_lost']} lost"
    )
    return f"{line}; last refusal: {report['last_reply']}" if report["last_reply"] else line


app.command()(inject)

if __name__ == "__main__":
    app()
