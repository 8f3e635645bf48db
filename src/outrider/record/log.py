"""The server's log: `base.log.Log` on structlog, as JSON lines or as text for people.

A line says what happened (`event`, a constant), when (`ts`), how bad (`level`), who says it (bound fields)
and facts. Facts are not personal; in case one is, every text goes through the redaction point like those of
events.

Theory: a log in a file is rotated here (`log_file` says how); a `LogKeeper` is to be asked about each second.
structlog's processors run per line, so a filtered level costs about a microsecond; nothing is
configured globally, so two logs in one process (tests) do not know each other.

Standards: RFC 3339 §5.6 (times).
"""

import sys
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any, BinaryIO, Final, TextIO, cast

import msgspec
import structlog

from outrider.base.clock import Clock, format_utc
from outrider.base.errors import ConfigError
from outrider.base.log import Log
from outrider.record.log_file import LogFile
from outrider.record.options import RecordOptions
from outrider.record.redact import Redactor, TokenSource
from outrider.record.sinks import log_redactor

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
"""The levels by name; the numbers are those of Python's logging."""

_EventDict = MutableMapping[str, Any]
_DEPTH: Final = 4  # chosen: facts are flat; what is nested deeper is shown as its type


class Threshold:
    """The least level that is shown; one for all logs that are bound from one."""

    __slots__ = ("level",)

    def __init__(self, name: str) -> None:
        self.level = LEVELS[name]


class ServerLog:
    """A `base.log.Log` on a structlog logger; `make_log` and `open_log` build one."""

    __slots__ = ("_logger", "file", "threshold")

    def __init__(self, logger: Any, file: BinaryIO | LogFile, threshold: Threshold) -> None:
        self._logger = logger
        self.file = file
        self.threshold = threshold

    def debug(self, event: str, **fields: Any) -> None:
        if self.threshold.level <= LEVELS["debug"]:
            self._logger.debug(event, **fields)

    def info(self, event: str, **fields: Any) -> None:
        if self.threshold.level <= LEVELS["info"]:
            self._logger.info(event, **fields)

    def warning(self, event: str, **fields: Any) -> None:
        if self.threshold.level <= LEVELS["warning"]:
            self._logger.warning(event, **fields)

    def error(self, event: str, **fields: Any) -> None:
        self._logger.error(event, **fields)

    def bind(self, **fields: Any) -> "ServerLog":
        return ServerLog(self._logger.bind(**fields), self.file, self.threshold)

    def close(self) -> None:
        """Close the file, for whoever opened the log on one; every log bound from it ends too."""
        self.file.close()


def set_level(log: Log, name: str) -> None:
    """Show `name` and what is worse from now on, in every log of this process; another kind of log stays."""
    if isinstance(log, ServerLog):
        log.threshold.level = LEVELS[name]


def set_rotation(log: Log, options: RecordOptions) -> None:
    """Rotate by these sizes and times from now on; a log that is not in a file stays."""
    if isinstance(log, ServerLog) and isinstance(log.file, LogFile):
        log.file.rotation = options.log_rotation


class LogKeeper:
    """Looks after a log that is in a file, in one process; a log elsewhere needs nothing.

    Args:
        log: The log.
        is_owner: This process rotates it; one process of a server does.
    """

    __slots__ = ("_file", "_is_failing", "_is_owner", "_log")

    def __init__(self, log: Log, *, is_owner: bool = False) -> None:
        self._log = log
        self._is_owner = is_owner
        self._file = log.file if isinstance(log, ServerLog) and isinstance(log.file, LogFile) else None
        self._is_failing = False

    def tend(self) -> None:
        """Take up what became of the file, rotate it if it is due, and say what was missed."""
        if self._file is None:
            return
        try:
            if self._is_owner:
                if (closed := self._file.rotate()) is not None:
                    self._log.info("record.log_rotated", closed=str(closed))
            else:
                self._file.follow()
        except OSError as error:
            if not self._is_failing:
                self._is_failing = True
                self._log.error("record.log_stuck", error=str(error))
        else:
            self._is_failing = False
        if missed := self._file.missed:
            self._log.error("record.log_missed", lines=missed)
            self._file.missed = 0 if self._file.missed == missed else missed


def open_log(
    options: RecordOptions, clock: Clock, stream: TextIO | None = None, *, tokens: TokenSource | None = None
) -> ServerLog:
    """The log that `options` ask for, on `stream` (standard error) or on the file they name.

    Raises:
        ConfigError: The file cannot be opened.
    """
    redactor = log_redactor(options, tokens)
    if options.log_file:
        try:
            file = LogFile(Path(options.log_file), options.log_rotation, clock)
        except OSError as error:
            raise ConfigError(
                f"record.log_file: {options.log_file} cannot be opened: {error.strerror}; make its "
                "directory, or let this user write there"
            ) from error
        return make_log(options, clock, redactor, file, is_terminal=False)
    chosen = stream or sys.stderr
    return make_log(options, clock, redactor, chosen.buffer, is_terminal=chosen.isatty())


def make_log(
    options: RecordOptions,
    clock: Clock,
    redactor: Redactor,
    file: BinaryIO | LogFile,
    *,
    is_terminal: bool,
) -> ServerLog:
    """A log on a binary file."""
    is_text = options.log_format == "text" or (options.log_format == "auto" and is_terminal)

    def stamp(_logger: Any, _method: str, fields: _EventDict) -> _EventDict:
        fields["ts"] = format_utc(clock.wall())
        return fields

    def redact(_logger: Any, _method: str, fields: _EventDict) -> _EventDict:
        return {key: _shown(value, redactor, 0) for key, value in fields.items()}

    render: Callable[..., Any] = _render_text(colors=is_terminal) if is_text else _render_json
    logger = structlog.wrap_logger(
        structlog.BytesLogger(cast("BinaryIO", file)),  # of which it uses `write` and `flush`
        processors=[structlog.processors.add_log_level, stamp, redact, render],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS["debug"]),
        context_class=dict,
        cache_logger_on_first_use=True,
    )
    return ServerLog(logger, file, Threshold(options.log_level))


def _shown(value: Any, redactor: Redactor, depth: int) -> Any:
    if isinstance(value, str):
        return redactor.text(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, bytes):
        return redactor.text(value.decode("utf-8", "replace"))
    if depth < _DEPTH:
        if isinstance(value, dict):
            return {redactor.text(str(key)): _shown(each, redactor, depth + 1) for key, each in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [_shown(each, redactor, depth + 1) for each in value]
    return redactor.text(str(value)) if depth < _DEPTH else type(value).__name__


def _render_json(_logger: Any, _method: str, fields: _EventDict) -> bytes:
    first = {"ts": fields.pop("ts"), "level": fields.pop("level"), "event": fields.pop("event")}
    return msgspec.json.encode({**first, **fields})


def _render_text(*, colors: bool) -> Callable[..., bytes]:
    render = structlog.dev.ConsoleRenderer(colors=colors, timestamp_key="ts", sort_keys=False)

    def encode(logger: Any, method: str, fields: _EventDict) -> bytes:
        return render(logger, method, fields).encode("utf-8", "replace")

    return encode
