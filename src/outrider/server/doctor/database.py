"""The control database: it can be read, is whole, and has a schema that this program knows.

Nothing is made or changed; a running server may write meanwhile. Who is damaged lets nobody log in, and the
only way back is a copy.
"""

from pathlib import Path

from outrider.base.errors import OutriderError, StoreError
from outrider.server.doctor.finding import Finding, fault, good, note
from outrider.server.settings import Settings
from outrider.store.engine import database_path, open_engine, reading
from outrider.store.online_copy import check_sound
from outrider.store.schema import REVISION
from outrider.store.upgrade import current_revision, migrations

CHECK = "database"


async def check_database(settings: Settings) -> Finding:
    """Of a node in SQLite, or of all in PostgreSQL."""
    path = database_path(settings.store, settings.server.state_directory)
    if path is None:
        return await _served(settings)
    if not path.exists():
        return note(CHECK, f"there is no control database {path} yet", "the first start makes it")
    return _file(path)


def _file(path: Path) -> Finding:
    try:
        with path.open("rb"):
            pass
        revision = check_sound(path)
    except OSError as error:
        return fault(CHECK, f"{path} cannot be read: {error.strerror}", "give it to the server's user")
    except StoreError as error:
        return fault(
            CHECK,
            f"{error.message}; nobody can log in, and no credential can be changed",
            f"stop the server, move {path.name}, {path.name}-wal and {path.name}-shm away, and put back the "
            "control.db of the newest copy that `outrider backup` made",
        )
    return _known(str(path), revision)


async def _served(settings: Settings) -> Finding:
    try:
        database = open_engine(settings.store, settings.server.state_directory)
        try:
            async with reading(database) as connection:
                revision = await connection.run_sync(current_revision)
        finally:
            await database.dispose()
    except OutriderError as error:
        return fault(
            CHECK,
            f"{error.message}; nobody can log in, and no credential can be changed",
            "look at store.url and store.password_file, and at the database's server",
        )
    return _known("the database of store.url", revision)


def _known(where: str, revision: str) -> Finding:
    if revision == REVISION:
        return good(CHECK, f"{where} is sound, with the schema of this program ({REVISION})")
    if not revision:
        return note(CHECK, f"{where} is empty; the first start makes its tables")
    if revision in migrations():
        return note(
            CHECK,
            f"{where} has the schema {revision}; the next start takes it to {REVISION}, and older programs "
            "cannot use it then",
            "make a copy first (outrider backup), if you may want to go back",
        )
    return fault(
        CHECK,
        f"{where} has the schema {revision}, this program knows up to {REVISION}; nobody can log in",
        "run the newer program that made it, or restore a copy from before",
    )
