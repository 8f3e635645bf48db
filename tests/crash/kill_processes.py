"""The processes of a server under test: who they are and what they hold.

In: the supervisor's process id and the server's log, or a port. Out: process ids by name, the owner of a
connection, the logs that a process writes.
"""

import json
import os
import re
import signal
import socket
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_LOCK = re.compile(r"/spool/logs/(\d+)/lock$")
_PARENT, _STATE = 1, 0

Ends = tuple[tuple[str, int], tuple[str, int]]
"""The near and the far end of an IPv4 connection, each address and port. The near port alone is no name: the
kernel gives one to several connections at once when they go to different places."""


def _stat(pid: int) -> list[str]:
    """Fields of /proc/<pid>/stat behind the name; none when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.rpartition(")")[2].split()


def is_running(pid: int) -> bool:
    """False for a process that is gone or only waits to be reaped."""
    fields = _stat(pid)
    return bool(fields) and fields[_STATE] not in "ZX"


def children_of(supervisor: int, log: str) -> dict[str, int]:
    """Living children of the supervisor by name, as its log (JSON lines of its life) tells them."""
    found: dict[str, int] = {}
    for line in log.splitlines():
        if '"process.started"' in line:
            with suppress(json.JSONDecodeError):
                fields = json.loads(line)
                found[fields["name"]] = fields["pid"]
    return {
        name: pid
        for name, pid in found.items()
        if (fields := _stat(pid)) and int(fields[_PARENT]) == supervisor and fields[_STATE] not in "ZX"
    }


def pause(pids: Iterable[int]) -> None:
    """SIGSTOP, and wait until each of them stands still or is gone."""
    waiting = list(pids)
    for pid in waiting:
        send(pid, signal.SIGSTOP)
    while waiting:
        states = {pid: _stat(pid) for pid in waiting}
        waiting = [pid for pid, fields in states.items() if fields and fields[_STATE] not in "TtZX"]


def send(pid: int, number: signal.Signals) -> None:
    """A signal to a process that may be gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _held_by(pid: int) -> list[str]:
    """What the descriptors of a process are; nothing for one that is gone."""
    found = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for link in list(Path(f"/proc/{pid}/fd").iterdir()):
            with suppress(FileNotFoundError):
                found.append(str(link.readlink()))
    return found


def logs_of(pid: int) -> frozenset[int]:
    """Numbers of the logs that a process writes."""
    return frozenset(int(lock[1]) for held in _held_by(pid) if (lock := _LOCK.search(held)))


def connections_of(pid: int) -> frozenset[Ends]:
    """The TCP connections that a process has or is opening."""
    held = set(_held_by(pid))
    table = Path("/proc/net/tcp").read_text(encoding="ascii")
    return frozenset(ends for ends, inode in parse_connections(table).items() if f"socket:[{inode}]" in held)


def owner_of(ends: Ends, pids: Iterable[int]) -> int:
    """Which of the processes holds a connection by its near end; 0 when none does."""
    inode = parse_connections(Path("/proc/net/tcp").read_text(encoding="ascii")).get(ends)
    held = f"socket:[{inode}]"
    return next((pid for pid in pids if inode and held in _held_by(pid)), 0)


def parse_connections(table: str) -> dict[Ends, str]:
    """Inodes in /proc/net/tcp by connection; nothing for those that listen or belong to nobody any more."""
    found: dict[Ends, str] = {}
    for row in table.splitlines()[1:]:
        fields = row.split()
        if len(fields) > 9 and not fields[2].endswith(":0000") and fields[9] != "0":
            found[_end(fields[1]), _end(fields[2])] = fields[9]
    return found


def _end(text: str) -> tuple[str, int]:
    """Address and port from `0100007F:9C40`, the address in the order of the machine (proc(5))."""
    address, _, port = text.partition(":")
    return socket.inet_ntoa(int(address, 16).to_bytes(4, sys.byteorder)), int(port, 16)
