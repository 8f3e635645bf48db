"""A `Files` that records what was done, and rebuilds the directory as it could stand after a power cut.

Theory: what a disk owes after a cut is exactly what was synced: data by `fdatasync` of the file, names by the
sync of their directory. Everything else may be there, be absent, or be there in part, each write and each
name by itself.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from outrider.base.files import FreeSpace, OsFiles

SECTOR = 512  # what a disk writes whole


@dataclass(slots=True)
class Inode:
    """A file: its synced content, and the writes since."""

    synced: bytearray = field(default_factory=bytearray)
    pending: list[tuple[str, int, bytes]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Step:
    """One recorded call. `name` and `target` are paths below the root; `inode` is a number."""

    kind: str
    name: str = ""
    inode: int = 0
    offset: int = 0
    data: bytes = b""
    target: str = ""


class TracingFiles(OsFiles):
    """Does everything for real below `root`, and keeps the steps."""

    __slots__ = ("_inodes", "_open", "root", "steps")

    def __init__(self, root: str) -> None:
        self.root = root
        self.steps: list[Step] = []
        self._open: dict[int, int] = {}
        self._inodes: dict[str, int] = {}

    def mark(self, text: str) -> None:
        """Note that something happened here, such as an acknowledgement."""
        self.steps.append(Step("mark", text))

    def _name(self, path: str) -> str:
        return os.path.relpath(path, self.root)

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        name = self._name(path)
        existed = Path(path).exists()
        fd = super().open(path, flags, mode)
        if not existed:
            self._inodes[name] = len(self.steps) + 1
            self.steps.append(Step("create", name, self._inodes[name]))
        elif flags & os.O_TRUNC:
            self.steps.append(Step("truncate", inode=self._inodes[name], offset=0))
        self._open[fd] = self._inodes.get(name, 0)
        return fd

    def pwritev(self, fd: int, buffers: Sequence[bytes], offset: int) -> int:
        written = super().pwritev(fd, buffers, offset)
        data = b"".join(buffers)[:written]
        self.steps.append(Step("write", inode=self._open[fd], offset=offset, data=data))
        return written

    def fdatasync(self, fd: int) -> None:
        super().fdatasync(fd)
        self.steps.append(Step("sync", inode=self._open[fd]))

    def allocate(self, fd: int, octets: int) -> None:
        super().allocate(fd, octets)
        self.steps.append(Step("truncate", inode=self._open[fd], offset=octets))

    def truncate(self, fd: int, octets: int) -> None:
        super().truncate(fd, octets)
        self.steps.append(Step("truncate", inode=self._open[fd], offset=octets))

    def rename(self, source: str, target: str) -> None:
        super().rename(source, target)
        name, new = self._name(source), self._name(target)
        self._inodes[new] = self._inodes.pop(name, 0)
        self.steps.append(Step("rename", name, target=new))

    def unlink(self, path: str) -> None:
        super().unlink(path)
        self._inodes.pop(self._name(path), None)
        self.steps.append(Step("unlink", self._name(path)))

    def mkdir(self, path: str, mode: int = 0o700) -> None:
        super().mkdir(path, mode)
        self.steps.append(Step("mkdir", self._name(path)))

    def rmdir(self, path: str) -> None:
        super().rmdir(path)
        self.steps.append(Step("rmdir", self._name(path)))

    def sync_directory(self, path: str) -> None:
        super().sync_directory(path)
        self.steps.append(Step("sync_directory", self._name(path)))

    def free(self, path: str) -> FreeSpace:
        return super().free(path)


def _parent(name: str) -> str:
    return name.rpartition("/")[0] or "."


class Disk:
    """What the steps up to some point leave on the disk."""

    def __init__(self) -> None:
        self.inodes: dict[int, Inode] = {}
        self.names: dict[str, int] = {}  # durable: path to inode, 0 is a directory
        self.pending: list[Step] = []  # changes of names that are not durable yet
        self.marks: list[str] = []

    def apply(self, step: Step) -> None:
        """One more step."""
        match step.kind:
            case "mark":
                self.marks.append(step.name)
            case "create":
                self.inodes[step.inode] = Inode()
                self.pending.append(step)
            case "mkdir" | "rmdir" | "unlink" | "rename":
                self.pending.append(step)
            case "write" | "truncate":
                self.inodes[step.inode].pending.append((step.kind, step.offset, step.data))
            case "sync":
                inode = self.inodes[step.inode]
                for change in inode.pending:
                    _apply(inode.synced, change)
                inode.pending.clear()
            case _:
                kept = []
                for renamed in self.pending:
                    if _parent(renamed.target or renamed.name) == step.name:
                        self._apply_name(self.names, renamed)
                    else:
                        kept.append(renamed)
                self.pending = kept

    @staticmethod
    def _apply_name(names: dict[str, int], change: Step) -> None:
        match change.kind:
            case "create":
                names[change.name] = change.inode
            case "mkdir":
                names[change.name] = 0
            case "rename":
                if change.name in names:
                    names[change.target] = names.pop(change.name)
            case _:
                names.pop(change.name, None)

    def rebuild(self, root: Path, how: str, random: Random) -> None:
        """Write the directory as it could stand: unsynced things `dropped`, `kept`, or `torn`."""
        names = dict(self.names)
        for renamed in self.pending:
            if how == "kept" or (how == "torn" and random.random() < 0.5):
                self._apply_name(names, renamed)
        root.mkdir(exist_ok=True)
        for name in sorted(names):
            number = names[name]
            path = root / name
            if not path.parent.is_dir():
                continue  # its directory is not durable
            if number == 0:
                path.mkdir(exist_ok=True)
                continue
            inode = self.inodes[number]
            content = bytearray(inode.synced)
            for change in inode.pending:
                if how == "kept":
                    _apply(content, change)
                elif how == "torn":
                    _apply_torn(content, change, random)
            path.write_bytes(content)


def _apply(content: bytearray, change: tuple[str, int, bytes]) -> None:
    kind, offset, data = change
    if kind == "write":
        if len(content) < offset:
            content.extend(bytes(offset - len(content)))
        content[offset : offset + len(data)] = data
    elif len(content) > offset:
        del content[offset:]
    else:
        content.extend(bytes(offset - len(content)))


def _apply_torn(content: bytearray, change: tuple[str, int, bytes], random: Random) -> None:
    """Any sectors of a write may have reached the disk; a change of length did or did not."""
    kind, offset, data = change
    if kind != "write":
        if random.random() < 0.5:
            _apply(content, change)
        return
    place = 0
    while place < len(data):
        end = min(len(data), place + SECTOR - (offset + place) % SECTOR)
        if random.random() < 0.5:
            _apply(content, ("write", offset + place, data[place:end]))
        place = end
