"""`outrider dkim`: make, show, check and rotate the keys that sign mail."""

import asyncio
import os
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from outrider.base.exits import Exit
from outrider.cli.control_store import Reason, act_as_owner, with_store
from outrider.cli.output import (
    CONFIG_DEFAULT,
    AsJson,
    ConfigPath,
    print_json,
    print_table,
    say,
    settings_of,
)
from outrider.store.audit import noting
from outrider.store.editor import Author
from outrider.store.engine import Database

if TYPE_CHECKING:
    from outrider.net.resolver import DnsResolver
    from outrider.privacy.signing_ring import SigningRing
    from outrider.server.settings import Settings
    from outrider.server.signing import Rotation

app = typer.Typer(no_args_is_help=True, help="Keys that sign mail (DKIM), and their records in DNS.")

KeyType = Literal["rsa", "ed25519"]
Domain = Annotated[str, typer.Argument(help="The signing domain.")]
SelectorName = Annotated[str, typer.Argument(help="The selector, such as 2026a.")]
TypeOption = Annotated[KeyType, typer.Option("--type", help="Kind of the key.")]
Bits = Annotated[int, typer.Option("--bits", help="Size of an RSA key.", min=2048, max=8192)]


def domain_name(text: str) -> str:
    """A domain as it was typed, in A-labels and lower case."""
    from outrider.base.errors import AddressError
    from outrider.model.mailbox import parse_domain

    try:
        return parse_domain(text)
    except AddressError as error:
        raise typer.BadParameter(f"{text} is no domain name: {error.message}") from error


def _ring(config: ConfigPath) -> tuple["Settings", "SigningRing"]:
    from outrider.base.clock import SystemClock
    from outrider.server.signing import open_signing_ring

    settings = settings_of(config)
    act_as_owner(settings)
    return settings, open_signing_ring(settings, SystemClock())


def _resolver(settings: "Settings") -> "DnsResolver":
    from outrider.base.clock import SystemClock
    from outrider.server.resolvers import new_resolver

    return new_resolver(settings.net, SystemClock())


def _say_record(name: str, text: str) -> None:
    from outrider.wire.dkim.record import zone_line

    say(f"Publish this TXT record at {name}:")
    typer.echo(text)
    say("As a line of a zone file, in strings of at most 255 octets:")
    typer.echo(zone_line(name, text))


@app.command("keygen")
def keygen(
    domain: Domain,
    selector: SelectorName,
    key_type: TypeOption = "rsa",
    bits: Bits = 2048,
    reason: Reason = "",
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Make a key and print its record. Nothing signs with it before `outrider dkim rotate`.

    Examples:
      outrider dkim keygen shop.example 2026a
      outrider dkim keygen shop.example 2026e --type ed25519
    """
    from outrider.server.signing_shown import shown_record
    from outrider.wire.dkim.record import format_record, record_name

    _, ring = _ring(config)
    domain = domain_name(domain)
    name = record_name(selector.lower(), domain)

    async def do(database: Database, author: Author) -> None:
        async with noting(database, author, "dkim.keygen", name) as noted:
            made = ring.make(domain, selector, key_type, bits)
            noted.facts |= {"type": made.key_type, "bits": made.bits}

    with_store(config, do, reason)
    text = format_record(ring.key(domain, selector))
    path = str(ring.path(domain, selector))
    if as_json:
        record = shown_record(name, text)
        print_json({"domain": domain, "selector": selector.lower(), "file": path, "record": record})
        return
    say(f"Made the key of {name} in {path}.")
    _say_record(name, text)
    say(f"Then: outrider dkim rotate {domain} {selector}")


@app.command("show")
def show(
    domain: Annotated[str | None, typer.Argument(help="Only this domain, with its records.")] = None,
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Show the keys that were made here, what state they are in, and their records.

    Examples:
      outrider dkim show
      outrider dkim show shop.example
    """
    from outrider.server.signing_shown import shown_keys

    _, ring = _ring(config)
    found = shown_keys(ring, ring.domains() if domain is None else [domain_name(domain)])
    if as_json:
        print_json(found)
        return
    if not found:
        say("There are no keys here; `outrider dkim keygen DOMAIN SELECTOR` makes one.")
        return
    columns = [name for name in found[0] if name != "record"]
    print_table("Signing keys", columns, [[each[name] for name in columns] for each in found])
    if domain is not None:
        for each_found in found:
            if each_found["trouble"]:
                continue
            _say_record(each_found["record"]["name"], each_found["record"]["value"])


@app.command("check")
def check(
    domain: Annotated[list[str] | None, typer.Argument(help="Domains; all that have keys here.")] = None,
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Compare the keys with their records in DNS; exit code 1 when one that signs is not published.

    Checked are the keys that the configuration names, that a query gives, and that were made here. A domain
    that is named and has none is not in order either; without any name and any key, nothing is wrong.

    Examples:
      outrider dkim check
      outrider dkim check shop.example --json
    """
    from outrider.base.clock import SystemClock
    from outrider.server.signing import RecordState
    from outrider.server.signing_shown import checked_keys

    settings, _ = _ring(config)
    domains = [*map(domain_name, domain or ())]
    told = asyncio.run(checked_keys(settings, os.environ, SystemClock(), _resolver(settings), domains))
    if as_json:
        print_json(told)
    elif told["keys"]:
        rows = []
        for each in told["keys"]:
            found = each["record"] or {"state": "no key", "what": each["trouble"]}
            rows.append((each["domain"], each["selector"], each["state"], found["state"], found["what"]))
        print_table("Keys and their records", ("domain", "selector", "key", "record", "found"), rows)
        for record in [each["record"] for each in told["keys"] if each["record"]]:
            if record["state"] not in {RecordState.PUBLISHED, RecordState.UNANSWERED}:
                _say_record(record["name"], record["value"])
    else:
        say("There are no keys to check.")
    patterns = [each.domain for each in settings.dkim if each.key_source and "*" in each.domain]
    if patterns and not domain and not as_json:
        names = ", ".join(patterns)
        say(f"Not checked, as no domain was named: keys that a query gives for {names}. Name the domains.")
    if not told["ok"]:
        raise typer.Exit(Exit.FOUND)


@app.command("rotate")
def rotate(
    domain: Domain,
    selector: SelectorName,
    key_type: TypeOption = "rsa",
    bits: Bits = 2048,
    keep_days: Annotated[
        int, typer.Option(help="Days for which the key before must stay published.", min=1, max=365)
    ] = 14,
    trust: Annotated[
        bool, typer.Option("--trust", help="Take the record for published on your word, without a look-up.")
    ] = False,
    reason: Reason = "",
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Sign with another key from now on, once its record is in DNS; exit code 1 while it is not.

    The key is made where the selector is new. The one before is kept until its date, and can be taken back by
    rotating to it. A running server takes the new key up within seconds.

    Examples:
      outrider dkim rotate shop.example 2026b
      outrider dkim rotate shop.example 2026b --keep-days 30
    """
    from outrider.server.signing import rotate as rotated
    from outrider.server.signing_shown import noted_rotation, shown_rotation
    from outrider.wire.dkim.record import record_name

    settings, ring = _ring(config)
    domain = domain_name(domain)
    name = record_name(selector.lower(), domain)

    async def do(database: Database, author: Author) -> "Rotation":
        async with noting(database, author, "dkim.rotate", name) as noted:
            done = await rotated(
                ring,
                None if trust else _resolver(settings),
                domain,
                selector,
                key_type=key_type,
                bits=bits,
                keep_seconds=keep_days * 86_400.0,
            )
            noted.facts |= noted_rotation(done)
        return done

    done = with_store(config, do, reason)
    if as_json:
        print_json(shown_rotation(done))
    else:
        _say_rotation(domain, selector, done)
    if done.active is None:
        raise typer.Exit(Exit.FOUND)


def _say_rotation(domain: str, selector: str, done: "Rotation") -> None:
    for each in done.removed:
        say(f"Removed {each.name}, whose date has passed: its record may be taken out of DNS.")
    if done.active is None:
        made = "made and " if done.was_made else ""
        say(f"{selector} of {domain} was {made}not activated: {done.check.what}.")
        _say_record(done.check.name, done.check.expected)
        say(f"Once it can be seen: outrider dkim rotate {domain} {selector}")
        return
    say(f"{done.active.name} of {domain} signs from now on ({done.check.what}).")
    if done.kept is not None:
        until = done.kept.told()["keep_until"]
        say(f"Leave the record of {done.kept.name} in DNS until {until}: mail that it signed is on its way.")
