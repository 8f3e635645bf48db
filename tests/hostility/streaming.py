"""A message that never ends, streamed at a size limit; also by hand: `python -m tests.hostility.streaming`.

In: the size. Out: what was said at its end, and how large the largest process of the server ever was before
and after. 10 GiB by hand: `python -m tests.hostility.streaming --mib 10240`.
"""

import argparse
import socket
import sys
import tempfile
from pathlib import Path

from tests.e2e.outrider_process import OutriderProcess, configuration_for, serving
from tests.hostility.attack import Attacker, largest_resident
from tests.patience import PATIENCE_SECONDS

MIB = 1 << 20
LINE = b"x" * 1022 + b"\r\n"
BLOCK = LINE * (MIB // len(LINE))


def by_data(port: int, mib: int) -> str:
    """The reply to so much content by DATA."""
    with Attacker(port) as attacker:
        attacker.until_data()
        for _ in range(mib):
            attacker.say(BLOCK)
        attacker.say(b".\r\n")
        return attacker.reply()


def by_chunks(port: int, mib: int) -> str:
    """The last reply to so much content in chunks of 1 MiB, all pipelined."""
    with Attacker(port) as attacker:
        attacker.reply()
        for command in (b"EHLO client.test", b"MAIL FROM:<shop@sender.test>", b"RCPT TO:<joe@receiver.test>"):
            attacker.ask(command)
        reply = ""
        for number in range(mib):
            attacker.say(b"BDAT %d%s\r\n" % (MIB, b" LAST" if number == mib - 1 else b"") + BLOCK)
            reply = attacker.reply()
            if not reply.startswith(("250", "503")):
                return reply
        return reply


def by_http(port: int, mib: int, key: str) -> str:
    """The status line of a POST of so much, which may come before all was sent."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as client:
        head = (
            f"POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
            "Content-Type: message/rfc822\r\nOutrider-Mail-From: shop@sender.test\r\n"
            f"Outrider-Rcpt-To: joe@receiver.test\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        client.sendall(head.encode())
        try:
            for _ in range(mib):
                client.sendall(b"%x\r\n" % MIB + BLOCK + b"\r\n")
            client.sendall(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has heard enough
        try:
            return client.recv(200).partition(b"\r\n")[0].decode()
        except ConnectionResetError:
            return "reset"


LIMITED = "limits = { message_octets = 1048576 }\n"


def limited(configuration: str) -> str:
    """`configuration_for`'s text with a size limit of 1 MiB at both doors."""
    smtp = 'trusted_networks = ["127.0.0.0/8"]\n'
    http = 'name = "http"\naddress = "127.0.0.1"\nport = 0\n'
    assert smtp in configuration
    assert http in configuration
    return configuration.replace(smtp, smtp + LIMITED, 1).replace(
        http, http + "message_octets = 1048576\n", 1
    )


def grown(server: OutriderProcess, before: int) -> int:
    """Octets by which the largest process has ever been larger than it was."""
    return largest_resident(server) - before


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostility.streaming", description=__doc__)
    parser.add_argument("--mib", type=int, default=1024)
    mib = parser.parse_args().mib
    limited_text = limited(configuration_for({}, workers=1))
    with (
        tempfile.TemporaryDirectory(prefix="outrider-stream-") as folder,
        serving(Path(folder), limited_text) as server,
    ):
        for way in (by_data, by_chunks):
            before = largest_resident(server)
            reply = way(server.ports["smtp"], mib)
            more = grown(server, before) / MIB
            sys.stdout.write(f"{way.__name__}: {mib} MiB answered {reply}; memory grew by {more:.1f} MiB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
