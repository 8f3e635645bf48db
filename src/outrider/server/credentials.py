"""The authenticator of a worker: the users file where there is one, else nobody."""

import os

from outrider.base.clock import Clock
from outrider.base.log import Log
from outrider.model.ports import Authenticator, Principal
from outrider.privacy.authenticator import FileAuthenticator
from outrider.privacy.passwords import Passwords
from outrider.server.options import ServerOptions

SECRET_OCTETS = 32
# RFC 2104 §3: as long as the hash


class Nobody:
    """Knows no user and no key: without `server.users_file` nobody can authenticate."""

    async def password(self, user: str, password: str, client: str = "") -> Principal | None:  # noqa: ARG002 - port
        return None

    async def api_key(self, key: str, client: str = "") -> Principal | None:  # noqa: ARG002 - port
        return None


def authenticator_of(options: ServerOptions, clock: Clock, log: Log) -> Authenticator:
    """The authenticator that `options` ask for.

    Raises:
        ConfigError: The users file has faults.
    """
    if options.users_file is None:
        return Nobody()
    return FileAuthenticator(
        options.users_file, passwords=Passwords(), clock=clock, log=log, secret=os.urandom(SECRET_OCTETS)
    )
