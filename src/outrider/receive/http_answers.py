"""Answers of HTTP injection that do not depend on a message: problems, health, explanations.

Standards: RFC 9457 §3 (problems), RFC 9110 §10.2.3 (Retry-After), RFC 6750 §3 (WWW-Authenticate).
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from outrider.receive.problems import KINDS, MEDIA_TYPE, Problem, challenge

JSON: Final = "application/json"

encode: Final = msgspec.json.Encoder().encode


def exception_handlers(retry_after_seconds: int) -> Mapping[Any, Any]:
    """Handlers for Starlette: whatever goes wrong is answered with a problem."""
    return {
        Problem: partial(_on_problem, retry_after_seconds),
        HTTPException: partial(_on_http_exception, retry_after_seconds),
        ClientDisconnect: _on_disconnect,
        Exception: partial(_on_failure, retry_after_seconds),
    }


async def healthy(request: Request) -> Response:  # noqa: ARG001 - Starlette's signature
    """200 while the process answers at all."""
    return Response(encode({"status": "ok"}), media_type=JSON)


async def explain(request: Request) -> Response:
    """What a kind of problem means; the place that `type` of a problem points to."""
    code = request.path_params["code"]
    kind = KINDS.get(code)
    if kind is None:
        raise Problem("not_found")
    return Response(encode({"code": code, **kind._asdict()}), media_type=JSON)


def _respond(problem: Problem, retry_after_seconds: int, headers: dict[str, str] | None = None) -> Response:
    headers = {**(headers or {}), **problem.fields}
    status = problem.kind.status
    after = problem.retry_after(retry_after_seconds)
    if after:
        headers["retry-after"] = str(after)
    elif status == 401 and not problem.fields:
        headers |= challenge()
    if status == 413:
        headers["connection"] = "close"  # the rest of the body, if any, is not worth reading
    return Response(problem.document(after), status, headers=headers, media_type=MEDIA_TYPE)


async def _on_problem(retry_after_seconds: int, request: Request, error: Exception) -> Response:  # noqa: ARG001
    assert isinstance(error, Problem)  # noqa: S101 - it is registered for nothing else
    return _respond(error, retry_after_seconds)


async def _on_http_exception(
    retry_after_seconds: int,
    request: Request,  # noqa: ARG001 - Starlette's signature
    error: Exception,
) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for nothing else
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_parameter")
    return _respond(Problem(code), retry_after_seconds, dict(error.headers or {}))


async def _on_disconnect(request: Request, error: Exception) -> Response:  # noqa: ARG001
    """The client has gone, and what it wanted with it: that is no failure of ours, and nobody hears this."""
    return Response(status_code=400)


async def _on_failure(retry_after_seconds: int, request: Request, error: Exception) -> Response:  # noqa: ARG001
    return _respond(Problem("internal"), retry_after_seconds)
