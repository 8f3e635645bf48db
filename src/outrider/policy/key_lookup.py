"""Signing keys from a table: `[[dkim]]` tables whose keys a query gives, asked as one of the scripts.

In: a message, after its last change. Out: requests for the signer, one for each row.

Theory: which tables count for a message is said by the signing table, as for keys of files; only the key
comes from a row. A key's text is kept by name (`SigningKeys`), so that what waits in the queue can be signed
as long as it waits.

Invariant: a row with a key signs or fails loudly. No message of a failure holds anything of the row.

Standards: RFC 6376 §3.5 (domain and selector).
"""

from collections.abc import Awaitable, Sequence
from inspect import isawaitable
from typing import Any, Final, Protocol

from outrider.base.errors import ConfigError, UnavailableError
from outrider.model.hooks import HookPhase
from outrider.policy.answers import Answer
from outrider.policy.asking import drive, needs_task
from outrider.policy.author import AuthorDomains
from outrider.policy.connection import Connection
from outrider.policy.errors import ScriptError, TooSlowError
from outrider.policy.lookup import column_of
from outrider.policy.mail import Mail
from outrider.policy.question import Question, question_of
from outrider.policy.surroundings import keep_key
from outrider.privacy.signing_options import DkimOptions
from outrider.privacy.signing_table import request_of
from outrider.store.sources.options import DataSourceOptions
from outrider.store.sources.rows import Row
from outrider.wire.dkim.request import is_domain

NAME: Final = "[[dkim]]"
"""Of the script in events; no script of a configuration can be called so."""


class Tables(Protocol):
    """Knows which tables count."""

    def options_for(self, domain: str, tenant: str) -> tuple[DkimOptions, ...]:
        """Those for an author's domain and a tenant."""
        ...


class KeyLookup:
    """`policy.script.Script` of all tables with a query.

    Args:
        tables: Says which count.
        asked: Those with a query, each with its question; the very objects that `tables` gives.
    """

    name = NAME
    phases = frozenset({HookPhase.FINAL_VALIDATION})

    def __init__(self, tables: Tables, asked: Sequence[tuple[DkimOptions, Question]]) -> None:
        self._tables = tables
        self._questions = {id(options): question for options, question in asked}
        self._kept = tuple(asked)  # so that no other table gets one of these ids
        self._authors = AuthorDomains()

    def open(self, connection: Connection) -> "KeyLookup":  # noqa: ARG002 - the port's shape
        return self

    def close(self) -> None:
        """Nothing is kept."""

    def call(self, phase: HookPhase, *arguments: Any) -> Answer | Awaitable[Answer]:  # noqa: ARG002 - one only
        mail: Mail = arguments[0]
        domain = self._authors.of(mail.content)
        if not is_domain(domain):
            return None
        tables = self._tables.options_for(domain, mail.connection.tenant)
        asked = [(each, self._questions[id(each)]) for each in tables if id(each) in self._questions]
        return drive(_sign(mail, domain, asked)) if asked else None


async def _sign(mail: Mail, domain: str, asked: Sequence[tuple[DkimOptions, Question]]) -> Answer:
    for options, question in asked:
        rows = question.ask(question.values_of(mail))
        if isawaitable(rows):
            await needs_task()
            rows = await rows
        for row in rows:
            await _sign_with(mail, domain, options, row)
    return None


def signature_of(options: DkimOptions, domain: str, row: Row) -> tuple[str, str, str] | None:
    """Signing domain, selector and text of the key that a row gives for an author's domain; None for no key.

    Raises:
        ScriptError: A column is not there.
    """
    text = column_of(row, options.key_column)
    if not text:
        return None  # as of an outer join: whose row it is has no key
    selector = options.selector or column_of(row, options.selector_column)
    signing_domain = options.signing_domain
    if not signing_domain and options.domain_column in row:
        signing_domain = column_of(row, options.domain_column)
    return signing_domain or domain, selector, text


async def _sign_with(mail: Mail, domain: str, options: DkimOptions, row: Row) -> None:
    found = signature_of(options, domain, row)
    if found is None:
        return
    signing_domain, selector, text = found
    try:
        key = keep_key(text)
        mail.sign(request_of(options, signing_domain, selector, key))
    except UnavailableError as error:
        raise TooSlowError(error.message) from error
    except ConfigError as error:
        raise ScriptError(error.message) from error
    except ValueError as error:
        raise ScriptError(str(error)) from error


def key_questions_of(
    tables: Sequence[DkimOptions], sources: Sequence[DataSourceOptions]
) -> list[tuple[DkimOptions, Question]]:
    """The tables with a query, each with its question; their names were checked (`query_names`)."""
    return [
        (each, question_of(sources, each.key_source, each.key_query, each.key_parameters))
        for each in tables
        if each.key_source
    ]
