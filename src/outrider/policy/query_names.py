"""What the configuration names where a query decides: a source, a query, and what of a message asks.

In: names. Out: a query with what fills each of its parameters, or a `ValueError` that says what there is.

Theory: all of it is checked when a configuration is read, before anything is loaded or connected. Only
columns are not: they are known by the answer.
"""

from collections.abc import Iterator, Mapping, Sequence

from outrider.policy.lookup_options import LookupOptions
from outrider.policy.value_names import check_parameters, parse_value
from outrider.privacy.signing_options import DkimOptions
from outrider.store.sources.options import DataSourceOptions


def find_query(
    sources: Sequence[DataSourceOptions], source: str, query: str, parameters: Mapping[str, str]
) -> tuple[str, tuple[str, ...]]:
    """The text of a query, and what of a message fills each of its parameters.

    Args:
        sources: Of the configuration.
        source: Name of one of them.
        query: Name of one of its queries.
        parameters: What of a message fills a parameter, by its name; one that is absent is called so itself.

    Raises:
        ValueError: There is no such source or query, or its parameters do not fit.
    """
    found = next((each for each in sources if each.name == source), None)
    if found is None:
        known = ", ".join(each.name for each in sources) or "none"
        raise ValueError(f"there is no data source {source!r}; configured: {known}")
    asked = next((each for each in found.query if each.name == query), None)
    if asked is None:
        known = ", ".join(each.name for each in found.query) or "none"
        raise ValueError(f"the data source {source} has no query {query!r}; it has: {known}")
    for name in parameters:
        if name not in asked.parameters:
            known = ", ".join(asked.parameters) or "none"
            raise ValueError(f"the query {query} has no parameter {name!r}; it has: {known}")
    check_parameters(dict(parameters))
    for name in asked.parameters:
        if name not in parameters:
            try:
                parse_value(name)
            except ValueError as error:
                raise ValueError(
                    f"the query {query} asks for {name}: say in parameters what of a message it is ({error})"
                ) from None
    return asked.text, tuple(parameters.get(name, name) for name in asked.parameters)


def check_names(
    lookups: Sequence[LookupOptions], dkim: Sequence[DkimOptions], sources: Sequence[DataSourceOptions]
) -> None:
    """Nothing, when every table names what there is.

    Raises:
        ValueError: One or more do not; says all of it.
    """
    faults = []
    for place, source, query, parameters in _named(lookups, dkim):
        try:
            find_query(sources, source, query, parameters)
        except ValueError as error:
            faults.append(f"{place}: {error}")
    if faults:
        raise ValueError("; ".join(faults))


def _named(
    lookups: Sequence[LookupOptions], dkim: Sequence[DkimOptions]
) -> Iterator[tuple[str, str, str, Mapping[str, str]]]:
    for lookup in lookups:
        yield f"policy.lookup.{lookup.name}", lookup.source, lookup.query, lookup.parameters
    for at, table in enumerate(dkim):
        if table.key_source:
            yield f"dkim.{at}", table.key_source, table.key_query, table.key_parameters
