"""The application of the control API: routes, problems, bounds and its OpenAPI.

In: a `Hub`. Out: an ASGI application for `net.http`.

Invariant: a request body is at most `BODY_OCTETS` in memory; every answer is JSON of a model or a problem.

Standards: OpenAPI 3.1, RFC 9457 §3.
"""

from importlib.metadata import version
from typing import Any, Final

from fastapi import FastAPI

from outrider.server.control_api import (
    accounts,
    audit,
    backups,
    credentials,
    domains,
    keyring,
    messages,
    node,
    paths,
    policy,
    queue,
    signing,
)
from outrider.server.control_api.hub import Hub
from outrider.server.control_api.problems import MEDIA_TYPE, install, problem

BODY_OCTETS: Final = 1 << 20
# chosen: a filter with 1,000 ids is some 30 KiB
ROUTERS: Final = (
    node.router,
    queue.router,
    paths.router,
    messages.router,
    accounts.router,
    credentials.router,
    domains.router,
    keyring.router,
    signing.router,
    backups.router,
    policy.router,
    audit.router,
)


class _Bounded:
    """Refuses a request whose body is longer than `BODY_OCTETS`, before anything reads it whole."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        left = BODY_OCTETS
        refused = False

        async def counted() -> Any:
            nonlocal left, refused
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                refused = True
                return {"type": "http.disconnect"}
            return message

        started = False

        async def answered(message: Any) -> None:
            nonlocal started
            if not refused or started:
                started = True
                await send(message)

        await self._app(scope, counted, answered)
        if refused and not started:
            response = problem(413, "too_big", f"A request has at most {BODY_OCTETS} octets.")
            await response(scope, receive, send)


def routes() -> FastAPI:
    """The application without a server behind it, for its OpenAPI."""
    app = FastAPI(
        title="Outrider control API",
        version=version("outrider"),
        description=(
            "What operators and their programs ask of a running server, over the Unix socket `control.sock` "
            "in its run directory. Only root and the server's own user may connect. Every change is in the "
            "audit log with the user who asked. Errors are problems (RFC 9457)."
        ),
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        responses={"4XX": {"description": "A problem", "content": {MEDIA_TYPE: {}}}},
        redirect_slashes=False,
    )
    for router in ROUTERS:
        app.include_router(router)
    install(app)
    return app


def control_app(hub: Hub) -> Any:
    """The ASGI application of a running server."""
    app = routes()
    app.state.hub = hub
    return _Bounded(app)


def openapi() -> dict[str, Any]:
    """The description of the API, OpenAPI 3.1."""
    return routes().openapi()
