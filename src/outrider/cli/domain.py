"""`outrider domain`: sender domains of tenants, and the DNS records that prove them."""

from typing import Annotated

import typer

from outrider.base.exits import Exit
from outrider.cli.asking import reason_for
from outrider.cli.control_store import OfTenant, Reason, TenantName, shown_time, with_store
from outrider.cli.output import (
    CONFIG_DEFAULT,
    AsJson,
    ConfigPath,
    print_done,
    print_json,
    print_list,
    say,
    settings_of,
)
from outrider.store import domains
from outrider.store.records import Domain

app = typer.Typer(no_args_is_help=True, help="Sender domains, and the DNS records that prove them.")

Name = Annotated[str, typer.Argument(help="The domain.")]


@app.command("add")
def add(
    name: Name,
    tenant: TenantName = "default",
    reason: Reason = "",
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Add a domain and print the DNS record that proves it.

    Examples:
      outrider domain add shop.example -t acme
    """
    domain = with_store(config, lambda db, author: domains.add_domain(db, author, tenant, name), reason)
    text = f"Added {domain.name}. Publish this record, then: outrider domain verify {domain.name} -t {tenant}"
    _print(domain, text, as_json=as_json)


def _print(domain: Domain, text: str, *, as_json: bool) -> None:
    """The domain as JSON, or a line for people and the record that proves it."""
    if as_json:
        print_json(domains.shown_domain(domain))
        return
    say(text)
    typer.echo(str(domains.expected_record(domain)))


@app.command("verify")
def verify(
    name: Name,
    tenant: TenantName = "default",
    trust: Annotated[
        bool, typer.Option("--trust", help="Take it for verified on your word, without a look-up.")
    ] = False,
    reason: Reason = "",
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Look for the record in the DNS; exit code 1 when it is not there.

    Examples:
      outrider domain verify shop.example -t acme
    """
    from outrider.base.clock import SystemClock
    from outrider.base.log import NullLog
    from outrider.server.domain_proof import prove_domain

    net = settings_of(config).net
    proof = with_store(
        config,
        lambda db, author: prove_domain(
            db, author, tenant, name, net, SystemClock(), NullLog(), on_word=trust
        ),
        reason,
    )
    if as_json:
        print_json({**domains.shown_domain(proof.domain), "trouble": proof.trouble})
    elif proof.trouble:
        say(f"{name} is not proved: {proof.trouble}.")
        typer.echo(str(domains.expected_record(proof.domain)))
    else:
        say(f"{name} is verified; credentials of {tenant} may use it.")
    if proof.trouble:
        raise typer.Exit(Exit.FOUND)


@app.command("list")
def list_(tenant: OfTenant = None, config: ConfigPath = CONFIG_DEFAULT, as_json: AsJson = False) -> None:
    """List domains.

    Examples:
      outrider domain list -t acme
    """
    found = with_store(config, lambda db, _author: domains.list_domains(db, tenant))
    rows = [
        (
            domain.tenant,
            domain.name,
            f"{shown_time(domain.verified_time)} ({domain.verified_by})" if domain.verified_by else "no",
        )
        for domain in found
    ]
    facts = [domains.shown_domain(domain) for domain in found]
    print_list("Domains", ("tenant", "domain", "verified"), rows, facts, as_json=as_json)


@app.command("show")
def show(
    name: Name, tenant: TenantName = "default", config: ConfigPath = CONFIG_DEFAULT, as_json: AsJson = False
) -> None:
    """Show a domain and its record.

    Examples:
      outrider domain show shop.example -t acme
    """
    domain = with_store(config, lambda db, _author: domains.find_domain(db, tenant, name))
    state = "verified" if domain.verified_time else "not verified"
    _print(domain, f"{domain.name} of {tenant}: {state}", as_json=as_json)


@app.command("remove")
def remove(
    name: Name,
    tenant: TenantName = "default",
    reason: Reason = "",
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Remove a domain; nobody of the tenant may use it any more.

    Examples:
      outrider domain remove shop.example -t acme --reason "sold"
    """
    why = reason_for(f"removing domain {name} of {tenant}", reason)
    with_store(config, lambda db, author: domains.remove_domain(db, author, tenant, name), why)
    print_done(f"Removed {name} of {tenant}.", {"tenant": tenant, "domain": name}, as_json=as_json)
