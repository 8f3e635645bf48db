"""Refuses what the house style forbids and ruff cannot see.

In: the project's files. Out: a list of faults, exit status 1 if there are any. Checked are: a docstring in
each module, size, names that say nothing, packages that do more than be documented, unfinished places,
mutable state of modules, lock files with addresses, paths of one machine and hosts of package registries.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from tools.project_files import ROOT, Fault, project_paths, read_texts, report

LINES_MAX = 800
"""Chosen, because a module beyond it holds more than one concept (style: size and shape)."""

EMPTY_NAMES = frozenset({"utils", "util", "helpers", "helper", "common", "misc"})
CODE_FOLDERS = ("src", "tests", "tools", "bench")
TEXT_SUFFIXES = (".py", ".md", ".toml", ".sh", ".txt", ".in", ".smtp", ".json", ".yml", ".yaml", ".cfg", "")
TEXT_FOLDERS = ("", "src", "tests", "docs", "tools", "bench", "changes", ".ci")

# Assembled, so that this file does not name what it refuses.
UNFINISHED = ("TO" + "DO", "FIX" + "ME", "X" * 3, "NotImplemented" + "Error")
LOCK_REFUSES = (":" + "//", "--find" + "-links", "--extra-index" + "-url", "--index" + "-url")
REGISTRY_HOSTS = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("deb", "debian", "org"),
        ("registry", "npmjs", "org"),
        ("proxy", "golang", "org"),
        ("crates", "io"),
    )
)

_MUTABLE_CALLS = frozenset(
    {"list", "dict", "set", "bytearray", "defaultdict", "deque", "Counter", "OrderedDict"}
)
_CONSTANT_NAME = re.compile(r"_*[A-Z][A-Z0-9_]*$")


def _is_mutable(value: ast.expr | None) -> bool:
    match value:
        case ast.List() | ast.Dict() | ast.Set() | ast.ListComp() | ast.DictComp() | ast.SetComp():
            return True
        case ast.Call(func=ast.Name(id=name)) | ast.Call(func=ast.Attribute(attr=name)):
            return name in _MUTABLE_CALLS
        case _:
            return False


def _mutable_state(path: str, tree: ast.Module) -> Iterator[Fault]:
    for node in tree.body:
        match node:
            case ast.Assign(targets=targets, value=value):
                names = [target.id for target in targets if isinstance(target, ast.Name)]
            case ast.AnnAssign(target=ast.Name(id=name), value=value):
                names = [name]
            case _:
                continue
        for name in names:
            if _is_mutable(value) and not _CONSTANT_NAME.match(name) and not name.startswith("__"):
                yield Fault(path, node.lineno, f"module state {name!r}: pass it in, or name it as a constant")
    for inner in ast.walk(tree):
        if isinstance(inner, ast.Global):
            yield Fault(path, inner.lineno, f"global {', '.join(inner.names)}: state is passed in")


def _check_package_file(path: str, tree: ast.Module) -> Iterator[Fault]:
    if len(tree.body) > 1:
        yield Fault(path, tree.body[1].lineno, "`__init__.py` holds a docstring and nothing else")


def check_module(path: str, text: str) -> list[Fault]:
    """The faults of one Python module."""
    faults: list[Fault] = []
    lines = text.count("\n")
    if lines > LINES_MAX:
        faults.append(Fault(path, LINES_MAX, f"{lines} lines: split by concept at {LINES_MAX}"))
    name = Path(path)
    if name.stem in EMPTY_NAMES or name.parent.name in EMPTY_NAMES:
        faults.append(Fault(path, 1, "the name says nothing: name the concept"))
    tree = ast.parse(text)
    if ast.get_docstring(tree) is None:
        faults.append(Fault(path, 1, "no module docstring"))
    if path.startswith("src/"):
        faults.extend(_mutable_state(path, tree))
        for number, line in enumerate(text.splitlines(), 1):
            faults.extend(
                Fault(path, number, f"unfinished place: {word}")
                for word in UNFINISHED
                if re.search(rf"\b{word}\b", line)
            )
        if name.name == "__init__.py":
            faults.extend(_check_package_file(path, tree))
    elif path.startswith("tests/") and name.name == "__init__.py":
        faults.append(Fault(path, 1, "test folders are no packages: remove it"))
    return faults


def check_lock(path: str, text: str) -> list[Fault]:
    """The faults of one lock file: pins and hashes are all it may hold."""
    faults: list[Fault] = []
    for number, line in enumerate(text.splitlines(), 1):
        faults.extend(
            Fault(path, number, f"a lock file holds no {word}") for word in LOCK_REFUSES if word in line
        )
        if re.match(r"[A-Za-z0-9]", line) and "==" not in line:
            faults.append(Fault(path, number, "not pinned with =="))
    return faults


def check_text(path: str, text: str, machine_paths: tuple[str, ...]) -> list[Fault]:
    """Faults of any text: paths of one machine, hosts of registries."""
    faults = []
    for number, line in enumerate(text.splitlines(), 1):
        if any(machine in line for machine in machine_paths):
            faults.append(Fault(path, number, "a path of one machine: make it relative"))
        if any(host in line for host in REGISTRY_HOSTS):
            faults.append(Fault(path, number, "names the host of a package registry"))
    return faults


def machine_paths(root: Path = ROOT) -> tuple[str, ...]:
    """Where this work tree lies, and its parent, unless that is so short that it means nothing."""
    found = [f"{root}/"]
    if len(root.parent.parts) > 1 and root.parent.name not in {"home", "tmp", "src", "root", "usr", "var"}:
        found.append(f"{root.parent}/")
    return tuple(found)


def project_faults(root: Path = ROOT) -> list[Fault]:
    """The faults of the whole project."""
    faults: list[Fault] = []
    for path, text in read_texts((".py",), CODE_FOLDERS, root):
        faults.extend(check_module(path, text))
    for path, text in read_texts(TEXT_SUFFIXES, TEXT_FOLDERS, root):
        faults.extend(check_text(path, text, machine_paths(root)))
        if re.fullmatch(r"requirements[\w-]*\.txt", path):
            faults.extend(check_lock(path, text))
    stems: dict[str, str] = {}
    for file in project_paths(root):
        if file.parts[0] == "tests" and file.name.startswith("test_") and file.suffix == ".py":
            if file.name in stems:
                faults.append(Fault(str(file), 1, f"test file names are unique: also {stems[file.name]}"))
            stems[file.name] = str(file)
    return sorted(faults)


if __name__ == "__main__":
    sys.exit(report(project_faults()))
