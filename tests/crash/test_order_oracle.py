"""The reader of traces and the order oracle, on traces written by hand."""

import pytest

from tests.crash.strace_log import Call, TraceError, parse
from tests.crash.strace_order import check

LOGS = "/s/logs"
SEGMENT = f"{LOGS}/1/00000000.log"
PEERS = "TCP:[127.0.0.1:25->127.0.0.1:4000]"

MKDIR = f'10 12:00:00.000001 mkdir("{LOGS}/1", 0700) = 0'
SYNC_LOGS = f"10 12:00:00.000002 fsync(5<{LOGS}>) = 0"
MAKE = f'10 12:00:00.000003 openat(AT_FDCWD</>, "{SEGMENT}", O_RDWR|O_CREAT|O_EXCL, 0600) = 6<{SEGMENT}>'
HEADER = f'10 12:00:00.000004 pwritev2(6<{SEGMENT}>, [{{iov_base="OUTSEG", iov_len=4096}}], 1, 0, 0) = 4096'
SYNC_LOG = f"10 12:00:00.000005 fsync(7<{LOGS}/1>) = 0"
WRITE = (
    f'11 12:00:00.000006 pwritev2(6<{SEGMENT}>, [{{iov_base="\\365OF m1", iov_len=9}}, '
    '{iov_base="text (= 0) end-1", iov_len=10}], 2, 4096, 0) = 19'
)
SYNC = f"11 12:00:00.000007 fdatasync(6<{SEGMENT}>) = 0"
REPLY = f'10 12:00:00.000008 write(9<{PEERS}>, "250 2.0.0 Ok: queued as m1, durable\\r\\n", 37) = 37'
GOOD = [MKDIR, SYNC_LOGS, MAKE, HEADER, SYNC_LOG, WRITE, SYNC, REPLY]
OWED = {"m1": "end-1"}


def breaches(lines: list[str], owed: dict[str, str] | None = None) -> list[str]:
    return check(parse(lines), owed or OWED).breaches


def test_a_call_in_one_line() -> None:
    (call,) = parse([WRITE])
    assert (call.thread, call.name, call.began, call.ended, call.result) == (11, "pwritev2", 0, 0, 19)
    assert call.target == SEGMENT
    assert "end-1" in call.arguments


def test_a_call_that_something_else_interrupted() -> None:
    calls = parse(
        [
            f"11 12:00:00.000001 fdatasync(6<{SEGMENT}> <unfinished ...>",
            '10 12:00:00.000002 write(1</dev/null>, "x", 1) = 1',
            "10 12:00:00.000003 --- SIGCHLD {si_signo=SIGCHLD} ---",
            "11 12:00:00.000004 <... fdatasync resumed>) = 0",
            "12 12:00:00.000005 ???( <unfinished ...>",
            "12 12:00:00.000006 <... ??? resumed>) = ?",
            "12 12:00:00.000006 +++ exited with 0 +++",
        ]
    )
    assert calls == [
        Call(11, "fdatasync", f"6<{SEGMENT}>", 0, 3, 0),
        Call(10, "write", '1</dev/null>, "x", 1', 1, 1, 1),
    ]


def test_a_call_that_failed_or_never_ended() -> None:
    failed, endless = parse(
        [
            f"11 12:00:00.000001 fdatasync(6<{SEGMENT}>) = -1 EIO (Input/output error)",
            f"11 12:00:00.000002 fsync(6<{SEGMENT}> <unfinished ...>",
        ]
    )
    assert failed.result == -1
    assert (endless.result, endless.ended) == (None, 2)


def test_what_is_no_trace_is_refused() -> None:
    for line in ("nonsense", "10 12:00:00.000001 <... write resumed>) = 1", "10 12:00:00.000001 what"):
        with pytest.raises(TraceError):
            parse([line])


def test_the_good_order() -> None:
    findings = check(parse(GOOD), OWED)
    assert findings.breaches == []
    assert (findings.messages, findings.segments, len(findings.syncs)) == (1, {SEGMENT}, 1)


def test_every_line_of_the_good_order_is_needed() -> None:
    for line in GOOD:
        if line != HEADER:
            assert breaches([each for each in GOOD if each != line]), line


def test_a_sync_must_begin_after_the_write_and_end_before_the_reply() -> None:
    names = GOOD[:5]
    assert breaches([*names, SYNC, WRITE, REPLY])
    assert breaches([*names, WRITE, REPLY, SYNC])
    begun = SYNC.replace(") = 0", " <unfinished ...>")
    ended = "11 12:00:00.000009 <... fdatasync resumed>) = 0"
    assert breaches([*names, WRITE, begun, REPLY, ended])
    assert breaches([*names, WRITE, SYNC.replace("= 0", "= -1 EIO (Input/output error)"), REPLY])
    assert breaches([*names, WRITE, SYNC.replace("00000000.log", "00000001.log"), REPLY])
    torn = WRITE.replace("4096, 0) = 19", "4115, 0) = 19")
    assert breaches([*names, WRITE, SYNC, torn, REPLY])
    assert not breaches([*names, WRITE, begun, ended, REPLY])


def test_names_must_be_synced_after_they_were_made_and_before_a_frame() -> None:
    assert breaches([SYNC_LOGS, MKDIR, MAKE, HEADER, SYNC_LOG, WRITE, SYNC, REPLY])
    assert breaches([MKDIR, SYNC_LOGS, SYNC_LOG, MAKE, HEADER, WRITE, SYNC, REPLY])
    assert breaches([MKDIR, SYNC_LOGS, MAKE, HEADER, WRITE, SYNC_LOG, SYNC, REPLY])


def test_an_http_response_begins_with_its_head() -> None:
    names = GOOD[:5]
    head = f'10 12:00:00.000008 write(9<{PEERS}>, "HTTP/1.1 202 Accepted\\r\\n\\r\\n", 25) = 25'
    body = f'10 12:00:00.000009 write(9<{PEERS}>, "{{\\"id\\":\\"m1\\"}}", 11) = 11'
    assert not breaches([*names, WRITE, SYNC, head, body])
    assert breaches([*names, WRITE, head, SYNC, body])
    assert breaches([*names, WRITE, SYNC, body])
