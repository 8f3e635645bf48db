"""The port by which lower layers speak to the server log.

Only `record` knows structlog; it hands a `Log` to whoever needs one. An event name is a constant of words
joined by dots (`spool.segment_opened`); fields are facts, never personal data and never prose.
"""

from typing import Any, Protocol


class Log(Protocol):
    """A structured log: one method per level, an event name and fields."""

    def debug(self, event: str, **fields: Any) -> None: ...

    def info(self, event: str, **fields: Any) -> None: ...

    def warning(self, event: str, **fields: Any) -> None: ...

    def error(self, event: str, **fields: Any) -> None: ...

    def bind(self, **fields: Any) -> "Log":
        """A log that adds `fields` to everything it says."""
        ...


class NullLog:
    """A log that says nothing; for tests that do not look at it."""

    def debug(self, event: str, **fields: Any) -> None: ...

    def info(self, event: str, **fields: Any) -> None: ...

    def warning(self, event: str, **fields: Any) -> None: ...

    def error(self, event: str, **fields: Any) -> None: ...

    def bind(self, **fields: Any) -> "NullLog":  # noqa: ARG002 - same shape as Log
        return self


class ListLog:
    """A log that keeps what was said in `lines`, for tests that look at it."""

    def __init__(self, lines: list[tuple[str, str, dict[str, Any]]] | None = None, **bound: Any) -> None:
        self.lines = lines if lines is not None else []
        self._bound = bound

    def _say(self, level: str, event: str, fields: dict[str, Any]) -> None:
        self.lines.append((level, event, {**self._bound, **fields}))

    def debug(self, event: str, **fields: Any) -> None:
        self._say("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self._say("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._say("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._say("error", event, fields)

    def bind(self, **fields: Any) -> "ListLog":
        return ListLog(self.lines, **{**self._bound, **fields})
