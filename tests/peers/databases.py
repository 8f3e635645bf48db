"""Real database servers for tests: MariaDB, PostgreSQL and Redis, each in a folder and on a port of its own.

Each speaks TLS too, by a certificate for 127.0.0.1 from the authority in `ca.pem` of its folder. A server
can be killed and started again on what it left. None runs as root, which two of them refuse.
"""

import contextlib
import os
import pwd
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import trustme

from tests.peers.processes import PeerError, find_program, free_port, peer_folder, running

PASSWORD = "correct horse"
"""Of the user `outrider` of each server."""

_MARIADB_TABLES = ("mysql_system_tables.sql", "mysql_system_tables_data.sql")


Running = AbstractContextManager["subprocess.Popen[bytes]"]


class DatabaseServer:
    """One server: its port, and how it is killed and started."""

    def __init__(
        self, port: int, folder: Path, start: Callable[[], Running], tls_port: int | None = None
    ) -> None:
        self.port = port
        self.tls_port = tls_port or port
        self.folder = folder
        self._start = start
        self._running = ExitStack()
        self.start()

    def start(self) -> None:
        """Returns when it answers."""
        self._process = self._running.enter_context(self._start())

    def kill(self) -> None:
        """As a power cut does it; returns when it is gone, with all its connections."""
        self._process.kill()
        self._running.close()

    def stop(self) -> None:
        """In order; returns when it is gone."""
        self._running.close()


def someone(name: str = "nobody") -> int | None:
    """The user id that a server runs as; None when we are not root."""
    return pwd.getpwnam(name).pw_uid if os.getuid() == 0 else None


def give(folder: Path, user: int | None) -> None:
    """The folder and all in it become the user's."""
    if user is not None:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, user, -1)


def _certify(folder: Path) -> tuple[str, str, str]:
    """Files of a certificate, its key and its authority."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    (folder / "key.pem").chmod(0o600)
    return str(folder / "cert.pem"), str(folder / "key.pem"), str(folder / "ca.pem")


def _postgresql_programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return found[-1].parent if found else None


def missing(kind: str) -> str:
    """Why there is no such server here; empty when there is one."""
    program = {
        "mysql": find_program("/usr/sbin/mariadbd"),
        "postgresql": _postgresql_programs(),
        "redis": find_program("/usr/bin/redis-server"),
    }[kind]
    return "" if program else f"no {kind} server here; `make peers` installs it"


@contextlib.contextmanager
def mariadb() -> Iterator[DatabaseServer]:
    """A MariaDB with the database `shop`, the user `outrider`, and `clerk`, who may do little."""
    user, port = someone(), free_port()
    with peer_folder("mariadb") as folder:
        (folder / "data").mkdir()
        tables = "".join((Path("/usr/share/mysql") / name).read_text() for name in _MARIADB_TABLES)
        (folder / "boot.sql").write_text(f"CREATE DATABASE mysql;\nUSE mysql;\n{tables}")
        (folder / "init.sql").write_text(
            "CREATE DATABASE IF NOT EXISTS shop CHARACTER SET utf8mb4;\n"
            f"CREATE USER IF NOT EXISTS outrider@'%' IDENTIFIED BY '{PASSWORD}';\n"
            "GRANT ALL ON *.* TO outrider@'%';\n"
            f"CREATE USER IF NOT EXISTS clerk@'%' IDENTIFIED BY '{PASSWORD}';\n"
            "GRANT SELECT, UPDATE ON shop.* TO clerk@'%';\n"
        )
        certificate, key, _ = _certify(folder)
        give(folder, user)
        usual = [
            "/usr/sbin/mariadbd",
            "--no-defaults",
            f"--datadir={folder}/data",
            "--innodb-log-file-size=8M",
            "--innodb-buffer-pool-size=8M",
        ]
        with (folder / "boot.sql").open("rb") as script:
            made = subprocess.run(
                [*usual, "--bootstrap"],
                check=False,
                stdin=script,
                capture_output=True,
                user=user,
                timeout=60,
            )
        if made.returncode:
            raise PeerError(f"MariaDB made no database: {made.stderr[-2000:]!r}")
        command = [
            *usual,
            f"--socket={folder}/mariadb.sock",
            f"--port={port}",
            "--bind-address=127.0.0.1",
            f"--init-file={folder}/init.sql",
            f"--pid-file={folder}/pid",
            f"--ssl-cert={certificate}",
            f"--ssl-key={key}",
        ]
        server = DatabaseServer(
            port,
            folder,
            lambda: running(command, port=port, log=folder / "log", cwd=folder, user=user),
        )
        try:
            yield server
        finally:
            server.kill()  # nothing of it is kept


@contextlib.contextmanager
def postgresql() -> Iterator[DatabaseServer]:
    """A PostgreSQL with the database `shop` and the user `outrider`."""
    programs = _postgresql_programs()
    if programs is None:
        raise PeerError(missing("postgresql"))
    user, port = someone("postgres"), free_port()
    with peer_folder("postgresql") as folder:
        (folder / "password").write_text(PASSWORD)
        certificate, key, _ = _certify(folder)
        give(folder, user)
        data = str(folder / "data")
        made = subprocess.run(
            [
                *(str(programs / "initdb"), "-D", data, "-A", "scram-sha-256", "-U", "outrider"),
                *("--no-sync", "--pwfile", str(folder / "password")),
            ],
            check=False,
            capture_output=True,
            user=user,
            cwd=folder,
            timeout=60,
        )
        if made.returncode:
            raise PeerError(f"PostgreSQL made no cluster: {made.stderr[-2000:]!r}")
        settings = {"fsync": "off", "unix_socket_directories": folder, "listen_addresses": "127.0.0.1"}
        settings |= {"ssl": "on", "ssl_cert_file": certificate, "ssl_key_file": key}
        command = [str(programs / "postgres"), "-D", data, "-p", str(port)]
        command += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        server = DatabaseServer(
            port,
            folder,
            lambda: running(command, port=port, log=folder / "log", cwd=folder, user=user),
        )
        try:
            _create_shop(programs, port)
            yield server
        finally:
            server.kill()  # nothing of it is kept


def _create_shop(programs: Path, port: int) -> None:
    place = ["-h", "127.0.0.1", "-p", str(port), "-U", "outrider"]
    environment = {**os.environ, "PGPASSWORD": PASSWORD}
    for _ in range(500):  # the port answers before the cluster lets anybody in; a try takes milliseconds
        line = [str(programs / "psql"), *place, "-c", "CREATE DATABASE shop", "postgres"]
        done = subprocess.run(line, check=False, capture_output=True, env=environment, timeout=30)
        if done.returncode == 0:
            return
    raise PeerError(f"PostgreSQL does not let us in: {done.stderr[-500:]!r}")


@contextlib.contextmanager
def redis() -> Iterator[DatabaseServer]:
    """A Redis that asks for a password and keeps what it is told."""
    user, port, tls_port = someone(), free_port(), free_port()
    with peer_folder("redis") as folder:
        certificate, key, authority = _certify(folder)
        give(folder, user)
        command = ["/usr/bin/redis-server", "--port", str(port), "--bind", "127.0.0.1"]
        command += ["--requirepass", PASSWORD, "--appendonly", "yes", "--appendfsync", "always"]
        command += ["--dir", str(folder), "--unixsocket", f"{folder}/redis.sock", "--unixsocketperm", "777"]
        command += ["--tls-port", str(tls_port), "--tls-cert-file", certificate, "--tls-key-file", key]
        command += ["--tls-ca-cert-file", authority, "--tls-auth-clients", "no"]
        server = DatabaseServer(
            port,
            folder,
            lambda: running(command, port=port, log=folder / "log", cwd=folder, user=user),
            tls_port,
        )
        try:
            yield server
        finally:
            server.kill()  # nothing of it is kept
