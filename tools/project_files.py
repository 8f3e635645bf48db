"""The text files of the project, as the checkers read them.

In: the work tree. Out: paths and texts of what is tracked or could be added; ignored files are left alone.
"""

import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """Something a checker refuses: where, and what to do about it."""

    path: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


def report(faults: Iterable[Fault]) -> int:
    """Prints the faults; the exit status: 0 when there are none."""
    status = 0
    for fault in faults:
        print(fault)
        status = 1
    return status


def project_paths(root: Path = ROOT) -> list[Path]:
    """Files under version control and new ones that are not ignored, sorted, relative to `root`."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    names = {name for name in listed.split("\0") if name}
    return sorted(Path(name) for name in names if (root / name).is_file())


def read_texts(
    suffixes: tuple[str, ...], folders: tuple[str, ...], root: Path = ROOT
) -> Iterator[tuple[str, str]]:
    """Path and text of each project file with one of `suffixes` in one of `folders`.

    An empty suffix stands for files without one; `""` as a folder stands for the root itself.
    """
    for path in project_paths(root):
        top = path.parts[0] if len(path.parts) > 1 else ""
        if top in folders and path.suffix in suffixes:
            try:
                yield str(path), (root / path).read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue  # corpora hold octets that are no text on purpose
