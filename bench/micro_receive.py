"""What the receive path costs without sockets: octets of smtp-source in, submissions out, in one process.

A transport in memory feeds real sessions of a real listener; the intake answers at once. What is timed is
user time of this process, and of many repeats the least counts, so that a busy machine does not matter.

Cases: `2k` and `50k` are messages on a reused connection, one command a round trip; `pipelined` sends MAIL,
RCPT and DATA in one write; `split` gives the content in reads of 16 KiB; `single` is a whole connection with
one message; `ingress` has the server's own intake with routing behind it, before a log that is durable at
once. The octet scan is the one that is built; OUTRIDER_PURE=1 takes the other.

Usage: micro_receive.py [--repeats N] [--messages N] [--profile CASE] [CASE …]
"""

import argparse
import asyncio
import cProfile
import gc
import pstats
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

from outrider.base.clock import SystemClock
from outrider.base.ids import IdSource
from outrider.base.log import ListLog
from outrider.model.changes import Change, ContentRef
from outrider.model.flow import Origin, Submission
from outrider.model.ports import Authenticator, CommitDone, Intake, PolicySession
from outrider.model.reply import Reply
from outrider.policy.routing import RoutingPolicy
from outrider.receive.listener import SmtpListener
from outrider.receive.options import ListenerOptions, ReceiveLimits
from outrider.server.contents import Contents
from outrider.server.ingress import Ingress
from outrider.server.pressure import Pressure
from outrider.wire.smtp import replies, scan

REPEATS = 15
MESSAGES = 2_000
READ_OCTETS = 16_384

HELO = b"HELO bench.test\r\n"
MAIL = b"MAIL FROM:<sender@source.test>\r\n"
RCPT = b"RCPT TO:<recipient@sink.test>\r\n"
DATA = b"DATA\r\n"
QUIT = b"QUIT\r\n"


def content(size: int) -> bytes:
    """What smtp-source sends after 354: four header fields, lines of 80 octets, the end of data."""
    header = (
        b"From: <sender@source.test>\r\nTo: <recipient@sink.test>\r\n"
        b"Date: Tue, 24 Nov 2026 16:34:24 +0000 (UTC)\r\nMessage-Id: <09a6.0003.0001@bench.test>\r\n\r\n"
    )
    lines, rest = divmod(size, 80)
    body = b"".join(b"%-2d".replace(b" ", b"X") % (n % 10) + b"X" * 76 + b"\r\n" for n in range(lines))
    return header + body + b"X" * max(0, rest - 2) + b"\r\n.\r\n"


class MemoryTransport(asyncio.Transport):
    """Counts what is written; the caller tells the protocol that the connection is lost."""

    def __init__(self) -> None:
        self._extra = {"peername": ("127.0.0.1", 40_000)}
        self.writes = 0
        self.last = b""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._extra.get(name, default)

    def write(self, data: Any) -> None:
        self.writes += 1
        self.last = data

    def close(self) -> None:
        pass


class PromptIntake:
    """Says yes at once."""

    def __init__(self) -> None:
        self.taken = 0

    def submit(
        self, submission: Submission, done: Callable[[Reply], None], session: PolicySession | None = None
    ) -> None:
        self.taken += 1
        done(replies.queued(submission.message_id))

    def refusal(self) -> Reply | None:
        return None

    def refused(self, origin: Origin, mail_from: str, recipient: str, reply: Reply) -> None:
        raise RuntimeError(f"refused: {reply} ({origin.client}, {mail_from}, {recipient})")


class PromptLog:
    """A log that is durable at once and keeps nothing."""

    def __init__(self) -> None:
        self._entries = 0

    def reserve(self, count: int) -> int:
        self._entries += count
        return self._entries - count

    def commit(
        self,
        changes: Sequence[Change],
        contents: Sequence[Sequence[bytes]],
        done: CommitDone | None,
        *,
        follows: bool = False,
    ) -> None:
        if done is not None:
            done(ContentRef(1, 1, self._entries, len(changes) + len(contents)))


class NoContents:
    """Keeps nothing."""

    def keep(self, ref: ContentRef, stored: object, wire: bytes) -> None:
        pass


class OpenTenants:
    """No tenant is shut."""

    def is_shut(self, tenant: str) -> bool:
        return False


class NoPressure:
    refusal: Reply | None = None


def listener(intake: Intake) -> SmtpListener:
    clock = SystemClock()
    options = ListenerOptions(
        trusted_networks=("127.0.0.0/8",), limits=ReceiveLimits(connections_per_client=1_000)
    )
    return SmtpListener(
        options,
        hostname="mx.bench.test",
        intake=intake,
        authenticator=cast("Authenticator", OpenTenants()),
        ids=IdSource(clock, 1),
        clock=clock,
        log=ListLog(),
        tls=None,
    )


def connect(made: SmtpListener) -> tuple[Any, MemoryTransport]:
    transport = MemoryTransport()
    session = made.protocol()
    session.connection_made(transport)
    session.data_received(HELO)
    return session, transport


def reused(reads: Sequence[bytes], intake: Intake, messages: int) -> float:
    """Seconds for `messages` on one connection."""
    session, transport = connect(listener(intake))
    receive = session.data_received
    started = time.process_time()
    for _ in range(messages):
        for octets in reads:
            receive(octets)
    seconds = time.process_time() - started
    if not transport.last.startswith(b"250 2.0.0 Ok: queued as "):
        raise RuntimeError(f"not accepted: {transport.last!r}")
    return seconds


def single(reads: Sequence[bytes], intake: Intake, messages: int) -> float:
    """Seconds for `messages`, each on a connection of its own."""
    made = listener(intake)
    started = time.process_time()
    for _ in range(messages):
        session, transport = connect(made)
        for octets in reads:
            session.data_received(octets)
        session.data_received(QUIT)
        session.connection_lost(None)
    seconds = time.process_time() - started
    if not transport.last.startswith(b"221 "):
        raise RuntimeError(f"not closed: {transport.last!r}")
    return seconds


def ingress() -> Ingress:
    return Ingress(
        RoutingPolicy(),
        PromptLog(),
        cast("Contents", NoContents()),
        cast("Pressure", NoPressure()),
        PromptIntake().refused,
    )


def pieces(octets: bytes) -> list[bytes]:
    return [octets[at : at + READ_OCTETS] for at in range(0, len(octets), READ_OCTETS)]


SMALL, LARGE = content(2_048), content(51_200)
COMMANDS = [MAIL, RCPT, DATA]
Run = Callable[[int], float]
CASES: dict[str, tuple[Run, int]] = {
    # name: (run, share of the messages)
    "2k": (lambda n: reused([*COMMANDS, SMALL], PromptIntake(), n), 1),
    "2k-pipelined": (lambda n: reused([MAIL + RCPT + DATA, SMALL], PromptIntake(), n), 1),
    "2k-single": (lambda n: single([*COMMANDS, SMALL], PromptIntake(), n), 1),
    "2k-ingress": (lambda n: reused([*COMMANDS, SMALL], ingress(), n), 1),
    "50k": (lambda n: reused([*COMMANDS, LARGE], PromptIntake(), n), 5),
    "50k-split": (lambda n: reused([*COMMANDS, *pieces(LARGE)], PromptIntake(), n), 5),
}


def measure(run: Run, messages: int, repeats: int) -> float:
    """Microseconds a message, the least of all repeats."""
    run(messages // 10 or 1)
    return min(run(messages) for _ in range(repeats)) / messages * 1e6


def profile(run: Run, messages: int) -> None:
    profiler = cProfile.Profile()
    profiler.runcall(run, messages)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(40)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("cases", nargs="*", choices=[[], *CASES], default=[])
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--messages", type=int, default=MESSAGES)
    parser.add_argument("--profile", choices=CASES)
    chosen = parser.parse_args()
    gc.collect()
    gc.freeze()
    if chosen.profile:
        profile(CASES[chosen.profile][0], chosen.messages)
        return
    kind = "pure" if scan.scan is scan.scan_pure else "compiled"
    print(f"octet scan: {kind}; µs of user time a message, least of {chosen.repeats}")
    for name in chosen.cases or CASES:
        run, share = CASES[name]
        print(f"  {name:14}{measure(run, max(1, chosen.messages // share), chosen.repeats):8.1f}")


if __name__ == "__main__":
    main()
