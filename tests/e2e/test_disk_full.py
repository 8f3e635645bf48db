"""A disk without room, a disk that fails, memory that is short: new mail waits outside, old mail goes on."""

import contextlib
import errno
import http.client
import json
import os
import smtplib
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.outrider_process import PROGRAM, OutriderProcess, serving
from tests.e2e.practice import (
    DEFERS,
    Practice,
    await_restart,
    kill_child,
    log_lines,
    pids,
    provider,
    queue_is,
    send,
)
from tests.peers.processes import wait_until

MIB = 1 << 20
DISK_BYTES = 48 * MIB
SEGMENTS = "[spool]\nsegment_octets = 1048576\ncheckpoint_seconds = 0.5\n"
LONG_SEGMENTS = SEGMENTS.replace("1048576", "8388608")
WORLD = (
    provider("plain", "plain.test", "127.30.5.1")
    + provider("later", "later.test", "127.30.5.2", DEFERS)
    + provider("slow", "slow.test", "127.30.5.3", "behaviour = { delay = { body = 6.0 } }")
)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A server folder whose state lies on a disk of its own."""
    if os.geteuid() != 0:
        pytest.skip("a small disk is a tmpfs, and mounting one takes root")
    folder = tmp_path / "server"
    state = folder / "state"
    state.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0700", "outrider-test", str(state)]
    subprocess.run(mount, check=True, timeout=30)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(state)], check=True, timeout=30)


def fill(folder: Path, leave_bytes: int) -> Path:
    """Take all room of the disk but so much; once more, for what became free since."""
    ballast = folder / "state" / "ballast"
    with ballast.open("ab") as file:
        while not _take_all(file.fileno(), leave_bytes):
            pass  # the server took some of it between the look and the taking
    return ballast


def _take_all(descriptor: int, leave_bytes: int) -> bool:
    """Take what is free; False when there was less by then."""
    status = os.fstatvfs(descriptor)
    octets = status.f_bavail * status.f_frsize - leave_bytes
    if octets <= 0:
        return True
    try:
        os.posix_fallocate(descriptor, os.fstat(descriptor).st_size, octets)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return False
    return True


def answer(port: int, recipient: str) -> tuple[int, str]:
    """The first reply that is no 2xx or 3xx, or that to the content."""
    try:
        client = smtplib.SMTP("127.0.0.1", port, timeout=30)
    except smtplib.SMTPConnectError as error:
        return error.smtp_code, str(error.smtp_error)
    with client:
        client.ehlo("client.test")
        code, text = client.mail("shop@sender.test")
        if code < 400:
            code, text = client.rcpt(recipient)
        if code >= 400:
            return code, text.decode()
        try:
            code, text = client.data(b"Subject: room?\r\n\r\n" + b"Is there any room left?\r\n" * 200)
        except smtplib.SMTPDataError as error:
            return error.smtp_code, str(error.smtp_error)
        return code, text.decode()


def post(port: int, key: str, recipient: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        body = {"from": "shop@sender.test", "to": [recipient], "subject": "room?", "text": "Is there any?"}
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        connection.request("POST", "/v1/messages", json.dumps(body), headers)
        with connection.getresponse() as found:
            found.read()
            return found.status


def make_key(folder: Path) -> tuple[Path, str]:
    users = folder / "users.toml"
    line = [*PROGRAM, "user", "key", "create", "web", "-d", "sender.test", "--file", str(users), "--json"]
    made = subprocess.run(line, capture_output=True, text=True, check=True, timeout=60)
    return users, json.loads(made.stdout)["key"]


def test_little_room_refuses_new_mail_and_lets_old_mail_go(practice: Practice, small_disk: Path) -> None:
    users, key = make_key(small_disk)
    configuration = practice.configuration(
        workers=1, server=f"min_free_bytes = {8 * MIB}", more=SEGMENTS, users_file=users
    )
    practice.shut("later")
    before = practice.seen("later").recipients
    with serving(small_disk, configuration) as server:
        for number in range(20):
            send(server.ports["smtp"], f"customer{number}@later.test")
        ballast = fill(small_disk, 6 * MIB)
        wait_until(lambda: answer(server.ports["smtp"], "a@plain.test")[0] == 452, "new mail is refused")
        assert "4.3.1" in answer(server.ports["smtp"], "a@plain.test")[1]
        assert post(server.ports["http"], key, "a@plain.test") == 503
        practice.open("later")
        wait_until(lambda: practice.seen("later").recipients == before + 20, "what was accepted went out")
        wait_until(queue_is(server, 0), "the queue is empty")
        assert answer(server.ports["smtp"], "a@plain.test")[0] == 452
        pids_before = pids(server)
        taken = practice.seen("plain").recipients
        ballast.unlink()
        wait_until(lambda: answer(server.ports["smtp"], "b@plain.test")[0] == 250, "mail is taken again")
        wait_until(lambda: post(server.ports["http"], key, "b@plain.test") == 202, "by HTTP too")
        wait_until(lambda: practice.seen("plain").recipients == taken + 2, "and goes out")
        assert pids(server) == pids_before


def test_no_room_at_all_loses_nothing_that_was_accepted(practice: Practice, small_disk: Path) -> None:
    practice.shut("later")
    before = Counter({name: counts.recipients for name, counts in practice.counts().items()})
    with serving(
        small_disk, practice.configuration(workers=1, server="min_free_bytes = 0", more=SEGMENTS)
    ) as server:
        ballast = fill(small_disk, 0)
        codes: Counter[int] = Counter()

        def is_refused() -> bool:
            code, _ = answer(server.ports["smtp"], "c@later.test")
            codes[code] += 1
            return code in {451, 452}

        wait_until(is_refused, "no more is taken", 60)
        assert codes.keys() <= {250, 451, 452}
        assert codes[250] > 0
        accepted = codes[250]
        ballast.unlink()

        def is_taken() -> bool:
            nonlocal accepted
            code, _ = answer(server.ports["smtp"], "d@later.test")
            accepted += code == 250
            return code == 250

        wait_until(is_taken, "mail is taken again", 60)
        practice.open("later")
        wait_until(
            lambda: practice.seen("later").recipients >= before["later"] + accepted,
            "all accepted went out",
            60,
        )
        wait_until(queue_is(server, 0), "the queue is empty")
        assert practice.seen("later").recipients == before["later"] + accepted
        assert not log_lines(server, "process.died")


def test_with_room_mail_is_taken_again_though_nothing_is_queued(practice: Practice, small_disk: Path) -> None:
    configuration = practice.configuration(workers=1, server="min_free_bytes = 0", more=SEGMENTS)
    with serving(small_disk, configuration) as server:
        port = server.ports["smtp"]
        ballast = fill(small_disk, 0)
        wait_until(lambda: answer(port, "g@plain.test")[0] in {451, 452}, "no more is taken", 60)
        wait_until(lambda: bool(log_lines(server, "intake.changed")), "not even asked for")
        ballast.unlink()
        wait_until(lambda: answer(port, "g@plain.test")[0] == 250, "mail is taken again", 30)


@pytest.mark.parametrize("victims", [("dispatcher",), ("worker-0",), ("dispatcher", "worker-0")])
def test_who_dies_on_a_full_disk_comes_back_and_sends_what_was_accepted(
    practice: Practice, small_disk: Path, victims: tuple[str, ...]
) -> None:
    practice.shut("later")
    before = practice.seen("later").recipients
    configuration = practice.configuration(workers=1, server="min_free_bytes = 0", more=LONG_SEGMENTS)
    with serving(small_disk, configuration) as server:
        port = server.ports["smtp"]
        wait_until(lambda: answer(port, "e@later.test")[0] == 250, "the first is taken")
        accepted = 1
        fill(small_disk, 0)
        while (code := answer(port, "e@later.test")[0]) == 250:
            accepted += 1
        assert code in {451, 452}
        fill(small_disk, 0)
        pids_before = pids(server)
        for name in victims:
            kill_child(server, name)
        for name in victims:
            await_restart(server, name, pids_before[name])
        practice.open("later")  # and nobody gives room
        wait_until(
            lambda: practice.seen("later").recipients == before + accepted, "all accepted went out", 60
        )
        assert log_lines(server, "spool.room_given")


@pytest.mark.parametrize("fault", ["fdatasync:*.log:4:EIO", "pwritev:*.log:4:EIO", "pwritev:*.log:4:ENOSPC"])
def test_a_failed_write_or_sync_is_451_and_the_log_goes_on(
    practice: Practice, tmp_path: Path, fault: str
) -> None:
    before = practice.seen("plain").recipients
    with serving(
        tmp_path / "server", practice.configuration(workers=1, more=SEGMENTS), {"OUTRIDER_FAULTS": fault}
    ) as server:
        codes = [answer(server.ports["smtp"], f"f{number}@plain.test")[0] for number in range(20)]
        accepted = codes.count(250)
        wait_until(lambda: practice.seen("plain").recipients >= before + accepted, "all accepted went out")
        wait_until(queue_is(server, 0), "the queue is empty")
        assert set(codes) <= {250, 451}
        assert log_lines(server, "server.injected_faults")
        failed = [line for line in log_lines(server) if line["event"].endswith("_failed")]
        assert failed, "the fault struck"
        assert not log_lines(server, "process.died")
        assert practice.seen("plain").recipients == before + accepted
        assert accepted >= 18


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def worker_pid(server: OutriderProcess) -> int:
    return pids(server)["worker-0"]


def test_high_memory_refuses_new_mail_until_it_is_low_again(practice: Practice, tmp_path: Path) -> None:
    with serving(tmp_path / "measured", practice.configuration(workers=1)) as server:
        send(server.ports["smtp"], "customer@plain.test")
        usual = resident_bytes(worker_pid(server))
    limit = usual + 70 * MIB
    options = f"memory_limit_bytes = {limit}"
    before = practice.seen("slow").recipients
    with serving(tmp_path / "server", practice.configuration(workers=1, server=options)) as server:
        port = server.ports["smtp"]
        send(port, "customer@slow.test")
        clients = [smtplib.SMTP("127.0.0.1", port, timeout=60) for _ in range(40)]
        for client in clients:
            client.ehlo("client.test")
            client.mail("sender@source.test")
            client.rcpt("customer@slow.test")
            client.putcmd("data")
            assert client.getreply()[0] == 354
        # what is kept of a queued message lies between the pieces, so that the allocator can give none of
        # them back from the end of its heap
        queued = 0
        for _ in range(20):
            for client in clients:
                client.send((b"x" * 70 + b"\r\n") * (128 * 1024 // 72))  # and its end does not come
            queued += answer(port, "customer@later.test")[0] == 250
        assert queued > 5
        wait_until(lambda: bool(log_lines(server, "intake.changed")), "new mail is refused")
        assert answer(port, "g@plain.test")[0] == 421
        wait_until(lambda: practice.seen("slow").recipients == before + 1, "old mail went out")
        for client in clients:
            client.close()
        wait_until(lambda: answer(port, "g@plain.test")[0] == 250, "mail is taken again")
