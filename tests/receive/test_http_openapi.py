"""The OpenAPI document is valid, says what the server does, and is the one in the manual."""

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from fastapi.openapi.models import OpenAPI
from starlette.routing import Route

from outrider.receive.http_models import LineResult, MessageRequest, ProblemDocument
from outrider.receive.http_openapi import openapi
from outrider.receive.http_options import HttpOptions
from outrider.receive.problems import KINDS, Fault, Problem
from outrider.wire.smtp import replies
from tests.receive.http_site import HttpSite
from tools.project_files import ROOT

DOCUMENT = openapi()


def walk(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for member in value.values():
            yield from walk(member)
    elif isinstance(value, list):
        for item in value:
            yield from walk(item)


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_the_document_is_openapi() -> None:
    """Against the models of the specification that FastAPI has."""
    parsed = OpenAPI.model_validate(DOCUMENT)
    assert parsed.openapi == "3.1.0"
    with pytest.raises(ValueError, match="paths"):
        OpenAPI.model_validate(DOCUMENT | {"paths": []})


def test_every_reference_leads_somewhere() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    found = {node["$ref"] for node in walk(DOCUMENT) if "$ref" in node}
    assert found
    assert all(reference.removeprefix("#/components/schemas/") in schemas for reference in found)


def test_operations_are_whole() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(names) == len(set(names))
    for path, _, operation in operations():
        declared = {each["name"] for each in operation.get("parameters", []) if each["in"] == "path"}
        assert declared == set(re.findall(r"{(\w+)}", path))
        assert all(response["description"] for response in operation["responses"].values())


def test_each_field_says_what_it_is() -> None:
    for name in ("MessageRequest", "AttachmentRequest", "Accepted", "LineResult"):
        schema = DOCUMENT["components"]["schemas"][name]
        assert schema["description"]
        assert [field for field, kind in schema["properties"].items() if "description" not in kind] in (
            [],
            ["answer", "problem"],
        )


async def test_the_paths_are_those_of_the_server() -> None:
    site = HttpSite()
    served = set()
    for route in site.app.routes:
        assert isinstance(route, Route)
        path = route.path.replace("{message_id}", "{id}")
        served |= {(path, method.lower()) for method in (route.methods or set()) - {"HEAD"}}
    assert served == {(path, method) for path, method, _ in operations()}


async def test_the_server_serves_it_with_its_limits() -> None:
    site = HttpSite(recipients=17)
    answer = await site.ask("GET", "/v1/openapi.json", key="")
    assert answer.document == json.loads(json.dumps(openapi(HttpOptions(recipients=17))))
    assert "17 recipients" in answer.document["info"]["description"]


def test_the_manual_has_this_document() -> None:
    page = ROOT / "docs" / "reference" / "openapi.json"
    assert json.loads(page.read_text(encoding="utf-8")) == json.loads(json.dumps(DOCUMENT))


async def test_what_the_server_answers_is_what_the_document_says() -> None:
    site = HttpSite()
    good = {"from": "shop@sender.example", "to": ["a@example.com"], "text": "x"}
    for line in (await site.batch(good, {}, good | {"from": "x@y.example"})).body.splitlines():
        result = msgspec.json.decode(line, type=LineResult)
        assert (result.answer is None) != (result.problem is None)
    for status in {kind.status for kind in KINDS.values()} - {405}:  # no operation is asked by another method
        assert any(str(status) in operation["responses"] for _, _, operation in operations()), status


def test_a_problem_has_the_members_of_its_model() -> None:
    members = Problem("invalid", "why", (Fault("/a", "b"),), replies.DISK_LOW).members(5)
    assert set(members) == {field.name for field in msgspec.structs.fields(ProblemDocument)}


def test_the_model_of_a_message_refuses_what_it_does_not_know() -> None:
    assert DOCUMENT["components"]["schemas"]["MessageRequest"]["additionalProperties"] is False
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"from": "a@b.example", "tenant": "x"}', type=MessageRequest)
