"""Problems of the control API: every answer that is not what was asked for has one form.

In: exceptions of the house, of FastAPI and of the validation. Out: `application/problem+json`.

Invariant: the text of an unexpected exception never leaves; it is in the server log.

Standards: RFC 9457 §3 (problem details), RFC 9110 §15 (status), RFC 6901 §3 (pointers).
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from outrider.base.errors import (
    ConfigError,
    KeyAbsentError,
    OutriderError,
    SpoolError,
    StoreError,
    UnavailableError,
)
from outrider.server.requests import RefusedError

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER: Final = {"retry-after": "2"}
# chosen: a process that died is back in a second or two
FAULTS_MAX: Final = 100
# chosen: who has more mends these first
_STATUS_OF_KIND: Final = {"absent": 404, "conflict": 409, "invalid": 422, "newer": 409}


class ReasonMissingError(OutriderError):
    """Somebody wants to stop or remove mail without saying why."""


class InvalidPartError(OutriderError):
    """A part of a request is wrong in itself.

    Args:
        pointer: Which (RFC 6901).
        message: What is wrong with it.
        faults: Each fault of it, where there are several; the first `FAULTS_MAX` are told.
    """

    def __init__(self, pointer: str, message: str, faults: Sequence[str] = ()) -> None:
        told = list(faults[:FAULTS_MAX]) or [message]
        super().__init__(f"{pointer}: {'; '.join(told)}")
        self.errors = [{"pointer": pointer, "detail": fault} for fault in told]


def problem(
    status: int,
    code: str,
    detail: str,
    errors: list[dict[str, str]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """One problem as a response."""
    body: dict[str, Any] = {
        "type": f"/v1/problems/{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
    }
    if errors:
        body["errors"] = errors
    return JSONResponse(body, status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


async def _of_house(_request: Request, error: Exception) -> JSONResponse:
    match error:
        case UnavailableError():
            return problem(503, "unavailable", error.message, headers=RETRY_AFTER)
        case RefusedError() | StoreError():
            return problem(_STATUS_OF_KIND[error.kind], error.kind, error.message)
        case ReasonMissingError():
            return problem(422, "no_reason", error.message)
        case InvalidPartError():
            return problem(422, "invalid", error.message, error.errors)
        case KeyAbsentError():
            return problem(404, "absent", error.message)
        case ConfigError():
            faults = [{"pointer": "", "detail": fault} for fault in error.faults]
            return problem(409, "bad_configuration", error.message, faults)
        case SpoolError():
            return problem(503, "spool", error.message, headers=RETRY_AFTER)
        case OutriderError():
            return problem(500, "failed", error.message)
        case _:
            raise error


async def _of_validation(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    faults = [
        {
            "pointer": "".join(f"/{part}" for part in each["loc"]),
            "detail": str(each["msg"]).removeprefix("Value error, "),
        }
        for each in error.errors()
    ]
    return problem(
        422, "invalid", "; ".join(f"{each['pointer']}: {each['detail']}" for each in faults), faults
    )


async def _of_http(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "refused")
    return problem(error.status_code, code, str(error.detail), headers=error.headers)


async def _of_anything(_request: Request, _error: Exception) -> JSONResponse:
    return problem(500, "internal", "The server failed; its log says where.")


def install(app: FastAPI) -> None:
    """Have the application answer with problems."""
    app.add_exception_handler(OutriderError, _of_house)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(Exception, _of_anything)
