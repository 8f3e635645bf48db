"""What `outrider user` and `outrider key` have in common: the options of rights, and the commands on one.

Both kinds of credentials live by the same rules (`store.credentials`), so `common_commands` gives both the
commands that show one, block it and let it in again.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

import typer

from outrider.cli.asking import reason_for
from outrider.cli.control_store import Description, Reason, TenantName, shown_time, with_store
from outrider.cli.output import CONFIG_DEFAULT, AsJson, ConfigPath, print_done, print_facts
from outrider.privacy.principals import facts_of
from outrider.store import credentials
from outrider.store.credentials import Kind
from outrider.store.engine import Database
from outrider.store.lookup import look_up
from outrider.store.records import INJECT, ApiKey, Rights, SmtpUser, shown

Record = TypeVar("Record", SmtpUser, ApiKey)

Domains = Annotated[
    list[str] | None,
    typer.Option(
        "--domain",
        "-d",
        help="Domain that MAIL FROM and From may use; repeat it. `.example.com` is all below it, `*` any; "
        "without one, the domains of the tenant.",
    ),
]
Streams = Annotated[
    list[str] | None,
    typer.Option("--stream", "-s", help="Stream that messages may name; repeat it. Without one, all."),
]
DefaultStream = Annotated[
    str | None, typer.Option("--default-stream", help="Stream of messages that name none.")
]
Networks = Annotated[
    list[str] | None,
    typer.Option("--network", "-n", help="Network that it may be used from; repeat it. Without one, any."),
]
Sandbox = Annotated[bool, typer.Option("--sandbox", help="Messages are accepted and recorded, never sent.")]
Expires = Annotated[
    datetime | None,
    typer.Option(
        "--expires",
        # the last two as lists and the control API show a time
        formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S.%fZ"],
        metavar="<time>",
        help="It ends then, UTC: 2027-12-31 or 2027-12-31T18:00:00Z.",
    ),
]
SetDomains = Annotated[
    list[str] | None,
    typer.Option(
        "--domain", "-d", help="All its domains from now on; repeat it. '' alone: those of the tenant."
    ),
]
SetStreams = Annotated[
    list[str] | None,
    typer.Option(
        "--stream", "-s", help="All its streams from now on; repeat it. '' alone: any of the tenant."
    ),
]
SetNetworks = Annotated[
    list[str] | None,
    typer.Option("--network", "-n", help="All its networks from now on; repeat it. '' alone: any."),
]
SetSandbox = Annotated[
    bool | None, typer.Option("--sandbox/--live", help="Messages are never sent, or are sent.")
]
NeverExpires = Annotated[bool, typer.Option("--never-expires", help="It has no end any more.")]


async def missing_domains(database: Database, kind: Kind[Record], name: str) -> str:
    """Why a credential cannot send yet, and what is to be done; empty where it can."""
    facts = facts_of((await look_up(database, kind, [name]))[name])
    pending = sorted(facts.pending_domains)
    if INJECT not in facts.scopes or (facts.sender_domains and not pending):
        return ""
    which = f"{pending[0].removeprefix('.') if pending else 'DOMAIN'} -t {facts.tenant}"
    what = (
        f"not verified: {', '.join(pending)}" if pending else f"tenant {facts.tenant} has no verified domain"
    )
    how = f"`outrider domain add {which}` and `outrider domain verify {which}`"
    return f"{what}; its mail is refused until {how}"


def print_missing(missing: str) -> None:
    """A note for people, beside what the command prints."""
    if missing:
        typer.echo(f"outrider: note: {missing}", err=True)


def new_rights(
    *,
    tenant: TenantName = "default",
    domain: Domains = None,
    stream: Streams = None,
    default_stream: DefaultStream = None,
    network: Networks = None,
    expires: Expires = None,
    sandbox: Sandbox = False,
    description: Description = None,
) -> Rights:
    """What a new credential may do, as the options say."""
    return Rights(
        tenant,
        description or "",
        tuple(domain or ()),
        tuple(stream or ()),
        default_stream or "",
        tuple(network or ()),
        sandbox,
        expires_time=_unix_time(expires),
    )


class Changes(NamedTuple):
    """What shall change, by the names of `Rights` (None stays), and whether the credential loses its end."""

    asked: dict[str, Any]
    never_expires: bool


def changed_rights(
    *,
    domain: SetDomains = None,
    stream: SetStreams = None,
    default_stream: DefaultStream = None,
    network: SetNetworks = None,
    expires: Expires = None,
    never_expires: NeverExpires = False,
    sandbox: SetSandbox = None,
    description: Description = None,
) -> Changes:
    """What the options say shall change; '' alone empties a list."""
    lists = {"domains": domain, "streams": stream, "networks": network}
    asked: dict[str, Any] = {
        name: None if value is None else list(filter(None, value)) for name, value in lists.items()
    }
    asked |= {"stream": default_stream, "expires_time": _unix_time(expires)}
    asked |= {"is_sandbox": sandbox, "description": description}
    return Changes(asked, never_expires)


def _unix_time(at: datetime | None) -> float | None:
    """A time from the command line, which is UTC."""
    return None if at is None else at.replace(tzinfo=UTC).timestamp()


def change(
    config: Path,
    kind: Kind[Record],
    name: str,
    reason: str,
    word: str,
    changes: Changes,
    *,
    as_json: bool,
    **more: Any,
) -> None:
    """Change what a credential may do, and print what came of it.

    Args:
        config: Names the database.
        kind: Of the credential.
        name: Its name or id.
        reason: For the audit log.
        word: What was done, for people.
        changes: What was asked.
        as_json: Print the credential as JSON.
        more: Further fields that shall change.

    Raises:
        StoreError: Nothing was asked, there is no such credential, or a field is wrong.
    """
    values = credentials.changes_of({**changes.asked, **more}, never_expires=changes.never_expires)
    record = with_store(
        config, lambda db, author: credentials.set_rights(db, author, kind, name, **values), reason
    )
    print_done(f"{word} {name}; workers know within two seconds.", shown(record), as_json=as_json)


def remove(config: Path, kind: Kind[Record], name: str, reason: str) -> None:
    """Remove a credential for good; see `store.credentials.remove` for what it raises."""
    why = reason_for(f"removing {kind.what} {name}", reason)
    with_store(config, lambda db, author: credentials.remove(db, author, kind, name), why)


def common_commands(app: typer.Typer, kind: Kind[Record], example: str) -> None:
    """Give `app` the commands `show`, `disable` and `enable` of one kind; help names `example`."""
    what = kind.what
    name_argument = typer.Argument(help=f"Name of the {what}, as `outrider {what} list` shows it.")

    def show(
        name: Annotated[str, name_argument], config: ConfigPath = CONFIG_DEFAULT, as_json: AsJson = False
    ) -> None:
        facts = shown(with_store(config, lambda db, _author: credentials.find(db, kind, name)))
        print_facts(f"{what.capitalize()} {name}", facts, as_json=as_json)

    def disable(
        name: Annotated[str, name_argument],
        reason: Reason = "",
        config: ConfigPath = CONFIG_DEFAULT,
        as_json: AsJson = False,
    ) -> None:
        why = reason_for(f"disabling {what} {name}", reason)
        change(config, kind, name, why, "Disabled", NOTHING, as_json=as_json, is_enabled=False)

    def enable(
        name: Annotated[str, name_argument],
        reason: Reason = "",
        config: ConfigPath = CONFIG_DEFAULT,
        as_json: AsJson = False,
    ) -> None:
        change(config, kind, name, reason, "Enabled", NOTHING, as_json=as_json, is_enabled=True)

    blocked = f"Refuse a {what} until it is enabled again; its sessions end within seconds."
    for command, about, more in (
        (show, f"Show what a {what} may do.", ""),
        (disable, blocked, ' --reason "unusual volume"'),
        (enable, f"Let a {what} work again.", ""),
    ):
        words = f"outrider {what} {command.__name__} {example}{more}"
        command.__doc__ = f"{about}\n\nExamples:\n  {words}"
        app.command(command.__name__)(command)


NOTHING = Changes({}, never_expires=False)


RIGHTS_COLUMNS = ("tenant", "domains", "streams", "networks", "state")


def rights_row(rights: Rights, now: float) -> tuple[str, ...]:
    """Cells of a table, for `RIGHTS_COLUMNS`; `now` in Unix seconds."""
    words = [] if rights.is_enabled else ["disabled"]
    words += ["sandbox"] if rights.is_sandbox else []
    if rights.expires_time is not None:
        word = "ended" if rights.expires_time <= now else "until"
        words.append(f"{word} {shown_time(rights.expires_time)}")
    return (
        rights.tenant,
        ", ".join(rights.domains) or "tenant's",
        ", ".join(rights.streams) or "all",
        ", ".join(rights.networks) or "any",
        ", ".join(words) or "works",
    )
