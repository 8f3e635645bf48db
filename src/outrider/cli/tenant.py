"""`outrider tenant`: who sends, and the streams of each."""

from typing import Annotated

import msgspec
import typer

from outrider.cli.control_store import Description, OfTenant, Reason, shown_time, with_store
from outrider.cli.output import CONFIG_DEFAULT, AsJson, ConfigPath, print_json, print_table, say
from outrider.store import tenants
from outrider.store.records import KINDS

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


def _done(text: str, value: object, *, as_json: bool) -> None:
    if as_json:
        print_json(msgspec.to_builtins(value))
    else:
        say(text)


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
    _done(f"Added {name}. Next: outrider domain add DOMAIN -t {name}", tenant, as_json=as_json)


@app.command("list")
def list_(config: ConfigPath = CONFIG_DEFAULT, as_json: AsJson = False) -> None:
    """List tenants.

    Examples:
      outrider tenant list
      outrider tenant list --json | jq '.[].name'
    """
    found = with_store(config, lambda db, _author: tenants.list_tenants(db))
    if as_json:
        print_json(msgspec.to_builtins(found))
        return
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
    print_table("Tenants", ("name", "state", "domains", "since", "description"), rows)


@app.command("show")
def show(name: Name, config: ConfigPath = CONFIG_DEFAULT, as_json: AsJson = False) -> None:
    """Show a tenant with its streams.

    Examples:
      outrider tenant show acme
    """
    tenant = with_store(config, lambda db, _author: tenants.find_tenant(db, name))
    streams = with_store(config, lambda db, _author: tenants.list_streams(db, name))
    facts = {**msgspec.to_builtins(tenant), "streams": msgspec.to_builtins(streams)}
    if as_json:
        print_json(facts)
        return
    rows = [(key, str(value)) for key, value in facts.items() if key != "streams"]
    rows.append(("streams", ", ".join(f"{stream.name} ({stream.kind})" for stream in streams)))
    print_table(f"Tenant {name}", ("what", "value"), rows)


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
    tenant = with_store(
        config,
        lambda db, author: tenants.set_tenant(
            db, author, name, description=description, verifies_domains=verify
        ),
        reason,
    )
    _done(f"Changed {name}.", tenant, as_json=as_json)


@app.command("disable")
def disable(
    name: Name, reason: Reason = "", config: ConfigPath = CONFIG_DEFAULT, as_json: AsJson = False
) -> None:
    """Accept nothing of a tenant any more and hold what is queued; running servers do so within seconds.

    Examples:
      outrider tenant disable acme --reason "complaints, ticket 4711"
    """
    tenant = with_store(
        config, lambda db, author: tenants.set_tenant(db, author, name, is_enabled=False), reason
    )
    _done(f"Disabled {name}; its queued mail is held until it is enabled again.", tenant, as_json=as_json)


@app.command("enable")
def enable(
    name: Name, reason: Reason = "", config: ConfigPath = CONFIG_DEFAULT, as_json: AsJson = False
) -> None:
    """Accept its mail again, and send what was held meanwhile.

    Examples:
      outrider tenant enable acme
    """
    tenant = with_store(
        config, lambda db, author: tenants.set_tenant(db, author, name, is_enabled=True), reason
    )
    _done(f"Enabled {name}.", tenant, as_json=as_json)


@app.command("remove")
def remove(
    name: Name, reason: Reason = "", config: ConfigPath = CONFIG_DEFAULT, as_json: AsJson = False
) -> None:
    """Remove a tenant that has no users and keys left, with its streams and domains.

    Examples:
      outrider tenant remove acme --reason "contract ended"
    """
    with_store(config, lambda db, author: tenants.remove_tenant(db, author, name), reason)
    _done(f"Removed {name}.", {"tenant": name}, as_json=as_json)


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
    _done(f"Added stream {stream} of {name}.", made, as_json=as_json)


@stream_app.command("list")
def stream_list(
    tenant: OfTenant = None, config: ConfigPath = CONFIG_DEFAULT, as_json: AsJson = False
) -> None:
    """List streams.

    Examples:
      outrider tenant stream list -t acme
    """
    found = with_store(config, lambda db, _author: tenants.list_streams(db, tenant))
    if as_json:
        print_json(msgspec.to_builtins(found))
    else:
        rows = [(each.tenant, each.name, each.kind) for each in found]
        print_table("Streams", ("tenant", "stream", "kind"), rows)


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
      outrider tenant stream remove acme newsletter
    """
    with_store(config, lambda db, author: tenants.remove_stream(db, author, name, stream), reason)
    _done(f"Removed stream {stream} of {name}.", {"tenant": name, "stream": stream}, as_json=as_json)
