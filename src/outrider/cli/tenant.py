"""`outrider tenant`: who sends, and the streams of each."""

from pathlib import Path
from typing import Annotated, Any

import typer

from outrider.cli.asking import reason_for
from outrider.cli.control_store import Description, OfTenant, Reason, shown_time, with_store
from outrider.cli.output import (
    CONFIG_DEFAULT,
    AsJson,
    ConfigPath,
    print_done,
    print_facts,
    print_json,
    print_list,
)
from outrider.store import tenants
from outrider.store.records import KINDS, shown

app = typer.Typer(no_args_is_help=True, help="Tenants: who sends, and the streams of each.")
stream_app = typer.Typer(no_args_is_help=True, help="Streams of a tenant: transactional or marketing.")
app.add_typer(stream_app, name="stream")

Name = Annotated[str, typer.Argument(help="Name of the tenant.")]
StreamName = Annotated[str, typer.Argument(help="Name of the stream.")]
Verify = Annotated[
    bool | None,
    typer.Option(
        "--verify-domains/--trust-domains",
        help="Whether its domains count only once their DNS record was found, or at once.",
    ),
]


def _set(name: str, config: Path, reason: str, text: str, *, as_json: bool, **asked: Any) -> None:
    tenant = with_store(config, lambda db, author: tenants.set_tenant(db, author, name, **asked), reason)
    print_done(text, shown(tenant), as_json=as_json)


@app.command("add")
def add(
    name: Name,
    description: Description = None,
    verify: Verify = None,
    reason: Reason = "",
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Add a tenant with its stream `default`.

    Examples:
      outrider tenant add acme --description "Acme Ltd., contract 17"
      outrider tenant add lab --trust-domains
    """
    tenant = with_store(
        config,
        lambda db, author: tenants.add_tenant(
            db, author, name, description=description or "", verifies_domains=verify is not False
        ),
        reason,
    )
    print_done(f"Added {name}. Next: outrider domain add DOMAIN -t {name}", shown(tenant), as_json=as_json)


@app.command("list")
def list_(config: ConfigPath = CONFIG_DEFAULT, as_json: AsJson = False) -> None:
    """List tenants.

    Examples:
      outrider tenant list
      outrider tenant list --json | jq '.[].name'
    """
    found = with_store(config, lambda db, _author: tenants.list_tenants(db))
    rows = [
        (
            tenant.name,
            "works" if tenant.is_enabled else "disabled",
            "verified" if tenant.verifies_domains else "trusted",
            shown_time(tenant.created_time or None),
            tenant.description,
        )
        for tenant in found
    ]
    columns = ("name", "state", "domains", "since", "description")
    print_list("Tenants", columns, rows, [shown(tenant) for tenant in found], as_json=as_json)


@app.command("show")
def show(name: Name, config: ConfigPath = CONFIG_DEFAULT, as_json: AsJson = False) -> None:
    """Show a tenant with its streams.

    Examples:
      outrider tenant show acme
    """
    facts = with_store(config, lambda db, _author: tenants.describe_tenant(db, name))
    if as_json:
        print_json(facts)
        return
    streams = ", ".join(f"{stream['name']} ({stream['kind']})" for stream in facts["streams"])
    print_facts(f"Tenant {name}", {**facts, "streams": streams}, as_json=False)


@app.command("set")
def set_(
    name: Name,
    description: Description = None,
    verify: Verify = None,
    reason: Reason = "",
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Change a tenant.

    Examples:
      outrider tenant set acme --trust-domains --reason "we host their DNS"
    """
    asked = {"description": description, "verifies_domains": verify}
    _set(name, config, reason, f"Changed {name}.", as_json=as_json, **asked)


@app.command("disable")
def disable(
    name: Name, reason: Reason = "", config: ConfigPath = CONFIG_DEFAULT, as_json: AsJson = False
) -> None:
    """Accept nothing of a tenant any more and hold what is queued; running servers do so within seconds.

    Examples:
      outrider tenant disable acme --reason "complaints, ticket 4711"
    """
    why = reason_for(f"disabling tenant {name}", reason)
    text = f"Disabled {name}; its queued mail is held until it is enabled again."
    _set(name, config, why, text, as_json=as_json, is_enabled=False)


@app.command("enable")
def enable(
    name: Name, reason: Reason = "", config: ConfigPath = CONFIG_DEFAULT, as_json: AsJson = False
) -> None:
    """Accept its mail again, and send what was held meanwhile.

    Examples:
      outrider tenant enable acme
    """
    _set(name, config, reason, f"Enabled {name}.", as_json=as_json, is_enabled=True)


@app.command("remove")
def remove(
    name: Name, reason: Reason = "", config: ConfigPath = CONFIG_DEFAULT, as_json: AsJson = False
) -> None:
    """Remove a tenant that has no users and keys left, with its streams and domains.

    Examples:
      outrider tenant remove acme --reason "contract ended"
    """
    why = reason_for(f"removing tenant {name}", reason)
    with_store(config, lambda db, author: tenants.remove_tenant(db, author, name), why)
    print_done(f"Removed {name}.", {"tenant": name}, as_json=as_json)


@stream_app.command("add")
def stream_add(
    name: Name,
    stream: StreamName,
    kind: Annotated[str, typer.Option("--kind", "-k", help="transactional or marketing.")] = KINDS[0],
    reason: Reason = "",
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Add a stream.

    Examples:
      outrider tenant stream add acme newsletter --kind marketing
    """
    made = with_store(config, lambda db, author: tenants.add_stream(db, author, name, stream, kind), reason)
    print_done(f"Added stream {stream} of {name}.", shown(made), as_json=as_json)


@stream_app.command("list")
def stream_list(
    tenant: OfTenant = None, config: ConfigPath = CONFIG_DEFAULT, as_json: AsJson = False
) -> None:
    """List streams.

    Examples:
      outrider tenant stream list -t acme
    """
    found = with_store(config, lambda db, _author: tenants.list_streams(db, tenant))
    rows = [(each.tenant, each.name, each.kind) for each in found]
    columns = ("tenant", "stream", "kind")
    print_list("Streams", columns, rows, [shown(each) for each in found], as_json=as_json)


@stream_app.command("remove")
def stream_remove(
    name: Name,
    stream: StreamName,
    reason: Reason = "",
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Remove a stream that no credential names.

    Examples:
      outrider tenant stream remove acme newsletter --reason "they stopped it"
    """
    why = reason_for(f"removing stream {stream} of {name}", reason)
    with_store(config, lambda db, author: tenants.remove_stream(db, author, name, stream), why)
    print_done(f"Removed stream {stream} of {name}.", {"tenant": name, "stream": stream}, as_json=as_json)
