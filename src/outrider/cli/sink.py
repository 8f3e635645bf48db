"""`outrider sink`: a plain fast SMTP sink."""

import asyncio
import json
import sys
from typing import Annotated

import typer

from outrider.base.errors import UnavailableError
from outrider.net.loop import run
from outrider.sim.sink import Sink, SinkCounts
from outrider.sim.stopping import Stopping

app = typer.Typer(add_completion=False)
_BACKLOG = 1024  # chosen, because a burst of connections must not be refused by the kernel first


def sink(
    port: Annotated[int, typer.Argument(help="Port; 0 takes a free one.")] = 2526,
    address: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    seconds: Annotated[float, typer.Option(help="End after so long; 0 is without end.")] = 0,
    until_eof: Annotated[bool, typer.Option("--until-eof", help="End when standard input closes.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON: one line when ready, the counts at the end.")
    ] = False,
) -> None:
    """Take every message and count; for load tests that need a receiver which is never the bottleneck.

    Examples:
      outrider sink

      outrider sink 2600 --json --seconds 60
    """
    counts = SinkCounts()
    try:
        run(_run(counts, address, port, seconds, until_eof=until_eof, as_json=as_json))
    except OSError as error:
        raise UnavailableError(f"cannot listen on {address}:{port}: {error}") from error
    if as_json:
        typer.echo(json.dumps(counts.report()))
    else:
        typer.echo(
            f"{counts.messages} messages, {counts.recipients} recipients, {counts.octets} octets, "
            f"{counts.connections_total} connections, {counts.connections_most} at once"
        )


async def _run(
    counts: SinkCounts, address: str, port: int, seconds: float, *, until_eof: bool, as_json: bool
) -> None:
    stopping = Stopping()
    stopping.after(seconds)
    if until_eof:
        stopping.at_end_of_input()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Sink(counts), address, port, backlog=_BACKLOG)
    port = server.sockets[0].getsockname()[1]
    if as_json:
        typer.echo(json.dumps({"ready": True, "address": address, "port": port}))
    else:
        typer.echo(f"A sink on {address}:{port}; Ctrl-C ends and shows the counts.")
    sys.stdout.flush()
    await stopping.event.wait()
    server.close()


app.command()(sink)

if __name__ == "__main__":
    app()
