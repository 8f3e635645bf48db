"""Ties every promise that the software makes to the test or bench row that proves it.

In: docs/promises.toml, the test files, bench/latest.json, and after a test run the outcomes that
tools/proofs.py wrote. Out: a list of faults, exit status 1 if there are any; docs/reference/promises.md.

A proof is `tests/file.py::test_name` (all its parameters must pass), `tests/file.py::TestClass::test_name`,
or `bench:NAME`, a row `program/case/workers` or a ratio in bench/latest.json. A promise without proof is
`open = true`; it is listed loudly and refused with --strict.

Not here: whether the test proves the sentence; that is what reviews are for.
"""

import argparse
import ast
import json
import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.project_files import ROOT

PROMISES = Path("docs/promises.toml")
PAGE = Path("docs/reference/promises.md")
BENCH = Path("bench/latest.json")
_ID = re.compile(r"[a-z0-9]+(?:[.-][a-z0-9]+)*$")


@dataclass(frozen=True, slots=True)
class Promise:
    """One sentence and what proves it."""

    id: str
    text: str
    area: str
    proof: tuple[str, ...] = ()
    open: bool = False


def load_promises(path: Path) -> list[Promise]:
    """All promises of the file, in its order.

    Raises:
        ValueError: A table is malformed; the message names the promise.
    """
    promises = []
    for item in tomllib.loads(path.read_text(encoding="utf-8"))["promise"]:
        try:
            promises.append(Promise(**{**item, "proof": tuple(item.get("proof", ()))}))
        except TypeError as error:
            raise ValueError(f"{path}: {item.get('id', item)}: {error}") from error
    return promises


def shape_faults(promises: list[Promise]) -> list[str]:
    """Faults that need neither tests nor results."""
    faults = []
    seen: set[str] = set()
    for promise in promises:
        if not _ID.match(promise.id):
            faults.append(f"{promise.id}: ids are lower-case words joined by dots and hyphens")
        if promise.id in seen:
            faults.append(f"{promise.id}: twice")
        seen.add(promise.id)
        if not promise.text.strip().endswith("."):
            faults.append(f"{promise.id}: a promise is a sentence with its full stop")
        if bool(promise.proof) == promise.open:
            faults.append(f"{promise.id}: either it has proofs or it is open")
    return faults


def defined_tests(path: Path) -> set[str]:
    """`test_name` and `TestClass::test_name` of everything that the file defines."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(name)
            case ast.ClassDef(name=name, body=body):
                names.update(
                    f"{name}::{inner.name}"
                    for inner in body
                    if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef)
                )
                names.update(_machine_test(node))
            case ast.Assign(targets=[ast.Name(id=name)]):  # a hypothesis machine's TestCase by assignment
                names.add(f"{name}::runTest")
            case _:
                pass
    return names


def _machine_test(node: ast.ClassDef) -> set[str]:
    return {f"{node.name}::runTest"} if any("TestCase" in ast.dump(base) for base in node.bases) else set()


def bench_names(path: Path) -> set[str]:
    """`program/case/workers` of each row and the name of each ratio; empty when there is no file."""
    if not path.is_file():
        return set()
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    rows = {f"{row['program']}/{row['case']}/{row['workers']}" for row in data.get("rows", [])}
    return rows | set(data.get("ratios", {}))


def existence_faults(promises: list[Promise], root: Path) -> list[str]:
    """Proofs that name no test or bench row."""
    faults = []
    known: dict[str, set[str]] = {}
    rows = bench_names(root / BENCH)
    for promise in promises:
        for proof in promise.proof:
            if proof.startswith("bench:"):
                if proof.removeprefix("bench:") not in rows:
                    faults.append(f"{promise.id}: no such row or ratio in {BENCH}: {proof}")
                continue
            file, _, name = proof.partition("::")
            if file not in known:
                path = root / file
                known[file] = defined_tests(path) if path.is_file() else set()
            if name not in known[file]:
                faults.append(f"{promise.id}: no such test: {proof}")
    return faults


def result_faults(promises: list[Promise], outcomes: dict[str, str]) -> list[str]:
    """Proofs that were skipped, failed or did not run."""
    by_test: dict[str, list[str]] = {}
    for nodeid, outcome in outcomes.items():
        by_test.setdefault(nodeid.partition("[")[0].partition("@")[0], []).append(outcome)
    faults = []
    for promise in promises:
        for proof in promise.proof:
            if proof.startswith("bench:"):
                continue
            found = by_test.get(proof, [])
            if not found:
                faults.append(f"{promise.id}: did not run: {proof}")
            elif bad := sorted({outcome for outcome in found if outcome != "passed"}):
                faults.append(f"{promise.id}: {' and '.join(bad)}: {proof}")
    return faults


def format_page(promises: list[Promise]) -> str:
    """The page "Promises and proofs"."""
    lines = [
        "# Promises and proofs",
        "",
        "<!-- Written by `make docs` from docs/promises.toml; do not edit. -->",
        "",
        "Each sentence below is a promise of this software, with the tests or bench rows that prove it.",
        "`make test` fails when a named proof is missing, was skipped or did not run.",
    ]
    waiting = [promise for promise in promises if promise.open]
    if waiting:
        lines += ["", f"**{len(waiting)} of {len(promises)} promises have no proof yet**; they are marked."]
    area = ""
    for promise in promises:
        if promise.area != area:
            area = promise.area
            lines += ["", f"## {area[0].upper()}{area[1:]}"]
        lines += ["", f"### {promise.id}", "", promise.text.strip(), ""]
        lines += [f"- `{proof}`" for proof in promise.proof] or ["- **no proof yet**"]
    return "\n".join(lines) + "\n"


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Check docs/promises.toml.")
    parser.add_argument("--results", type=Path, help="outcomes written by `pytest --proofs PATH`")
    parser.add_argument("--strict", action="store_true", help="refuse promises that are still open")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE}")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None, root: Path = ROOT) -> int:
    """Prints the faults; 0 when there are none."""
    options = _arguments(argv)
    promises = load_promises(root / PROMISES)
    faults = shape_faults(promises) + existence_faults(promises, root)
    page = root / PAGE
    if options.write:
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(format_page(promises), encoding="utf-8")
    elif not page.is_file() or page.read_text(encoding="utf-8") != format_page(promises):
        faults.append(f"{PAGE} is out of date: run `make docs`")
    if options.results:
        if not options.results.is_file():
            faults.append(f"no results at {options.results}: run `make test`")
        else:
            faults += result_faults(promises, json.loads(options.results.read_text(encoding="utf-8")))
    waiting = [promise.id for promise in promises if promise.open]
    if waiting:
        print(f"OPEN: {len(waiting)} of {len(promises)} promises have no proof yet: {', '.join(waiting)}")
        if options.strict:
            faults.append(f"{len(waiting)} promises are open")
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
