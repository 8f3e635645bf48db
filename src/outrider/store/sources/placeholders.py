"""Placeholders of SQL text, turned into those of the source's own protocol.

In: the text of a query and the dialect. Out: the text as the server prepares it, and for each of its
placeholders which parameter goes there. No parameter ever becomes part of the text.

Written are `?` (by position) in every dialect, `:name` and `$name` (by name) when parameters come by name,
and each dialect's own: `$1` in PostgreSQL, `%s` in MySQL, `?1` and `@name` in SQLite. Where PostgreSQL has
operators of that name, write `??`, or use `$1` throughout: then `?` is left alone.

Theory: what stands in strings, quoted names and comments is no placeholder, and the dialects differ in what
those are: backslashes (MySQL, E'…'), nested comments and dollar quotes (PostgreSQL), `#` (MySQL), `[name]`
(SQLite), and MySQL's `/*! … */`, which is a comment to others and code to it.

Invariant: one pass, in time linear in the text's length for all but unclosed dollar quotes; an unclosed
quote is an error.

Standards: none; the manuals of SQLite, PostgreSQL and MariaDB on their lexical structure.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from outrider.store.sources.failures import SourceQueryError
from outrider.store.sources.rows import Parameters, Value, parameter

TEXT_MAX: Final = 65_536
# chosen: no query that a person wrote is longer


class Dialect(StrEnum):
    """Whose lexical rules hold."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"
    MYSQL = "mysql"


class Compiled(NamedTuple):
    """A query as its server takes it.

    Attributes:
        text: With the server's own placeholders, `?` or `$1`.
        order: For each argument of the server, the position (from 0) or name of the parameter.
        needed: How many parameters must be given by position; 0 when they come by name.
    """

    text: str
    order: tuple[int | str, ...]
    needed: int


class _Token(NamedTuple):
    kind: str
    start: int
    end: int
    value: str


_SINGLE: Final = r"'(?:[^']++|'')*+'"
_SINGLE_ESCAPED: Final = r"'(?:[^'\\]++|\\.|'')*+'"
_DOUBLE: Final = r'"(?:[^"]++|"")*+"'
_DOUBLE_ESCAPED: Final = r'"(?:[^"\\]++|\\.|"")*+"'
_BACKTICK: Final = r"`(?:[^`]++|``)*+`"
_BRACKET: Final = r"\[[^\]]*+\]"
_LINE: Final = r"--[^\n]*+"
_LINE_MYSQL: Final = r"--(?=\s|\Z)[^\n]*+|\#[^\n]*+"
_DOLLAR: Final = r"(?<![\w$])(?P<tag>\$(?:[^\W\d]\w*)?\$).*?(?P=tag)"
_NAME: Final = r"(?<![:\w])(?P<name>[:$][^\W\d]\w*)"
_NAME_SQLITE: Final = r"(?<![:\w])(?P<name>[:$@][^\W\d]\w*)"


def _pattern(skipped: str, marks: str, quotes: str) -> re.Pattern[str]:
    return re.compile(f"(?P<skip>{skipped})|(?P<block>/\\*)|{marks}|(?P<open>{quotes})", re.DOTALL)


_PATTERNS: Final = {
    Dialect.SQLITE: _pattern(
        f"{_SINGLE}|{_DOUBLE}|{_BACKTICK}|{_BRACKET}|{_LINE}",
        rf"(?P<number>\?\d+)|(?P<mark>\?)|{_NAME_SQLITE}",
        "['\"`]",
    ),
    Dialect.POSTGRESQL: _pattern(
        rf"(?<!\w)[eE]{_SINGLE_ESCAPED}|{_SINGLE}|{_DOUBLE}|{_LINE}|{_DOLLAR}",
        rf"(?P<number>(?<![\w$])\$\d+)|(?P<double>\?\?)|(?P<mark>\?)|{_NAME}",
        "['\"]",
    ),
    Dialect.MYSQL: _pattern(
        f"{_SINGLE_ESCAPED}|{_DOUBLE_ESCAPED}|{_BACKTICK}|{_LINE_MYSQL}",
        rf"(?P<mark>\?)|(?P<format>%s(?!\w)|%%|%\([^\W\d]\w*\)s)|{_NAME}",
        "['\"`]",
    ),
}


def compile_query(text: str, dialect: Dialect, *, by_name: bool) -> Compiled:
    """The query as its server takes it.

    Args:
        text: As written.
        dialect: Whose rules hold.
        by_name: Parameters come by name.

    Raises:
        SourceQueryError: A quote or comment is not closed, or ways of writing placeholders are mixed.
    """
    if len(text) > TEXT_MAX:
        raise SourceQueryError(f"the query is longer than {TEXT_MAX} characters")
    tokens = _scan(text, dialect)
    found = {token.kind for token in tokens}
    if by_name:
        return _by_name(text, tokens, dialect, found)
    if "number" in found:
        if dialect is Dialect.SQLITE and "mark" in found:
            raise SourceQueryError("the query mixes ? and ?1; write one of them")
        return _numbered(text, tokens, dialect)
    formats = [token for token in tokens if token.kind == "format" and token.value == "%s"]
    if formats and "mark" in found:
        raise SourceQueryError("the query mixes ? and %s; write one of them")
    kind = "format" if formats else "mark"
    return _in_order(text, tokens, dialect, kind)


def _scan(text: str, dialect: Dialect) -> list[_Token]:
    pattern = _PATTERNS[dialect]
    tokens, place = [], 0
    while (found := pattern.search(text, place)) is not None:
        kind = found.lastgroup if found.lastgroup != "tag" else "skip"
        place = found.end()
        if kind == "block":
            place = _after_comment(text, found.start(), dialect)
        elif kind == "open":
            raise SourceQueryError(f"the quote at character {found.start() + 1} of the query is not closed")
        elif kind not in {"skip", None}:
            tokens.append(_Token(str(kind), found.start(), place, found.group()))
    return tokens


def _after_comment(text: str, start: int, dialect: Dialect) -> int:
    """Where the comment that begins at `start` ends; just after its mark where MySQL reads it as code."""
    if dialect is Dialect.MYSQL and text.startswith(("/*!", "/*M!"), start):
        return text.index("!", start) + 1
    depth, place = 1, start + 2
    while depth:
        end = text.find("*/", place)
        if end < 0:
            raise SourceQueryError(f"the comment at character {start + 1} of the query is not closed")
        inner = text.find("/*", place, end) if dialect is Dialect.POSTGRESQL else -1
        depth += 1 if inner >= 0 else -1
        place = (inner if inner >= 0 else end) + 2
    return place


def _rewrite(text: str, changes: list[tuple[_Token, str]]) -> str:
    parts, place = [], 0
    for token, new in changes:
        parts += [text[place : token.start], new]
        place = token.end
    return "".join([*parts, text[place:]])


def _in_order(text: str, tokens: list[_Token], dialect: Dialect, kind: str) -> Compiled:
    changes, count = [], 0
    for token in tokens:
        if token.kind == "double":
            changes.append((token, "?"))
        elif token.value == "%%" and kind == "format":
            changes.append((token, "%"))
        elif token.kind == kind and token.value in {"?", "%s"}:
            count += 1
            changes.append((token, f"${count}" if dialect is Dialect.POSTGRESQL else "?"))
    return Compiled(_rewrite(text, changes), tuple(range(count)), count)


def _numbered(text: str, tokens: list[_Token], dialect: Dialect) -> Compiled:
    numbers = [int(token.value[1:]) for token in tokens if token.kind == "number"]
    needed = max(numbers)
    if min(numbers) < 1 or needed > len(numbers) * 100:
        raise SourceQueryError("the query numbers its placeholders wrongly; count from 1")
    if dialect is Dialect.POSTGRESQL:
        return Compiled(text, tuple(range(needed)), needed)
    changes = [(token, "?") for token in tokens if token.kind == "number"]
    return Compiled(_rewrite(text, changes), tuple(number - 1 for number in numbers), needed)


def _by_name(text: str, tokens: list[_Token], dialect: Dialect, found: set[str]) -> Compiled:
    if "mark" in found and dialect is not Dialect.POSTGRESQL:
        raise SourceQueryError("the query has ? placeholders, but its parameters come by name; write :name")
    order: list[int | str] = []
    changes = []
    for token in tokens:
        name = token.value.strip(":$@") if token.kind == "name" else ""
        if token.kind == "format" and token.value.startswith("%("):
            name = token.value[2:-2]
        if not name:
            continue
        if dialect is not Dialect.POSTGRESQL:
            order.append(name)
            changes.append((token, "?"))
            continue
        if name not in order:
            order.append(name)
        changes.append((token, f"${order.index(name) + 1}"))
    return Compiled(_rewrite(text, changes), tuple(order), 0)


def arguments(order: tuple[int | str, ...], needed: int, parameters: Parameters) -> tuple[Value, ...]:
    """What goes into each placeholder; a name that is not given is NULL, as nil in a Lua table is absent.

    Args:
        order: As in `Compiled`.
        needed: As in `Compiled`.
        parameters: What the script gave.

    Raises:
        SourceQueryError: There are too many or too few parameters, or one that no source could take.
    """
    if isinstance(parameters, Mapping):
        return tuple(parameter(parameters.get(str(name)), str(name)) for name in order)
    if len(parameters) != needed:
        raise SourceQueryError(
            f"the query has {needed} placeholders, but {len(parameters)} parameters were given"
        )
    return tuple(parameter(parameters[int(place)], int(place) + 1) for place in order)
