"""Brings the control database to this program's schema; refuses one that a newer program made.

In: an engine. Out: the database at the newest revision, with a row in the audit log when anything was done.

Theory: Alembic runs the steps in `store.migrations` inside one transaction, under a lock, so a process that
dies in the middle leaves the old schema, and of two that start together one waits and finds nothing to do.

Invariant: no query of this package ever meets a schema that is not its own.
"""

from pathlib import Path

import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import AsyncEngine

from outrider.base.clock import Clock
from outrider.base.errors import StoreError
from outrider.store.editor import Author, Change
from outrider.store.engine import writing

_FOLDER = Path(__file__).parent
_LOCK = 0x6F757472
# key of PostgreSQL's advisory lock: "outr", chosen


def _scripts() -> tuple[Config, ScriptDirectory]:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.set_main_option("version_locations", str(_FOLDER / "migrations"))
    config.set_main_option("path_separator", "newline")
    return config, ScriptDirectory.from_config(config)


def newest_revision() -> str:
    """The revision that this program works with."""
    head = _scripts()[1].get_current_head()
    if head is None:
        raise AssertionError("the package lost its migrations")
    return head


def current_revision(connection: sa.Connection) -> str:
    """The revision of a database; empty for a fresh one."""
    return MigrationContext.configure(connection).get_current_revision() or ""


def _upgrade(connection: sa.Connection) -> tuple[str, str]:
    config, scripts = _scripts()
    before, newest = current_revision(connection), newest_revision()
    if before == newest:
        return before, newest
    if before and before not in {script.revision for script in scripts.walk_revisions()}:
        raise StoreError(
            f"the control database has revision {before}, this program knows revisions up to {newest}: a "
            "newer program made it; run that one, or restore a backup from before",
            "newer",
        )
    with EnvironmentContext(
        config, scripts, fn=lambda revision, _context: scripts._upgrade_revs("head", revision)
    ) as environment:
        environment.configure(connection=connection)
        with environment.begin_transaction():
            environment.run_migrations()
    return before, newest


async def upgrade(engine: AsyncEngine, author: Author) -> bool:
    """Bring the database to the newest revision; True when that changed anything.

    Raises:
        StoreError: A newer program made it.
        UnavailableError: It does not answer.
    """
    async with writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            await connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        before, newest = await connection.run_sync(_upgrade)
        if before == newest:
            return False
        change = Change(connection, author)
        await change.begin()
        await change.note("store.upgraded", newest, before=before)
        return True


async def open_upgraded(engine: AsyncEngine, clock: Clock, actor: str) -> AsyncEngine:
    """`engine` after `upgrade`, disposed of when that fails."""
    try:
        await upgrade(engine, Author(actor, clock))
    except BaseException:
        await engine.dispose()
        raise
    return engine
