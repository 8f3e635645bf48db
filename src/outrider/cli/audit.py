"""`outrider audit`: who changed what, and whether anybody changed that."""

from typing import Annotated

import msgspec
import typer

from outrider.base.exits import Exit
from outrider.cli.control_store import OfTenant, with_store
from outrider.cli.output import CONFIG_DEFAULT, AsJson, ConfigPath, print_json, print_list, say
from outrider.store import audit

app = typer.Typer(no_args_is_help=True, help="The audit log: every change, hash-chained.")


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 50,
    before: Annotated[int | None, typer.Option(help="Only rows with lower numbers.")] = None,
    tenant: OfTenant = None,
    actor: Annotated[str | None, typer.Option(help="Only by this actor.")] = None,
    action: Annotated[
        str | None, typer.Option(help="Only this action, or its kind: key, key.removed.")
    ] = None,
    subject: Annotated[str | None, typer.Option(help="Only on this subject.")] = None,
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """List changes, the newest first.

    Examples:
      outrider audit list --action key --tenant acme
      outrider audit list --json | jq -r '.[].reason'
    """
    rows = with_store(
        config,
        lambda db, _author: audit.list_audit(
            db, limit=limit, before=before, tenant=tenant, actor=actor, action=action, subject=subject
        ),
    )
    columns = ("number", "time", "actor", "action", "subject", "tenant", "reason")
    cells = [tuple(getattr(row, column) for column in columns) for row in rows]
    print_list("Audit log", columns, cells, msgspec.to_builtins(rows), as_json=as_json)


@app.command("verify")
def verify(
    witness: Annotated[
        str | None, typer.Option("--witness", help="NUMBER:HASH that an earlier verify printed.")
    ] = None,
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Check that no row was changed, removed or moved; exit code 1 when one was.

    Keep what it prints elsewhere: with it, a later check finds a log that was rewritten as a whole.

    Examples:
      outrider audit verify
      outrider audit verify --witness "$(cat /mnt/usb/outrider-audit)"
    """
    head = None if witness is None else audit.parse_head(witness)
    check = with_store(config, lambda db, _author: audit.verify(db, head))
    if as_json:
        print_json({"rows": check.rows, "head": str(check.head), "fault": check.fault})
    elif check.fault:
        say(f"The audit log is broken after row {check.rows}: {check.fault}.")
    else:
        say(f"{check.rows} rows are whole. Keep this elsewhere as a witness: {check.head}")
    if check.fault:
        raise typer.Exit(Exit.FOUND)
