"""Whether the text of a query can be one, by the kind of its source; asked before anything is connected."""

from outrider.store.sources.failures import SourceQueryError
from outrider.store.sources.http_template import compile_request
from outrider.store.sources.placeholders import Dialect, compile_query
from outrider.store.sources.redis_command import compile_command


def dialect_of(kind: str) -> Dialect:
    """Whose SQL a source of this kind speaks; a CSV file is read through SQLite."""
    return Dialect.SQLITE if kind == "csv" else Dialect(kind)


def check_query(kind: str, text: str, parameters: int, *, writable: bool) -> None:
    """Nothing, when a source of `kind` could take the query with so many parameters by position.

    Raises:
        SourceQueryError: What is wrong with it.
    """
    if kind == "redis":
        needed = compile_command(text, by_name=False, writable=writable).needed
    elif kind == "http":
        needed = compile_request(text, by_name=False).needed
    else:
        needed = compile_query(text, dialect_of(kind), by_name=False).needed
    if needed != parameters:
        raise SourceQueryError(f"it has {needed} placeholders, but {parameters} parameters")
