"""A real Exim from a configuration of its own, unpacked below .peers: receives into a Maildir.

The program is copied into the folder that it is given, so that its own user can run it again for deliveries
wherever the work tree lies.
"""

import contextlib
import mailbox
import os
import pwd
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.patience import PATIENCE_SECONDS
from tests.peers.processes import find_program, free_port, peer_folder, running, wait_until

USER = "Debian-exim"
CONFIGURATION = """\
exim_path = {folder}/exim
exim_user = {user}
exim_group = {user}
primary_hostname = exim.example.test
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
pid_file_path = {folder}/exim.pid
daemon_smtp_ports = {port}
local_interfaces = 127.0.0.1
disable_ipv6 = true
never_users =
keep_environment =
domainlist local_domains = {domains}
acl_smtp_rcpt = accept_rcpt
acl_smtp_data = accept_data
smtp_accept_max = 200
smtp_accept_max_per_connection = 10000
smtp_accept_queue_per_connection = 10000
smtputf8_advertise_hosts = *
chunking_advertise_hosts = *
dsn_advertise_hosts = *
pipelining_advertise_hosts = *
tls_advertise_hosts = {tls_hosts}
{tls}
host_lookup =
rfc1413_hosts =
message_size_limit = 50M
{more}

begin acl
accept_rcpt:
  accept domains = +local_domains
  deny message = relay not permitted
accept_data:
  accept

begin routers
local:
  driver = accept
  domains = +local_domains
  transport = file

begin transports
file:
  driver = appendfile
  directory = {folder}/mail/inbox
  maildir_format
  create_directory
  user = {user}
  group = {user}
  envelope_to_add = true
  return_path_add = true

begin retry
* * F,1h,10s
"""


@dataclass(frozen=True, slots=True)
class Exim:
    """A running Exim."""

    port: int
    folder: Path

    def messages(self) -> list[mailbox.MaildirMessage]:
        """What was delivered, in no particular order."""
        path = self.folder / "mail" / "inbox"
        return list(mailbox.Maildir(path, create=False)) if (path / "new").exists() else []

    def wait_for(self, count: int, seconds: float = PATIENCE_SECONDS) -> list[mailbox.MaildirMessage]:
        """The messages once there are `count` of them."""
        wait_until(lambda: len(self.messages()) >= count, f"{count} messages; {self.log()[-2000:]}", seconds)
        return self.messages()

    def log(self) -> str:
        """All that it logged."""
        return "".join(
            path.read_text(errors="replace") for path in sorted((self.folder / "log").glob("*log"))
        )


def missing() -> str | None:
    """Why Exim cannot run here, or None."""
    if find_program("exim/usr/sbin/exim4") is None:
        return "Exim is not unpacked; run `make peers` as root"
    if os.geteuid() != 0:
        return "Exim with a configuration of its own must be started by root"
    return None


@contextlib.contextmanager
def exim(
    *, domains: str = "example.test", certificate: tuple[Path, Path] | None = None, more: str = ""
) -> Iterator[Exim]:
    """An Exim that takes mail for `domains`; with `certificate` (chain, key) it offers STARTTLS."""
    program = find_program("exim/usr/sbin/exim4")
    assert program is not None, missing()
    owner = pwd.getpwnam(USER)
    port = free_port()
    with peer_folder("exim") as folder:
        for name in ("spool", "log", "mail"):
            (folder / name).mkdir()
            shutil.chown(folder / name, owner.pw_uid, owner.pw_gid)
        shutil.copy2(program, folder / "exim")
        (folder / "exim").chmod(0o4755)
        tls = ""
        if certificate is not None:
            for source, name in zip(certificate, ("chain.pem", "key.pem"), strict=True):
                shutil.copy(source, folder / name)
                shutil.chown(folder / name, owner.pw_uid, owner.pw_gid)
            tls = f"tls_certificate = {folder}/chain.pem\ntls_privatekey = {folder}/key.pem"
        text = CONFIGURATION.format(
            folder=folder,
            user=USER,
            port=port,
            domains=domains,
            tls=tls,
            tls_hosts="*" if certificate else "",
            more=more,
        )
        (folder / "exim.conf").write_text(text)
        command = [str(folder / "exim"), "-C", str(folder / "exim.conf"), "-bdf", "-q1m"]
        with running(command, port=port, log=folder / "log" / "exim.out", cwd=folder):
            yield Exim(port, folder)
