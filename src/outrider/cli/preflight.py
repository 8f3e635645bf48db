"""`outrider preflight`: looks at a sending domain as receivers will."""

import asyncio
import os
from typing import Annotated

import typer

from outrider.base.exits import Exit
from outrider.cli.dkim import domain_name
from outrider.cli.doctor import print_findings
from outrider.cli.output import CONFIG_DEFAULT, AsJson, ConfigPath, print_json, printable, say, settings_of


def preflight(
    domain: Annotated[str, typer.Argument(help="The domain of From and MAIL FROM.")],
    binding: Annotated[
        str, typer.Argument(help="Whose addresses mail leaves from; else policy.default_binding.")
    ] = "",
    named: Annotated[str, typer.Option("--binding", help="The same as BINDING.")] = "",
    tenant: Annotated[str, typer.Option("--tenant", "-t", help="Whose mail it is.")] = "",
    reach: Annotated[
        bool, typer.Option("--reach/--no-reach", help="Connect to the domain's exchangers, to see their TLS.")
    ] = True,
    reach_port: Annotated[int, typer.Option(help="Port instead of 25.", min=1, max=65535)] = 25,
    show_all: Annotated[bool, typer.Option("--all/--problems", help="Show what is well too.")] = True,
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Look at SPF, DKIM, DMARC, MX, names and TLS of a domain; exit code 1 when mail from it would suffer.

    Prints the exact records to publish, and which records of retired methods should go.

    Examples:
      outrider preflight shop.example
      outrider preflight shop.example news --json
    """
    from outrider.base.clock import SystemClock
    from outrider.server.doctor.finding import Level, worst
    from outrider.server.preflight.examine import preflight as examined
    from outrider.server.preflight.examine import sending_as
    from outrider.server.preflight.report import report_data
    from outrider.server.resolvers import new_resolver

    if binding and named and binding != named:
        raise typer.BadParameter(f"two bindings are named, {binding!r} and {named!r}: name one")
    settings = settings_of(config)
    clock = SystemClock()
    name = domain_name(domain)
    sender = sending_as(settings, name, binding or named)
    parts = asyncio.run(
        examined(
            settings,
            os.environ,
            clock,
            new_resolver(settings.net, clock),
            name,
            sender,
            tenant=tenant,
            reach_port=reach_port if reach else None,
        )
    )
    findings = [finding for part in parts for finding in part.findings]
    failed = worst(findings) is Level.FAULT
    if as_json:
        print_json(report_data(name, sender, parts))
    else:
        addresses = ", ".join(address for address, _ in sender.addresses) or "no address"
        say(f"{name}, sent by binding {sender.binding} from {addresses} as {sender.ehlo_name}")
        print_findings([one for one in findings if show_all or one.level is not Level.GOOD])
        for record in (record for part in parts for record in part.publish):
            say(f"Publish at {record.name} ({record.why}):")
            typer.echo(printable(record.told()["zone_line"]))
    if failed:
        raise typer.Exit(Exit.FOUND)
