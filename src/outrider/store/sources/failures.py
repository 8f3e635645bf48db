"""How a data source fails.

Theory: whoever asks needs to know two things: whether it will pass (the source is down, or too slow: mail
is kept and the sender told 451), or whether the question itself is wrong and stays wrong until somebody
mends it.

Invariant: no message holds a parameter of a query or anything of a row; both are often personal. What a
server says is shown only where it speaks of the query's own text.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from outrider.base.errors import OutriderError, StoreError, UnavailableError

CONTEXT_KEY: Final = "datasource_error"
"""Key of the connection context that says which source failed, for scripts that look (momentum's name)."""


class SourceError(OutriderError):
    """A data source did not answer a question. `fields["source"]` names it.

    Attributes:
        was_unasked: The question was refused here, so nothing was learned of the source.
    """

    was_unasked = False


class SourceDownError(SourceError, UnavailableError):
    """The source cannot be reached, or was left alone for a while because it could not."""


class SourceTimeoutError(SourceDownError):
    """The source did not answer in time."""


class SourceQueryError(SourceError, StoreError):
    """The source refuses the query, or its answer cannot be used; asking again changes nothing."""


class SourceParameterError(SourceQueryError):
    """A parameter that this source cannot take, as a path of HTTP no `..`: nothing has it as its name."""


@contextmanager
def before_asking() -> Iterator[None]:
    """Around what is done with a question before the source hears of it."""
    try:
        yield
    except SourceQueryError as error:
        error.was_unasked = True
        raise


def named(error: SourceError, source: str) -> SourceError:
    """A fresh copy of `error` that says which source it was; each asker raises one of their own."""
    copy = type(error)(f"data source {source}: {error.message}", **{**error.fields, "source": source})
    copy.__cause__ = error.__cause__
    return copy
