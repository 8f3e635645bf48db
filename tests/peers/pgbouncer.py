"""A real PgBouncer before a PostgreSQL of `databases`: a few connections to the server for many clients."""

import contextlib
from collections.abc import Iterator

from tests.peers.databases import PASSWORD, give, someone
from tests.peers.processes import find_program, free_port, peer_folder, running

PROGRAM = "/usr/sbin/pgbouncer"
CONFIGURATION = """\
[databases]
* = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/users
pool_mode = {mode}
default_pool_size = {size}
ignore_startup_parameters = {ignored}
"""


def missing() -> str | None:
    """Why PgBouncer cannot run here, or None."""
    return None if find_program(PROGRAM) else "PgBouncer is not installed; run `make peers` as root"


@contextlib.contextmanager
def pgbouncer(server: int, mode: str, *, size: int = 2, ignored: str = "") -> Iterator[int]:
    """A PgBouncer before the PostgreSQL at loopback port `server`; gives its port.

    Args:
        server: Whom it connects to.
        mode: `session` or `transaction`.
        size: Its connections to a database.
        ignored: Startup parameters that it passes over.
    """
    user, port = someone("postgres"), free_port()
    with peer_folder("pgbouncer") as folder:
        (folder / "users").write_text(f'"outrider" "{PASSWORD}"\n')
        (folder / "ini").write_text(
            CONFIGURATION.format(
                server=server, port=port, folder=folder, mode=mode, size=size, ignored=ignored or "options"
            )
        )
        give(folder, user)
        command = [PROGRAM, str(folder / "ini")]
        with running(command, port=port, log=folder / "log", cwd=folder, user=user):
            yield port
