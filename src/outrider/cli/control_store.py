"""How commands reach the control database: opened, brought up to date, closed again.

In: the configuration and a coroutine function. Out: what it returns. The server need not run; while it does,
its workers see a change within a second or two.
"""

import asyncio
import os
import pwd
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from outrider.base.clock import SystemClock
from outrider.cli.output import settings_of
from outrider.store import credentials
from outrider.store.credentials import Kind
from outrider.store.editor import Author
from outrider.store.engine import Database, open_engine
from outrider.store.records import ApiKey, Rights, SmtpUser
from outrider.store.upgrade import upgrade

Result = TypeVar("Result")
Record = TypeVar("Record", SmtpUser, ApiKey)
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; kept in the audit log.")]
TenantName = Annotated[str, typer.Option("--tenant", "-t", help="Whose it is.")]
OfTenant = Annotated[str | None, typer.Option("--tenant", "-t", help="Only of this tenant.")]
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
Description = Annotated[str | None, typer.Option("--description", help="For people.")]
Expires = Annotated[
    datetime | None,
    typer.Option("--expires", formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="It ends then, UTC."),
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


def actor() -> str:
    """Who runs the command, for the audit log."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = str(os.getuid())
    behind = os.environ.get("SUDO_USER")
    return f"cli:{name}" if not behind else f"cli:{name} (sudo by {behind})"


def with_store(
    config: Path, work: Callable[[Database, Author], Awaitable[Result]], reason: str = ""
) -> Result:
    """Do `work` on the control database that `config` describes.

    Raises:
        ConfigError: The configuration is wrong, or the database's file cannot be opened.
        StoreError: What is asked cannot be.
        UnavailableError: The database does not answer.
    """
    settings = settings_of(config)
    settings.server.state_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    clock = SystemClock()

    async def run() -> Result:
        database = open_engine(settings.store, settings.server.state_directory)
        try:
            await upgrade(database, Author(actor(), clock, "first use"))
            return await work(database, Author(actor(), clock, reason))
        finally:
            await database.dispose()

    return asyncio.run(run())


def rights_of(
    tenant: str,
    description: str | None,
    domains: list[str] | None,
    streams: list[str] | None,
    default_stream: str | None,
    networks: list[str] | None,
    expires: datetime | None,
    *,
    sandbox: bool,
) -> Rights:
    """What a new credential may do, as the options say."""
    return Rights(
        tenant,
        description or "",
        tuple(domains or ()),
        tuple(streams or ()),
        default_stream or "",
        tuple(networks or ()),
        sandbox,
        expires_time=unix_time(expires),
    )


def change_rights(
    config: Path, kind: Kind[Record], name: str, reason: str, *, never_expires: bool = False, **asked: Any
) -> Record:
    """Change what was asked of a credential's rights; what is None stays, and '' alone empties a list.

    Args:
        config: Names the database.
        kind: Of the credential.
        name: Its name or id.
        reason: For the audit log.
        never_expires: It loses its end.
        asked: By the names of `Rights`.

    Raises:
        typer.BadParameter: Nothing was asked.
    """
    changes = {
        field: tuple(filter(None, value)) if isinstance(value, list) else value
        for field, value in asked.items()
        if value is not None
    }
    if never_expires:
        changes["expires_time"] = None
    if not changes:
        raise typer.BadParameter("say what to change")
    return with_store(
        config, lambda db, author: credentials.set_rights(db, author, kind, name, **changes), reason
    )


def unix_time(at: datetime | None) -> float | None:
    """A time from the command line, which is UTC."""
    return None if at is None else at.replace(tzinfo=UTC).timestamp()


def shown_time(unix_seconds: float | None) -> str:
    """A time for people."""
    return "" if unix_seconds is None else datetime.fromtimestamp(unix_seconds, UTC).isoformat(" ", "minutes")


def rights_row(rights: Rights) -> tuple[str, ...]:
    """Cells of a table: tenant, domains, streams, networks, state."""
    words = [] if rights.is_enabled else ["disabled"]
    words += ["sandbox"] if rights.is_sandbox else []
    words += [f"until {shown_time(rights.expires_time)}"] if rights.expires_time is not None else []
    return (
        rights.tenant,
        ", ".join(rights.domains) or "tenant's",
        ", ".join(rights.streams) or "all",
        ", ".join(rights.networks) or "any",
        ", ".join(words) or "works",
    )
