"""The page of the control API, from its OpenAPI: operations, what they take, what they give.

In: the application's own description. Out: lines of Markdown.
"""

import re
from collections.abc import Iterator
from typing import Any

from tools.command_routes import counterpart_lines

HTTP_METHODS = ("get", "post", "patch", "delete")


def control_lines() -> Iterator[str]:
    """Every operation by its tag, then every model with its fields."""
    from outrider.server.control_api.app import openapi

    described = openapi()
    yield described["info"]["description"]
    yield ""
    yield "The description of a running server, OpenAPI 3.1, is at `/v1/openapi.json`. Lists are answered in"
    yield "pages: `next_cursor` of one is `cursor` of the next, and null is the end."
    tags: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for path, operations in described["paths"].items():
        for method in HTTP_METHODS:
            if method in operations:
                tags.setdefault(operations[method]["tags"][0], []).append((method, path, operations[method]))
    for tag, found in tags.items():
        yield from ("", f"## {tag.capitalize()}", "")
        yield "| operation | what it does | parameters | body | answer |"
        yield "| --- | --- | --- | --- | --- |"
        for method, path, operation in found:
            named = ", ".join(f"`{each['name']}`" for each in operation.get("parameters", ()))
            body = _model(operation.get("requestBody", {}))
            code, answer = next(
                (code, each) for code, each in operation["responses"].items() if code[0] == "2"
            )
            cells = (operation["summary"], named, body, f"{code} {_model(answer)}".strip())
            yield f"| `{method.upper()} {path}` | " + " | ".join(map(_cell, cells)) + " |"
    yield from ("", "## Commands and operations", "")
    yield "What a command does, and which operation does it too. Commands that need no server work on files"
    yield "and the control database; a running server takes up what they change within two seconds."
    yield ""
    yield from counterpart_lines()
    yield from ("", "## Models")
    for name, model in sorted(described["components"]["schemas"].items()):
        if name.startswith("_") or name in ("HTTPValidationError", "ValidationError"):
            continue
        yield from ("", f"### {name}", "", _cell(model.get("description", "")), "")
        yield "| field | type | needed | what it says |"
        yield "| --- | --- | --- | --- |"
        needed = set(model.get("required", ()))
        for field, kind in model.get("properties", {}).items():
            is_needed = "yes" if field in needed else ""
            yield f"| `{field}` | {_cell(_type(kind))} | {is_needed} | {_cell(kind.get('description', ''))} |"


def _model(holder: dict[str, Any]) -> str:
    for content in holder.get("content", {}).values():
        return _type(content.get("schema", {}))
    return ""


def _type(kind: dict[str, Any]) -> str:
    if "$ref" in kind:
        name = str(kind["$ref"]).rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in kind:
        return " or ".join(_type(each) for each in kind["anyOf"])
    if "enum" in kind:
        return "one of " + ", ".join(f"`{each}`" for each in kind["enum"])
    if kind.get("type") == "array":
        return f"list of {_type(kind.get('items', {}))}"
    return str(kind.get("type", "any"))


def _cell(text: object) -> str:
    return re.sub(r"\s+", " ", str(text)).replace("|", "\\|").strip()
