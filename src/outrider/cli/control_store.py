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
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from outrider.base.clock import SystemClock
from outrider.base.errors import ConfigError, PermissionDeniedError
from outrider.cli.output import settings_of
from outrider.store.editor import Author
from outrider.store.engine import Database, open_engine
from outrider.store.upgrade import upgrade

if TYPE_CHECKING:
    from outrider.server.settings import Settings

Result = TypeVar("Result")
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; kept in the audit log.")]
TenantName = Annotated[str, typer.Option("--tenant", "-t", help="Whose it is.")]
OfTenant = Annotated[str | None, typer.Option("--tenant", "-t", help="Only of this tenant.")]
Description = Annotated[str | None, typer.Option("--description", help="For people.")]


def actor() -> str:
    """Who runs the command, for the audit log."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = str(os.getuid())
    behind = os.environ.get("SUDO_USER")
    return f"cli:{name}" if not behind else f"cli:{name} (sudo by {behind})"


def act_as_owner(settings: "Settings") -> None:
    """Where root runs the command, go on as the server's user until the command ends.

    What root made in the state directory (a key, a database) could not be read by the server, which would not
    start any more; and nobody who may write there can lead root elsewhere. `actor` still says who it really
    was. The server's user is who owns its lock, and before its first start who owns the directory.
    """
    state = settings.server.state_directory
    if os.geteuid() or not state.is_dir():
        return
    lock = state / "server.lock"
    found = (lock if lock.exists() else state).lstat()
    if not found.st_uid:
        return
    try:
        user = pwd.getpwuid(found.st_uid)
    except KeyError:
        os.setgroups([found.st_gid])
        os.setegid(found.st_gid)
    else:
        os.initgroups(user.pw_name, user.pw_gid)
        os.setegid(user.pw_gid)
    os.seteuid(found.st_uid)


def with_store(
    config: Path, work: Callable[[Database, Author], Awaitable[Result]], reason: str = ""
) -> Result:
    """Do `work` on the control database that `config` describes.

    Raises:
        ConfigError: The configuration is wrong, or the database's file cannot be opened.
        PermissionDeniedError: This user may not open it.
        StoreError: What is asked cannot be.
        UnavailableError: The database does not answer.
    """
    settings = settings_of(config)
    act_as_owner(settings)
    settings.server.state_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    clock = SystemClock()

    async def run() -> Result:
        try:
            database = open_engine(settings.store, settings.server.state_directory)
        except ConfigError as error:
            if isinstance(error.__cause__, PermissionError):
                why = f"{error.message}; become root or the user of the server"
                raise PermissionDeniedError(why) from error
            raise
        try:
            await upgrade(database, Author(actor(), clock, "first use", os.getuid()))
            return await work(database, Author(actor(), clock, reason, os.getuid()))
        finally:
            await database.dispose()

    return asyncio.run(run())


def shown_time(unix_seconds: float | None) -> str:
    """A time for people."""
    return "" if unix_seconds is None else datetime.fromtimestamp(unix_seconds, UTC).isoformat(" ", "minutes")
