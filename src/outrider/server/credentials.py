"""The authenticator of a worker: the control database, and the users file where one is configured."""

import os
from collections.abc import Awaitable, Callable

from outrider.base.clock import Clock
from outrider.base.log import Log
from outrider.privacy.authenticator import FileAuthenticator
from outrider.privacy.passwords import Passwords
from outrider.privacy.store_authenticator import StoreAuthenticator
from outrider.server.settings import Settings
from outrider.store.editor import Author
from outrider.store.engine import Database, open_engine
from outrider.store.upgrade import upgrade

SECRET_OCTETS = 32
# RFC 2104 §3: as long as the hash


def preparation(clock: Clock) -> Callable[[Database], Awaitable[object]]:
    """What brings the control database to this program's schema, before a process asks its first question."""
    return lambda database: upgrade(database, Author("server", clock, "start"))


def authenticator_of(settings: Settings, clock: Clock, log: Log) -> StoreAuthenticator:
    """The authenticator that `settings` ask for; its `run` must be awaited for as long as it is used.

    A name that is in the control database is decided there; only the others are looked for in the file.

    Raises:
        ConfigError: The users file has faults, or the database's file cannot be made.
    """
    server = settings.server
    passwords = Passwords()
    file = None
    if server.users_file is not None:
        secret = os.urandom(SECRET_OCTETS)
        file = FileAuthenticator(server.users_file, passwords=passwords, clock=clock, log=log, secret=secret)

    return StoreAuthenticator(
        open_engine(settings.store, server.state_directory),
        preparation(clock),
        stale_seconds=settings.store.stale_seconds,
        fallback=file,
        passwords=passwords,
        clock=clock,
        log=log,
        secret=os.urandom(SECRET_OCTETS),
    )
