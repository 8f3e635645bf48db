"""A 250 or 202 leaves only after the sync of what it promises: the whole server under strace.

The oracle is proved by servers that break the rule: one whose syncs do nothing, one that replies before it
commits, one that syncs before it writes, one that never syncs a directory.
"""

import http.client
import re
import shutil
import smtplib
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from pathlib import Path
from urllib.parse import urlencode

import pytest

from outrider.privacy.credentials import make_key
from tests.crash import strace_log
from tests.crash.strace_order import Findings, check
from tests.e2e import outrider_process
from tests.e2e.outrider_process import OutriderProcess, configuration_for, serving
from tests.peers.processes import free_port, wait_until

SENDER = "shop@example.test"
QUEUED = re.compile(r"queued as (\w+)")
SMTP_THREADS, HTTP_THREADS, EACH = 4, 2, 6

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")

NO_SYNC = """
from outrider.base.files import OsFiles
OsFiles.fdatasync = lambda self, fd: None
"""
NO_DIRECTORY_SYNC = """
from outrider.base.files import OsFiles
OsFiles.sync_directory = lambda self, path: None
"""
EARLY_REPLY = """
from outrider.model.changes import ContentRef
from outrider.spool.writer import LogWriter
commit = LogWriter.commit
def early(self, changes, contents, done, **more):
    if done is not None:
        done(ContentRef(self.number, 0, 0, 0))
        commit(self, changes, contents, lambda ref: None, **more)
    else:
        commit(self, changes, contents, done, **more)
LogWriter.commit = early
"""
SYNC_BEFORE_WRITE = """
from outrider.base.files import OsFiles
pwritev, fdatasync = OsFiles.pwritev, OsFiles.fdatasync
def hasty(self, fd, buffers, offset):
    fdatasync(self, fd)
    return pwritev(self, fd, buffers, offset)
OsFiles.pwritev, OsFiles.fdatasync = hasty, lambda self, fd: None
"""


def content(number: str, octets: int = 500) -> tuple[bytes, str]:
    """A message, and the text that ends it."""
    end = f"end-of-{number}-"
    filler = b"Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod.\r\n" * (octets // 74)
    head = f"From: <{SENDER}>\r\nTo: <customer@example.test>\r\nSubject: {number}\r\n\r\n".encode()
    return head + filler + end.encode() + b"\r\n", end


def by_smtp(port: int, thread: int) -> dict[str, str]:
    """Messages on one connection; id → end of each."""
    found = {}
    with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
        client.ehlo("client.test")
        for number in range(EACH):
            octets = 300_000 if number == 3 and not thread else 500
            message, end = content(f"smtp-{thread}-{number}", octets)
            client.mail(SENDER)
            client.rcpt("customer@example.test")
            code, text = client.data(message)
            assert code == 250
            found[QUEUED.findall(text.decode())[0]] = end
    return found


def by_http(port: int, thread: int, key: str) -> dict[str, str]:
    found = {}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    target = "/v1/messages?" + urlencode({"from": SENDER, "to": "customer@example.test"})
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "message/rfc822"}
    for number in range(EACH):
        message, end = content(f"http-{thread}-{number}")
        connection.request("POST", target, message, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        assert answer.status == 202, text
        found[re.findall(r'"id": ?"(\w+)"', text)[0]] = end
    connection.close()
    return found


def inject(server: OutriderProcess, key: str) -> dict[str, str]:
    """Messages by SMTP and HTTP at the same time; id → end of each."""
    with ThreadPoolExecutor(SMTP_THREADS + HTTP_THREADS) as pool:
        smtp = [pool.submit(by_smtp, server.ports["smtp"], thread) for thread in range(SMTP_THREADS)]
        http_ = [pool.submit(by_http, server.ports["http"], thread, key) for thread in range(HTTP_THREADS)]
        found: dict[str, str] = {}
        for future in (*smtp, *http_):
            found.update(future.result())
    return found


Oracle = Callable[[str], Findings]


@pytest.fixture
def oracle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Oracle:
    """Runs a server with a mutation under strace, hands it messages, and gives what the oracle found."""
    trace = tmp_path / "trace"
    options = (*strace_log.OPTIONS, "-e", f"trace={','.join(strace_log.CALLS)}", "-o", str(trace))
    program = ("strace", *options, *outrider_process.PROGRAM)
    monkeypatch.setattr(outrider_process, "PROGRAM", program)

    def run(mutation: str) -> Findings:
        mutations = tmp_path / "mutations"
        mutations.mkdir()
        (mutations / "sitecustomize.py").write_text(mutation, encoding="utf-8")
        users = tmp_path / "users.toml"
        key = make_key(users, "order", "default", frozenset(("example.test",)))
        configuration = configuration_for({"example.test": free_port()}, users_file=users)
        environment = {"PYTHONPATH": str(mutations)} if mutation else {}
        with serving(tmp_path / "server", configuration, environment) as server:
            acknowledged = inject(server, key)
            pid = server.process.pid
            assert server.stop() == 0
        assert len(acknowledged) == (SMTP_THREADS + HTTP_THREADS) * EACH
        wait_until(lambda: has_ended(trace, pid), "the end of the trace")
        with trace.open(encoding="utf-8") as lines:
            until_then = takewhile(lambda line: not tells_the_end(line, pid), lines)
            return check(strace_log.parse(until_then), acknowledged)

    return run


def tells_the_end(line: str, pid: int) -> bool:
    return line.startswith(f"{pid} ") and "+++ exited" in line and line.endswith("\n")


def has_ended(trace: Path, pid: int) -> bool:
    """Whether the trace tells the end of the server; threads and what it leaves behind may end after it."""
    with trace.open("rb") as file:
        file.seek(max(0, trace.stat().st_size - (1 << 20)))
        return any(tells_the_end(line.decode(errors="replace"), pid) for line in file)


def test_each_reply_leaves_after_the_sync_of_what_it_promises(oracle: Oracle) -> None:
    findings = oracle("")
    assert findings.breaches == []
    assert findings.messages == (SMTP_THREADS + HTTP_THREADS) * EACH
    assert findings.segments
    sys.stdout.write(f"{findings.messages} messages, {len(findings.syncs)} syncs\n")


@pytest.mark.parametrize(
    "mutation", [NO_SYNC, EARLY_REPLY, SYNC_BEFORE_WRITE], ids=["no-sync", "early-reply", "sync-before-write"]
)
def test_a_server_that_does_not_sync_or_replies_early_is_found_out(oracle: Oracle, mutation: str) -> None:
    findings = oracle(mutation)
    unsynced = [breach for breach in findings.breaches if "no sync of" in breach]
    assert len(unsynced) > findings.messages * 0.9


def test_a_server_that_does_not_sync_directories_is_found_out(oracle: Oracle) -> None:
    findings = oracle(NO_DIRECTORY_SYNC)
    assert findings.breaches
    assert all("its name was not synced" in breach for breach in findings.breaches)
    assert len(findings.breaches) >= 2 * len(findings.segments)
