"""Reads the reply constants out of the source: value, name, and the source that stands beneath each."""

import ast
import importlib
import re
from dataclasses import dataclass

from tools.project_files import ROOT, project_paths


@dataclass(frozen=True, slots=True)
class Constant:
    """One reply constant."""

    module: str
    name: str
    code: int
    enhanced: str | None
    text: str
    source: str


def _comment_below(lines: list[str], end: int) -> str:
    """The comment lines that follow line number `end` (counted from 1) at once, joined."""
    found = []
    for line in lines[end:]:
        if not line.startswith("#"):
            break
        found.append(line.lstrip("# ").strip())
    return " ".join(found)


def constants_of(module: str, text: str) -> list[Constant]:
    """The module's constants that are replies, in the order of the file."""
    from outrider.model.reply import Reply

    values = vars(importlib.import_module(module))
    body = ast.parse(text).body
    lines = text.splitlines()
    found = []
    for number, node in enumerate(body):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                value = values.get(name)
            case _:
                continue
        if isinstance(value, Reply) and name.isupper():
            source = _comment_below(lines, node.end_lineno or node.lineno)
            match body[number + 1] if number + 1 < len(body) else None:
                case ast.Expr(value=ast.Constant(value=str(doc))):
                    source = doc
                case _:
                    pass
            found.append(Constant(module, name, value.code, value.enhanced, value.text, source))
    return found


def reply_constants() -> list[Constant]:
    """All reply constants of the source, module by module."""
    found: list[Constant] = []
    for path in project_paths():
        if path.parts[:2] == ("src", "outrider") and path.suffix == ".py":
            text = (ROOT / path).read_text(encoding="utf-8")
            if re.search(r"^[A-Z_]+(?:: [\w\[\]]+)? = Reply\(", text, re.MULTILINE):
                found += constants_of(".".join(path.with_suffix("").parts[1:]), text)
    return found
