"""Brings the control database to this program's schema; refuses one that a newer program made.

In: an engine. Out: the database at the newest revision, with a row in the audit log when anything was done.

Theory: Alembic runs the steps in `store.migrations` inside one transaction, under a lock, so a process that
dies in the middle leaves the old schema, and of two that start together one waits and finds nothing to do.
Whoever finds the newest schema, which is nearly everybody, neither waits for a lock nor loads Alembic.

Invariant: no query of this package ever meets a schema that is not its own.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from outrider.base.errors import StoreError
from outrider.store.editor import Author, Change
from outrider.store.engine import reading, writing
from outrider.store.schema import REVISION

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

_FOLDER = Path(__file__).parent
_LOCK = 0x6F757472
# key of PostgreSQL's advisory lock: "outr", chosen
_VERSIONS = sa.table("alembic_version", sa.column("version_num", sa.String))
# where Alembic keeps the revision


def _scripts() -> "tuple[Config, ScriptDirectory]":
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.set_main_option("version_locations", str(_FOLDER / "migrations"))
    config.set_main_option("path_separator", "newline")
    return config, ScriptDirectory.from_config(config)


def migrations() -> list[str]:
    """The revisions that there were, the oldest first."""
    return [script.revision for script in _scripts()[1].walk_revisions()][::-1]


def current_revision(connection: sa.Connection) -> str:
    """The revision of a database; empty for a fresh one."""
    if not sa.inspect(connection).has_table(_VERSIONS.name):
        return ""
    return connection.scalar(sa.select(_VERSIONS.c.version_num)) or ""


def _upgrade(connection: sa.Connection) -> str:
    """Run the steps that are missing; the revision before."""
    before = current_revision(connection)
    if before == REVISION:
        return before
    from alembic.runtime.environment import EnvironmentContext

    config, scripts = _scripts()
    if before and before not in {script.revision for script in scripts.walk_revisions()}:
        raise StoreError(
            f"the control database has revision {before}, this program knows revisions up to {REVISION}: a "
            "newer program made it; run that one, or restore a backup from before",
            "newer",
        )
    with EnvironmentContext(
        config, scripts, fn=lambda revision, _context: scripts._upgrade_revs("head", revision)
    ) as environment:
        environment.configure(connection=connection)
        with environment.begin_transaction():
            environment.run_migrations()
    return before


async def upgrade(engine: AsyncEngine, author: Author) -> bool:
    """Bring the database to the newest revision; True when that changed anything.

    Raises:
        StoreError: A newer program made it.
        UnavailableError: It does not answer.
    """
    async with reading(engine) as connection:
        if await connection.run_sync(current_revision) == REVISION:
            return False
    async with writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            await connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        before = await connection.run_sync(_upgrade)
        if before == REVISION:
            return False
        change = Change(connection, author)
        await change.begin()
        await change.note("store.upgraded", REVISION, before=before)
        return True
