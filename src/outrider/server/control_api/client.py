"""The other end of the control API, for commands: one request after the other over its Unix socket.

In: a path of the API with parameters. Out: decoded JSON, or an error of the house that says what to do.

Not here: anything of FastAPI, which would cost each command a tenth of a second.
"""

import contextlib
import http.client
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote, urlencode

import msgspec

from outrider.base.errors import OutriderError, PermissionDeniedError, UnavailableError
from outrider.server.requests import HANGS, RefusedError

ANSWER_SECONDS: Final = 90.0
# chosen: longer than control waits for a sign of the dispatcher, whose failure says more
CHANGE_SECONDS: Final = 86_400.0
# chosen: a purge of a million entries or a backup takes minutes; who hangs is ended by the supervisor, which
# breaks the connection, so this is only for a whole server that stands still
SOCKET: Final = "control.sock"
PAGE: Final = 1_000
# control_api.models.ITEMS_MAX: the server gives no more at once


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def wait_at_most(self, seconds: float) -> None:
        """How long to wait for the next answer."""
        self.timeout = seconds
        if self.sock is not None:
            self.sock.settimeout(seconds)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class ControlClient:
    """A connection to a running server; made when it is first needed.

    Args:
        sockets: The server's run directory.
    """

    def __init__(self, sockets: Path) -> None:
        self._path = sockets / SOCKET
        self._connection: _Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def get(self, path: str, /, **query: Any) -> Any:
        """Ask for something; None among `query` is not sent, a list is repeated."""
        return self._asked("GET", path, query, None)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Have something done."""
        return self._asked("POST", path, {}, body)

    def patch(self, path: str, body: Mapping[str, Any]) -> Any:
        """Have something changed."""
        return self._asked("PATCH", path, {}, body)

    def delete(self, path: str, /, **query: Any) -> Any:
        """Have something removed."""
        return self._asked("DELETE", path, query, None)

    def pages(self, path: str, limit: int, /, **query: Any) -> Iterator[Any]:
        """The items of a list that is answered in pages, at most `limit`."""
        cursor = None
        while limit > 0:
            page = self.get(path, **query, limit=min(limit, PAGE), cursor=cursor)
            yield from page["items"]
            limit -= len(page["items"])
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def _asked(self, method: str, path: str, query: Mapping[str, Any], body: Mapping[str, Any] | None) -> Any:
        given = {name: _text(value) for name, value in query.items() if value is not None}
        target = f"{path}?{urlencode(given, doseq=True)}" if given else path
        octets = None if body is None else msgspec.json.encode(body)
        status, answer = self._exchange(method, target, octets)
        if status == http.HTTPStatus.NO_CONTENT:
            return None
        try:
            decoded = msgspec.json.decode(answer)
        except msgspec.DecodeError as error:
            raise OutriderError(f"{self._path} answers {status} without JSON: is it Outrider?") from error
        if status < http.HTTPStatus.BAD_REQUEST:
            return decoded
        raise _error(status, decoded)

    def _exchange(self, method: str, target: str, body: bytes | None) -> tuple[int, bytes]:
        connection = self._connection or _Connection(self._path)
        connection.wait_at_most(ANSWER_SECONDS if method == "GET" else CHANGE_SECONDS)
        headers = {"content-type": "application/json"} if body is not None else {}
        try:
            with contextlib.suppress(BrokenPipeError):  # what it said before it closed is still there
                connection.request(method, target, body, headers)
            response = connection.getresponse()
            answer = response.status, response.read()
        except PermissionError as error:
            raise PermissionDeniedError(
                f"{self._path} may not be opened by this user: become root or the user of the server"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            self._connection = None
            if isinstance(error, FileNotFoundError | NotADirectoryError | ConnectionRefusedError):
                raise UnavailableError(f"nobody answers at {self._path}; is the server running?") from error
            raise UnavailableError(f"{self._path} gives no answer; {HANGS}") from error
        self._connection = connection
        return answer


def path_of(*parts: str | int) -> str:
    """A path of the API with these parts, escaped."""
    return "/v1/" + "/".join(quote(str(part), safe="") for part in parts)


def _text(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def _error(status: int, problem: Any) -> OutriderError:
    detail = str(problem.get("detail", problem)) if isinstance(problem, dict) else str(problem)
    match status:
        case 403:
            return PermissionDeniedError(detail)
        case 404:
            return RefusedError(detail, "absent")
        case 409:
            return RefusedError(detail, "conflict")
        case 503:
            return UnavailableError(detail)
        case 500:
            return OutriderError(detail)
        case _:
            return RefusedError(detail, "invalid")
