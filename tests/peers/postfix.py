"""A real Postfix from a configuration of its own: receives into a Maildir, or relays to one given host.

It runs as its own master on loopback; queue, data and mail lie in the folder that it is given, and it logs
to a file there. Nothing of an installed Postfix's configuration is read or changed.
"""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.patience import PATIENCE_SECONDS
from tests.peers.processes import find_program, free_port, peer_folder, running, wait_until

LIBEXEC = ("/usr/lib/postfix/sbin/master", "postfix/usr/lib/postfix/sbin/master")
QUEUE_FOLDERS = (
    "active",
    "bounce",
    "corrupt",
    "defer",
    "deferred",
    "flush",
    "hold",
    "incoming",
    "maildrop",
    "pid",
    "private",
    "public",
    "saved",
    "trace",
)
"""What Postfix's own start-up script would make; master refuses to run without them."""

MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
command_directory = {commands}
daemon_directory = {daemons}
mail_owner = postfix
setgid_group = postdrop
myhostname = postfix.example.test
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
maillog_file = {folder}/log/mail.log
maillog_file_prefixes = {folder}
virtual_mailbox_domains = {domains}
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = static:inbox/
virtual_minimum_uid = 1
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
smtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_peername_lookup = no
smtputf8_enable = yes
message_size_limit = 52428800
mailbox_size_limit = 0
virtual_mailbox_limit = 0
enable_long_queue_ids = yes
minimal_backoff_time = 1s
queue_run_delay = 1s
smtp_host_lookup = native
{more}
"""

MASTER_CF = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
"""


@dataclass(frozen=True, slots=True)
class Postfix:
    """A running Postfix."""

    port: int
    folder: Path

    def messages(self) -> list[bytes]:
        """What was delivered, in no particular order."""
        return [path.read_bytes() for path in sorted((self.folder / "mail" / "inbox" / "new").glob("*"))]

    def wait_for(self, count: int, seconds: float = PATIENCE_SECONDS) -> list[bytes]:
        """The messages once there are `count` of them."""
        wait_until(lambda: len(self.messages()) >= count, f"{count} messages; {self.log()[-2000:]}", seconds)
        return self.messages()

    def log(self) -> str:
        """All that it logged."""
        path = self.folder / "log" / "mail.log"
        return path.read_text(errors="replace") if path.exists() else ""


def missing() -> str | None:
    """Why Postfix cannot run here, or None."""
    if find_program(*LIBEXEC) is None:
        return "Postfix is not installed; run `make peers` as root"
    if os.geteuid() != 0:
        return "Postfix's master must be started by root"
    return None


def _prepare(folder: Path, owner: pwd.struct_passwd) -> None:
    for name in ("log", "data", "mail", "etc", "queue"):
        (folder / name).mkdir()
    for name in QUEUE_FOLDERS:
        (folder / "queue" / name).mkdir()
        if name != "pid":
            shutil.chown(folder / "queue" / name, owner.pw_uid)
    for name in ("maildrop", "public"):
        shutil.chown(folder / "queue" / name, owner.pw_uid, "postdrop")
    (folder / "queue" / "maildrop").chmod(0o730)
    (folder / "queue" / "public").chmod(0o710)
    for name in QUEUE_FOLDERS:
        if name not in {"maildrop", "public", "pid"}:
            (folder / "queue" / name).chmod(0o700)
    shutil.chown(folder / "data", owner.pw_uid)
    shutil.chown(folder / "mail", owner.pw_uid)


@contextlib.contextmanager
def postfix(
    *, domains: str = "example.test", relay_port: int | None = None, more: str = ""
) -> Iterator[Postfix]:
    """A Postfix that takes mail for `domains` and hands the rest to loopback port `relay_port`."""
    master = find_program(*LIBEXEC)
    assert master is not None, missing()
    owner = pwd.getpwnam("postfix")
    port = free_port()
    if relay_port is not None:
        more += f"\nrelayhost = [127.0.0.1]:{relay_port}\n"
    environment = dict(os.environ)
    with peer_folder("postfix") as folder:
        _prepare(folder, owner)
        values: dict[str, object] = {
            "folder": folder,
            "commands": master.parents[3] / "sbin",
            "daemons": master.parent,
            "domains": domains,
            "uid": owner.pw_uid,
            "gid": owner.pw_gid,
            "more": more,
        }
        if not str(master).startswith("/usr/lib"):
            libraries = master.parents[1]  # unpacked: its libraries are not where it was built to find them
            environment["LD_LIBRARY_PATH"] = str(libraries)
            values["more"] = (
                f"{more}\nshlib_directory = {libraries}\n"
                f"import_environment = MAIL_CONFIG TZ LANG=C LD_LIBRARY_PATH={libraries}\n"
            )
        (folder / "etc" / "main.cf").write_text(MAIN_CF.format(**values))
        (folder / "etc" / "master.cf").write_text(MASTER_CF.format(port=port))
        (folder / "etc" / "dynamicmaps.cf").write_text("")
        command = [str(master), "-c", str(folder / "etc"), "-d"]
        with running(command, port=port, log=folder / "log" / "master.out", cwd=folder, env=environment):
            yield Postfix(port, folder)


def queue_is_empty(server: Postfix) -> bool:
    """True when its queue holds no message."""
    done = subprocess.run(
        [
            "find",
            *(str(server.folder / "queue" / name) for name in ("incoming", "active", "deferred")),
            "-type",
            "f",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return not done.stdout.strip()


def flush(server: Postfix) -> None:
    """Try now to deliver what is deferred, as `postqueue -f` does.

    While it is read anew, Postfix puts off for long what is being delivered in that moment.
    """
    with socket.socket(socket.AF_UNIX) as manager:
        manager.connect(str(server.folder / "queue" / "public" / "qmgr"))
        manager.sendall(b"FADI")
