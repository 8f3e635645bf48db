"""`outrider queue …`: look at the queue and act on a part of it chosen by a filter.

Acting commands count first and change nothing until `--yes` (or an answer at the terminal) says so.
"""

import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from outrider.cli.output import CONFIG_DEFAULT, AsJson, ConfigPath, ask_server, print_json, print_table, say

app = typer.Typer(
    no_args_is_help=True, help="Look at the queue; hold, release, retry, move or purge parts of it."
)

Domain = Annotated[str | None, typer.Option(help="Routing domain, exact or *.suffix.")]
Tenant = Annotated[str | None, typer.Option(help="Tenant.")]
Stream = Annotated[str | None, typer.Option(help="Stream of the tenant.")]
Binding = Annotated[str | None, typer.Option(help="Binding.")]
MessageIds = Annotated[list[str] | None, typer.Option("--id", help="Message id; may be repeated.")]
OlderThan = Annotated[float | None, typer.Option(help="Received at least so many seconds ago.")]
Attempts = Annotated[int | None, typer.Option(help="At least so many attempts made.")]
OnlyHeld = Annotated[
    bool | None, typer.Option("--held/--not-held", help="Only entries on hold, or only free ones.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only count what would be changed.")]
Reason = Annotated[str, typer.Option(help="Why; kept with the entries and in the events.")]


def _filter(**criteria: Any) -> dict[str, Any]:
    return {name: value for name, value in criteria.items() if value is not None}


@app.command("list")
def list_(
    domain: Domain = None,
    tenant: Tenant = None,
    stream: Stream = None,
    binding: Binding = None,
    ids: MessageIds = None,
    older_than: OlderThan = None,
    attempts: Attempts = None,
    held: OnlyHeld = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many entries.")] = 50,
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """List queued entries, the oldest first.

    Examples:
      outrider queue list --domain example.test
      outrider queue list --held --json
    """
    chosen = _filter(
        routing_domain=domain,
        tenant=tenant,
        stream=stream,
        binding=binding,
        message_ids=ids,
        older_than_seconds=older_than,
        min_attempts=attempts,
        held=held,
    )
    rows: list[dict[str, Any]] = ask_server(config, "queue.select", **chosen, limit=limit)
    if as_json:
        print_json(rows)
        return
    columns = ("message_id", "routing_domain", "tenant", "stream", "attempts", "due_time", "held")
    print_table(f"{len(rows)} entries", columns, [[row[column] for column in columns] for row in rows])


@app.command("count")
def count(
    domain: Domain = None,
    tenant: Tenant = None,
    stream: Stream = None,
    binding: Binding = None,
    held: OnlyHeld = None,
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Count queued entries.

    Examples:
      outrider queue count --tenant shop
    """
    chosen = _filter(routing_domain=domain, tenant=tenant, stream=stream, binding=binding, held=held)
    number: int = ask_server(config, "queue.count", **chosen)
    print_json({"count": number}) if as_json else say(f"{number} entries")


def _act(
    operation: str,
    verb: str,
    chosen: dict[str, Any],
    config: Any,
    *,
    yes: bool,
    dry_run: bool,
    as_json: bool,
    **arguments: Any,
) -> None:
    number: int = ask_server(config, "queue.count", **chosen)
    if not dry_run and number and not yes:
        if not sys.stdin.isatty():
            raise typer.BadParameter(
                f"{number} entries would be changed; say --yes to do it or --dry-run to count"
            )
        typer.confirm(f"{verb} {number} entries?", abort=True)
    if dry_run or not number:
        answer = {"matched": number, "changed": 0, "busy": 0, "dry_run": dry_run}
    else:
        answer = ask_server(config, operation, **chosen, **arguments) | {"matched": number, "dry_run": False}
    if as_json:
        print_json(answer)
    elif dry_run:
        say(f"{number} entries match; nothing was changed.")
    else:
        busy = f"; {answer['busy']} are in delivery now and were left" if answer["busy"] else ""
        say(f"{verb}: {answer['changed']} of {number} entries{busy}.")


def _command(operation: str, verb: str, text: str) -> Callable[..., None]:
    def command(
        domain: Domain = None,
        tenant: Tenant = None,
        stream: Stream = None,
        binding: Binding = None,
        ids: MessageIds = None,
        older_than: OlderThan = None,
        held: OnlyHeld = None,
        reason: Reason = "by hand",
        yes: Yes = False,
        dry_run: DryRun = False,
        config: ConfigPath = CONFIG_DEFAULT,
        as_json: AsJson = False,
    ) -> None:
        chosen = _filter(
            routing_domain=domain,
            tenant=tenant,
            stream=stream,
            binding=binding,
            message_ids=ids,
            older_than_seconds=older_than,
            held=held,
        )
        _act(operation, verb, chosen, config, yes=yes, dry_run=dry_run, as_json=as_json, reason=reason)

    command.__doc__ = text
    return command


app.command("hold")(
    _command(
        "queue.hold",
        "Held",
        "Put entries on hold.\n\nExamples:\n"
        "  outrider queue hold --domain example.test --reason 'blocked' --yes",
    )
)
app.command("release")(
    _command(
        "queue.release",
        "Released",
        "Release held entries.\n\nExamples:\n  outrider queue release --domain example.test --yes",
    )
)
app.command("retry")(
    _command(
        "queue.retry",
        "Due now",
        "Make entries due at once.\n\nExamples:\n  outrider queue retry --domain example.test --yes",
    )
)
app.command("purge")(
    _command(
        "queue.purge",
        "Purged",
        "Remove entries without a report to the sender; each purge is an event with its reason.\n\n"
        "Examples:\n  outrider queue purge --tenant shop --dry-run\n"
        "  outrider queue purge --id 01k9q4m2x7f3a8w0z1 --yes",
    )
)


@app.command("move")
def move(
    to_domain: Annotated[str | None, typer.Option(help="New routing domain.")] = None,
    to_binding: Annotated[str | None, typer.Option(help="New binding.")] = None,
    domain: Domain = None,
    tenant: Tenant = None,
    stream: Stream = None,
    binding: Binding = None,
    ids: MessageIds = None,
    reason: Reason = "by hand",
    yes: Yes = False,
    dry_run: DryRun = False,
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Give entries another routing domain or binding.

    Examples:
      outrider queue move --domain old.test --to-domain relay.test --yes
    """
    if to_domain is None and to_binding is None:
        raise typer.BadParameter("say where to: --to-domain, --to-binding or both")
    chosen = _filter(routing_domain=domain, tenant=tenant, stream=stream, binding=binding, message_ids=ids)
    _act(
        "queue.move",
        "Moved",
        chosen,
        config,
        yes=yes,
        dry_run=dry_run,
        as_json=as_json,
        reason=reason,
        to_domain=to_domain,
        to_binding=to_binding,
    )
