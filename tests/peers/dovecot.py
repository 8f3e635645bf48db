"""A real Dovecot as a mail store: its LMTP door alone, on a port and on a Unix socket.

It has the users that it is given, each with a Maildir; `full` has no room. It also tells others, such as
Postfix, who may log in: each user, with `PASSWORD`. Nothing of an installed Dovecot's configuration is read.
"""

import contextlib
import os
import pwd
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.patience import PATIENCE_SECONDS
from tests.peers.processes import find_program, free_port, peer_folder, running, wait_until

PROGRAM = "/usr/sbin/dovecot"
DOOR = "/usr/lib/dovecot/lmtp"
PASSWORD = "correct horse"
"""Of each user."""
CONFIGURATION = """\
base_dir = {folder}/run
state_dir = {folder}/state
protocols = lmtp
default_internal_user = nobody
default_internal_group = nogroup
default_login_user = nobody
log_path = {folder}/log
ssl = no
mail_location = maildir:{folder}/mail/%n
mail_uid = nobody
mail_gid = nogroup
first_valid_uid = 1
first_valid_gid = 1
mail_plugins = quota
quota_full_tempfail = yes
auth_mechanisms = plain login
passdb {{
  driver = passwd-file
  args = scheme=plain username_format=%u {folder}/users
}}
userdb {{
  driver = passwd-file
  args = username_format=%n {folder}/users
}}
plugin {{
  quota = maildir:User quota
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
service auth {{
  unix_listener asked {{
    mode = 0666
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {port}
  }}
  unix_listener lmtp {{
    mode = 0666
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Dovecot:
    """A running Dovecot."""

    port: int
    folder: Path

    @property
    def socket(self) -> Path:
        """Its Unix socket for LMTP."""
        return self.folder / "run" / "lmtp"

    @property
    def asked(self) -> Path:
        """Its Unix socket for who lets users log in, as Postfix does."""
        return self.folder / "run" / "asked"

    def messages(self, user: str) -> list[bytes]:
        """What lies in a user's Maildir."""
        return [path.read_bytes() for path in (self.folder / "mail" / user / "new").glob("*")]

    def wait_for(self, user: str, count: int, seconds: float = PATIENCE_SECONDS) -> list[bytes]:
        """The messages of a user once there are `count` of them."""
        wait_until(lambda: len(self.messages(user)) >= count, f"{count} messages of {user}", seconds)
        return self.messages(user)


def missing() -> str | None:
    """Why Dovecot cannot run here, or None."""
    if find_program(PROGRAM) is None or find_program(DOOR) is None:
        return "Dovecot is not installed; run `make peers` as root"
    if os.geteuid() != 0:
        return "Dovecot's master must be started by root"
    return None


@contextlib.contextmanager
def dovecot(users: Sequence[str]) -> Iterator[Dovecot]:
    """A Dovecot with these users, and `full`."""
    port = free_port()
    with peer_folder("dovecot") as folder:
        for name in ("run", "state", "mail"):
            (folder / name).mkdir()
        os.chown(folder / "mail", pwd.getpwnam("nobody").pw_uid, -1)
        lines = [f"{user}:{PASSWORD}::::::" for user in users] + ["full:::::::userdb_quota_rule=*:storage=1B"]
        (folder / "users").write_text("\n".join(lines) + "\n")
        (folder / "conf").write_text(CONFIGURATION.format(folder=folder, port=port))
        command = [PROGRAM, "-F", "-c", str(folder / "conf")]
        with running(command, port=port, log=folder / "out", cwd=folder):
            yield Dovecot(port, folder)
