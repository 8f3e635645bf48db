"""Reads what `strace -f -yy` wrote into one file.

In: lines of the trace. Out: `Call`s with the places in the trace where each began and ended.

Theory: strace sees each system call of each thread twice, before and after it, and a thread stands still
until it has been seen; so what one thread does because of another's call comes behind the end of that
call. A call in whose middle something else was seen is split over two lines, `<unfinished ...>` and
`<... name resumed>`.

Not here: what the order must be (`strace_order`).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

OPTIONS = ("-D", "-f", "-yy", "-v", "-tt", "-s", "4000000", "--seccomp-bpf", "--signal=none")
"""The tracer is a grandchild, so the server keeps its process id; names and peers of descriptors are shown,
strings are never cut; only what is asked for stops a thread."""
CALLS = (
    "openat", "open", "creat", "mkdir", "mkdirat", "rename", "renameat", "renameat2", "link", "linkat",
    "write", "writev", "pwrite64", "pwritev", "pwritev2", "fdatasync", "fsync", "syncfs", "sync", "msync",
    "sync_file_range", "sendto", "sendmsg", "sendmmsg", "sendfile", "splice",
)  # fmt: skip
_LINE = re.compile(r"(\d+)\s+([0-9:.]+) (.*)", re.DOTALL)
_START = re.compile(r"(\w+)\((.*)", re.DOTALL)
_RESUMED = re.compile(r"<\.\.\. (\w+) resumed>(.*)", re.DOTALL)
_RESULT = re.compile(r"\) += (-?\d+|\?)([^\"]*)$")
_UNKNOWN = "???"
# of a thread that was gone before strace could ask what it was about to do
_UNFINISHED = " <unfinished ...>"
_DESCRIPTOR = re.compile(r"(?:\d+|AT_FDCWD)<(.*?)>(?=[,)]|$)")


class TraceError(Exception):
    """The trace has a line of an unknown form."""


@dataclass(frozen=True, slots=True)
class Call:
    """One system call.

    Attributes:
        thread: Who made it.
        name: Its name.
        arguments: As strace prints them, strings escaped.
        began: Number of the line where it began.
        ended: Number of the line where it ended; the last line's for one that never did.
        result: What it returned; -1 for a failure, None when that was not seen.
    """

    thread: int
    name: str
    arguments: str
    began: int
    ended: int
    result: int | None

    @property
    def target(self) -> str:
        """Path or peers of the descriptor in the first argument; empty when there is none."""
        found = _DESCRIPTOR.match(self.arguments)
        return found[1] if found else ""

    @property
    def path(self) -> str:
        """The first string argument: the path of a call that takes one."""
        return self.arguments.partition('"')[2].partition('"')[0]


@dataclass(slots=True)
class _Open:
    thread: int
    name: str
    arguments: str
    began: int


def parse(lines: Iterable[str]) -> list[Call]:
    """All calls, in the order of their beginnings.

    Raises:
        TraceError: A line is neither a call nor an end of a process.
    """
    calls: list[Call] = []
    unfinished: dict[int, _Open] = {}
    number = -1
    for number, line in enumerate(lines):
        found = _LINE.fullmatch(line.rstrip("\n"))
        if found is None:
            raise TraceError(f"line {number + 1}: {line[:200]!r}")
        thread, text = int(found[1]), found[3]
        if text.startswith(("+++", "---", _UNKNOWN, f"<... {_UNKNOWN}")):
            continue
        if resumed := _RESUMED.fullmatch(text):
            opened = unfinished.pop(thread, None)
            if opened is None or opened.name != resumed[1]:
                raise TraceError(f"line {number + 1} resumes what was not begun: {line[:200]!r}")
            calls.append(_ended(opened, opened.arguments + resumed[2], number))
        elif started := _START.fullmatch(text):
            opened = _Open(thread, started[1], started[2], number)
            if opened.arguments.endswith(_UNFINISHED):
                opened.arguments = opened.arguments.removesuffix(_UNFINISHED)
                unfinished[thread] = opened
            else:
                calls.append(_ended(opened, opened.arguments, number))
        else:
            raise TraceError(f"line {number + 1}: {line[:200]!r}")
    calls += [
        Call(one.thread, one.name, one.arguments, one.began, number + 1, None) for one in unfinished.values()
    ]
    return sorted(calls, key=lambda call: call.began)


def _ended(opened: _Open, whole: str, ended: int) -> Call:
    found = _RESULT.search(whole)
    arguments = whole[: found.start()] if found else whole
    result = int(found[1]) if found and found[1] != "?" else None
    return Call(opened.thread, opened.name, arguments, opened.began, ended, result)
