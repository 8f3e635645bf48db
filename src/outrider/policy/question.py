"""A query that the configuration names, put with what a message has.

In: a message. Out: rows at once where they are remembered, else something to await.

Theory: text and parameters are those of the configuration with which the question was made, so a session
that began before a reload goes on asking what it asked.

Invariant: a message can bring no question to fail by what it says: a value that the source cannot take names
nothing, and finds no row.
"""

from collections.abc import Awaitable, Mapping, Sequence

from outrider.base.errors import UnavailableError
from outrider.policy.errors import HookError, ScriptError, TooSlowError
from outrider.policy.mail import Mail
from outrider.policy.query_names import find_query
from outrider.policy.surroundings import source
from outrider.policy.values import reader_of, value_of
from outrider.store.sources.failures import SourceError, SourceParameterError
from outrider.store.sources.options import DataSourceOptions
from outrider.store.sources.rows import Rows

Values = tuple[str | None, ...]
"""What a message has for each parameter."""


class Question:
    """See the module.

    Args:
        source: Name of the data source.
        text: Of the query.
        values: Names of what of a message fills its parameters, in order.

    Raises:
        ValueError: There is no such name.
    """

    __slots__ = ("_readers", "_source", "_text")

    def __init__(self, source: str, text: str, values: Sequence[str]) -> None:
        self._source = source
        self._text = text
        self._readers = tuple(map(reader_of, values))

    def values_of(self, mail: Mail) -> Values:
        """What a message asks with."""
        return tuple([value_of(reader, mail) for reader in self._readers])

    def ask(self, values: Values) -> Rows | Awaitable[Rows]:
        """The rows for what a message asks with.

        Raises:
            HookError: The source cannot be asked; an awaitable raises it too.
        """
        if values and not any(values):
            return ()
        try:
            rows = source(self._source).peek(self._text, values)
        except (SourceError, UnavailableError) as error:
            raise _failure(error) from error
        return rows if rows is not None else self._fetch(values)

    async def _fetch(self, values: Values) -> Rows:
        try:
            return await source(self._source).fetch(self._text, values)
        except SourceParameterError:
            return ()
        except (SourceError, UnavailableError) as error:
            raise _failure(error) from error


def _failure(error: SourceError | UnavailableError) -> HookError:
    kind = TooSlowError if isinstance(error, UnavailableError) else ScriptError
    return kind(error.message)


def question_of(
    sources: Sequence[DataSourceOptions], source: str, query: str, parameters: Mapping[str, str]
) -> Question:
    """The question that a configuration names.

    Raises:
        ValueError: As `find_query`.
    """
    return Question(source, *find_query(sources, source, query, parameters))
