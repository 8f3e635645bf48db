"""Clients that do not behave, and the questions that a test asks about the server meanwhile.

In: the port of a server. Out: sockets that say exactly what they are told, and measurements of its processes.

Theory: whether a good client is served *before any deadline of the attackers* needs no clock: it has
finished, and the attackers' connections are all still open.
"""

import contextlib
import random
import resource
import select
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from outrider.sim.certificates import self_signed
from tests.e2e.outrider_process import OutriderProcess
from tests.e2e.practice import log_lines, pids, send
from tests.hostility.raw_receiver import RawReceiver
from tests.patience import PATIENCE_SECONDS
from tests.peers.processes import wait_until

DAY_SECONDS = 86_400


class Attacker:
    """A raw connection."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.socket: socket.socket = socket.create_connection((host, port), timeout=PATIENCE_SECONDS)
        self._rest = b""

    def __enter__(self) -> "Attacker":
        return self

    def __exit__(self, *exc: object) -> None:
        self.socket.close()

    def say(self, octets: bytes) -> None:
        """Send all of it; a peer that has closed is no error, because `reply` will tell."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(octets)

    def reply(self) -> str:
        """The next reply, its lines joined by newlines; empty when the server has closed."""
        lines: list[str] = []
        while True:
            while b"\n" not in self._rest:
                try:
                    octets = self.socket.recv(65_536)
                except ConnectionResetError:
                    octets = b""
                if not octets:
                    return "\n".join(lines)
                self._rest += octets
            line, _, self._rest = self._rest.partition(b"\n")
            lines.append(line.decode("ascii").rstrip("\r"))
            if lines[-1][3:4] != "-":
                return "\n".join(lines)

    def replies(self) -> list[str]:
        """All replies until the server closes."""
        return list(iter(self.reply, ""))

    def ask(self, command: bytes) -> str:
        """A command and its reply."""
        self.say(command + b"\r\n")
        return self.reply()

    def until_data(self, mail_from: str = "shop@sender.test", recipient: str = "joe@receiver.test") -> None:
        """The whole way to the 354."""
        self.reply()
        for command in ("EHLO client.test", f"MAIL FROM:<{mail_from}>", f"RCPT TO:<{recipient}>"):
            reply = self.ask(command.encode())
            assert reply.startswith("250"), reply
        reply = self.ask(b"DATA")
        assert reply.startswith("354"), reply

    def starttls(self) -> None:
        """EHLO, STARTTLS and the handshake."""
        self.reply()
        self.ask(b"EHLO client.test")
        assert self.ask(b"STARTTLS").startswith("220")
        self.secure()

    def secure(self) -> None:
        """The handshake, without looking at the certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.socket = context.wrap_socket(self.socket)


def still_open(attackers: Sequence[Attacker]) -> int:
    """How many of the connections the server has not ended: nothing to read, or more than an end."""
    poll = select.poll()
    by_descriptor = {attacker.socket.fileno(): attacker for attacker in attackers}
    for descriptor in by_descriptor:
        poll.register(descriptor, select.POLLIN)
    gone = 0
    for descriptor, _ in poll.poll(0):
        try:
            gone += not by_descriptor[descriptor].socket.recv(1, socket.MSG_PEEK)
        except ConnectionResetError:
            gone += 1
    return len(attackers) - gone


@contextlib.contextmanager
def many(count: int, port: int) -> Iterator[list[Attacker]]:
    """So many connections at once; the descriptors that they need are asked for first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 512
    assert hard == resource.RLIM_INFINITY or hard >= wanted, (
        f"needs {wanted} descriptors, the limit is {hard}"
    )
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Attacker(port)) for _ in range(count)]


def resident(server: OutriderProcess) -> dict[str, int]:
    """Resident octets of each process of the server, by its name."""
    found = {}
    for name, pid in pids(server).items():
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmRSS:"):
                found[name] = int(line.split()[1]) * 1024
    return found


def largest_resident(server: OutriderProcess) -> int:
    """The largest that a process of the server has ever been, in octets."""
    found = 0
    for pid in pids(server).values():
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                found = max(found, int(line.split()[1]) * 1024)
    return found


def unharmed(server: OutriderProcess) -> None:
    """No process died, was killed, or met an error that it did not expect."""
    started = [str(line["name"]) for line in log_lines(server, "process.started")]
    assert sorted(started) == sorted(set(started)), started
    assert server.process.poll() is None, server.log()[-2000:]
    failures = [
        line
        for event in (
            "receive.session_failed",
            "receive.task_failed",
            "deliver.session_failed",
            "http.failed",
        )
        for line in log_lines(server, event)
    ]
    assert not failures, failures


def good_client_is_served(server: OutriderProcess, receiver: RawReceiver, marker: str) -> None:
    """A whole dialogue, and its message at the receiver."""
    send(server.ports["smtp"], "joe@receiver.test", body=marker)
    sign = marker.encode()
    wait_until(lambda: any(sign in taken.wire for taken in receiver.taken), f"{marker} arrived")


def certificate(folder: Path) -> str:
    """The lines of a listener that give it a certificate of its own; the files are made in `folder`."""
    now = time.time()  # noqa: TID251 - a certificate is valid by the calendar
    chain, key = self_signed(
        ["outrider.example.test"], now - DAY_SECONDS, now + DAY_SECONDS, random.Random(1)
    )
    (folder / "server.pem").write_text(chain, encoding="ascii")
    (folder / "server.key").touch(mode=0o600)
    (folder / "server.key").write_text(key, encoding="ascii")
    return f'certificate = "{folder}/server.pem"\nprivate_key = "{folder}/server.key"\n'
