"""Decisions by a table alone: a `[[policy.lookup]]` as one of the scripts that are asked.

In: a message. Out: what the columns of the first row decide; a refusal where there is no row and the
configuration says so.

Theory: it is a `Script` like any other, so budgets, events, metrics, rehearsals and what a peer hears are
written once. A row that was found in one phase decides in the next too, unless the values have changed
meanwhile.

Invariant: what a row says is done or fails loudly; it is never half done and never passed over. No message
of a failure holds anything of the row.
"""

from collections.abc import Awaitable, Callable, Sequence
from inspect import isawaitable
from typing import Any, Final

from outrider.model.hooks import HookPhase
from outrider.policy.answers import Answer, Refuse
from outrider.policy.connection import Connection
from outrider.policy.errors import ScriptError
from outrider.policy.lookup_options import CONTINUE, LookupOptions
from outrider.policy.mail import Mail
from outrider.policy.question import Question, Values, question_of
from outrider.store.sources.options import DataSourceOptions
from outrider.store.sources.rows import Row, Rows

_BINDING: Final = "names no binding and no group of this configuration"
_GROUP: Final = "names no group of bindings of this configuration"
_PRIORITY: Final = "is neither 0 nor 1"
_DOMAIN: Final = "is no domain"


class Lookup:
    """`policy.script.Script` of one table.

    Args:
        options: What it decides.
        question: What it asks.
    """

    def __init__(self, options: LookupOptions, question: Question) -> None:
        self.name = options.name
        self.question = question
        self.refusal: Refuse | None = None
        if options.no_row != CONTINUE:
            code, _, text = options.no_row.partition(" ")
            self.refusal = Refuse(int(code), text)
        self._early = {"routing_domain": column} if (column := options.assign.routing_domain) else {}
        self._late = options.assign.late
        self._notes = options.notes
        phases = set()
        if self._early or self._notes or self.refusal is not None:
            phases.add(HookPhase.EACH_RCPT)
        if self._late:
            phases.add(HookPhase.SET_BINDING)
        self.phases = frozenset(phases)

    def open(self, connection: Connection) -> "LookupSession":  # noqa: ARG002 - the port's shape
        return LookupSession(self)

    def close(self) -> None:
        """Nothing is kept."""

    def decide(self, phase: HookPhase, mail: Mail, rows: Rows) -> Answer:
        """What rows say in a phase. Raises HookError."""
        if not rows:
            return self.refusal if phase is HookPhase.EACH_RCPT else None
        row = rows[0]
        if phase is HookPhase.EACH_RCPT:
            for note, column in self._notes.items():
                self._note(mail, note, column_of(row, column), column)
        for what, column in (self._early if phase is HookPhase.EACH_RCPT else self._late).items():
            text = column_of(row, column)
            if text:
                set_it, fault = _ASSIGN[what]
                try:
                    is_done = set_it(mail, text)
                except (LookupError, ValueError):
                    is_done = False
                if not is_done:
                    raise ScriptError(f"the column {column} {fault}")
        return None

    def _note(self, mail: Mail, name: str, text: str, column: str) -> None:
        try:
            mail.context[name] = text
        except ValueError as error:
            raise ScriptError(f"the column {column} is no note: {error}") from None


class LookupSession:
    """Its part of one session: the row of the message that is under way."""

    __slots__ = ("_lookup", "_mail", "_rows", "_values")

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._mail: Mail | None = None
        self._values: Values = ()
        self._rows: Rows = ()

    def call(self, phase: HookPhase, *arguments: Any) -> Answer | Awaitable[Answer]:
        mail: Mail = arguments[0]
        question = self._lookup.question
        values = question.values_of(mail)
        if self._mail is mail and self._values == values:
            rows: Rows | Awaitable[Rows] = self._rows
        else:
            rows = question.ask(values)
        if isawaitable(rows):
            return self._wait(phase, mail, values, rows)
        return self._decide(phase, mail, values, rows)

    async def _wait(self, phase: HookPhase, mail: Mail, values: Values, rows: Awaitable[Rows]) -> Answer:
        return self._decide(phase, mail, values, await rows)

    def _decide(self, phase: HookPhase, mail: Mail, values: Values, rows: Rows) -> Answer:
        if phase is HookPhase.EACH_RCPT:
            self._mail, self._values, self._rows = mail, values, rows
        else:
            self._mail, self._rows = None, ()
        return self._lookup.decide(phase, mail, rows)

    def close(self) -> None:
        self._mail, self._rows = None, ()


def column_of(row: Row, column: str) -> str:
    """A value of a row as a text; empty for NULL.

    Raises:
        ScriptError: There is no such column; says which there are.
    """
    try:
        value = row[column]
    except KeyError:
        raise ScriptError(f"the row has no column {column}; it has: {', '.join(row)}") from None
    if value is None:
        return ""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.strip()


def _set_group(mail: Mail, name: str) -> bool:
    mail.binding_group = name
    return True


def _set_priority(mail: Mail, text: str) -> bool:
    mail.priority = int(text)
    return True


def _set_routing_domain(mail: Mail, domain: str) -> bool:
    mail.routing_domain = domain
    return True


_ASSIGN: Final[dict[str, tuple[Callable[[Mail, str], bool], str]]] = {
    "binding": (Mail.try_binding, _BINDING),
    "binding_group": (_set_group, _GROUP),
    "priority": (_set_priority, _PRIORITY),
    "routing_domain": (_set_routing_domain, _DOMAIN),
}


def lookups_of(tables: Sequence[LookupOptions], sources: Sequence[DataSourceOptions]) -> list[Lookup]:
    """Those of a configuration, whose names were checked (`query_names`)."""
    return [Lookup(each, question_of(sources, each.source, each.query, each.parameters)) for each in tables]
