r"""Placeholders: `{{name}}` in a text stands for a variable, and nothing else does anything.

In: texts and variables from anybody. Out: a draft with the variables put in, or a `Problem` that names the
place or the variable at fault.

Theory: a text is taken apart once, into literal pieces and names; for each recipient the pieces are joined.
What is put in is never looked at again, so a variable cannot bring a placeholder with it. There are no
conditions, loops or filters: an application that needs them makes the message itself. In html, a
value is escaped for text and for quoted attributes. `\{{` is a literal `{{`.

Invariant: without a fault the result holds every literal character and every value in its place, exactly (in
html escaped); a text that gets too long is given up before it is made.
"""

import html
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from outrider.receive.problems import Fault, Problem
from outrider.wire.headers import FieldError
from outrider.wire.mime import Draft, Mailbox

PLACEHOLDERS_MAX: Final = 1_000
"""Chosen: of one text; a message with more is made by a program."""

_TOKEN: Final = re.compile(r"\\\{\{|\{\{ *([A-Za-z_][A-Za-z0-9_.-]{0,63}) *\}\}|\{\{", re.ASCII)


class MissingVariableError(Exception):
    """A placeholder has no value; the argument is its name."""


class _Text(NamedTuple):
    """Literals and names in turn, beginning and ending with a literal."""

    literals: tuple[str, ...]
    names: tuple[str, ...]
    is_html: bool

    def render(self, variables: Mapping[str, str], limit: int) -> str:
        """The text with its variables, of at most `limit` characters."""
        if not self.names:
            return self.literals[0]
        pieces = [self.literals[0]]
        size = 0
        for name, literal in zip(self.names, self.literals[1:], strict=True):
            value = variables.get(name)
            if value is None:
                raise MissingVariableError(name)
            size += len(value) + len(literal)
            if size > limit:
                raise Problem("too_big", f"With its variables a message is over {limit} octets.")
            pieces.append(html.escape(value, quote=True) if self.is_html else value)
            pieces.append(literal)
        return "".join(pieces)


def parse_text(text: str, pointer: str, *, is_html: bool = False) -> _Text:
    """The text taken apart.

    Raises:
        Problem: It holds `{{` that begins no placeholder.
    """
    literals: list[str] = []
    names: list[str] = []
    literal = ""
    position = 0
    while (match := _next_token(text, position)) is not None:
        literal += text[position : match.start()]
        position = match.end()
        name = match.group(1)
        if name is not None:
            literals.append(literal)
            names.append(name)
            literal = ""
            if len(names) > PLACEHOLDERS_MAX:
                raise Problem("invalid", errors=(Fault(pointer, "has too many placeholders"),))
        elif match.group() == "{{":
            what = f"character {match.start()}: {{{{ begins no placeholder; write \\{{{{ for the text {{{{"
            raise Problem("invalid", errors=(Fault(pointer, what),))
        else:
            literal += "{{"
    literals.append(literal + text[position:])
    return _Text(tuple(literals), tuple(names), is_html)


def _next_token(text: str, position: int) -> "re.Match[str] | None":
    """The next placeholder or what looks like one; looking for its braces is quick in a long text."""
    at = text.find("{{", position)
    if at < 0:
        return None
    return _TOKEN.match(text, at - 1 if at > position and text[at - 1] == "\\" else at)


class Template:
    """The texts of a draft, taken apart.

    Args:
        draft: With placeholders.
        limit: Most characters of one text with its variables.

    Raises:
        Problem: One of them holds `{{` that begins no placeholder.
    """

    def __init__(self, draft: Draft, limit: int) -> None:
        self._draft = draft
        self._limit = limit
        self._subject = None if draft.subject is None else parse_text(draft.subject, "/subject")
        self._text = None if draft.text is None else parse_text(draft.text, "/text")
        self._html = None if draft.html is None else parse_text(draft.html, "/html", is_html=True)
        self._headers = tuple(
            (name, parse_text(text, "/headers/" + name.replace("~", "~0").replace("/", "~1")))
            for name, text in draft.headers
        )

    def render(self, variables: Mapping[str, str], to: tuple[Mailbox, ...] | None = None) -> Draft:
        """The draft with its variables, and with `to` where that is given.

        Raises:
            MissingVariableError: One is not there.
            Problem: A text gets too long.
        """
        draft, limit = self._draft, self._limit
        return Draft(
            draft.author,
            draft.to if to is None else to,
            draft.cc,
            draft.reply_to,
            None if self._subject is None else self._subject.render(variables, limit),
            None if self._text is None else self._text.render(variables, limit),
            None if self._html is None else self._html.render(variables, limit),
            tuple([(name, text.render(variables, limit)) for name, text in self._headers]),
            draft.parts,
        )


def personal_fault(error: FieldError, number: int) -> Fault:
    """A fault of the message for recipient `number`: its name, or what the variables made of a text."""
    if error.field == "to/0/name":
        return Fault(f"/recipients/{number}/name", error.reason)
    return Fault(f"/recipients/{number}/variables", f"with them {error.field} {error.reason}")
