"""The page of hooks, made from their declarations and from what scripts are given.

In: `policy.declare.HOOKS`, and the public attributes of what hooks see. Out: lines of Markdown.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from outrider.policy import api
from outrider.policy.answers import LINES_MAX, TEXT_OCTETS
from outrider.policy.attempt import Attempt
from outrider.policy.connection import NAME_CHARACTERS, NOTES_CHARACTERS, NOTES_MAX, Connection, Context
from outrider.policy.declare import HOOKS, Hook
from outrider.policy.mail import Mail
from outrider.policy.series import Series
from outrider.policy.stubs import call_of, public_members, summary_of, type_of
from outrider.store.sources.source import Source
from outrider.wire.message.editable import EditableMessage
from outrider.wire.message.header import Header
from outrider.wire.message.tree import Part

_SOURCE = frozenset({"ask", "execute", "fetch", "name", "peek"})
# the rest of a data source is the server's
_RETURNS = {"always": "", "perhaps": "; it may return nothing", "never": "; what it returns says nothing"}


def hook_lines() -> Iterator[str]:
    """The whole page without its title."""
    yield (
        "Policy is asked in these phases, in this order. A script in Python has a function named as the "
        "phase, plain or `async`; one in Lua has a function of the name that Momentum gives it, in the "
        "module that it registers; on the way out, where Momentum has none, it begins with `outrider_`. "
        "[How to decide with scripts](../how-to/decide-with-scripts.md) shows them "
        "at work, and [Policy](../explanation/policy.md) says what happens when one fails."
    )
    yield ""
    yield (
        "A hook gives nothing or `CONTINUE` (the next script is asked), `DONE` (the other scripts are not "
        f"asked in this phase), or `Refuse(code, text)`: 400 to 599, at most {LINES_MAX} lines of "
        f"{TEXT_OCTETS} octets, which may begin with an enhanced code of the same class; 421 ends the "
        "session. A function in Lua returns `VALIDATE_CONT`, `VALIDATE_DONE` or, except in `set_binding`, "
        "`VALIDATE_AGAIN`, and refuses with `vctx:set_code`."
    )
    for hook in HOOKS.values():
        yield from _hook(hook)
    yield from _class(Connection, "What it is given is the client of a session or request.")
    yield from _class(
        Context,
        f"At most {NOTES_MAX:,} notes with names of {NAME_CHARACTERS} characters, "
        f"{NOTES_CHARACTERS:,} characters together. It is used like a `dict` of texts.",
    )
    yield from _class(Mail, "What it is given is a message; from `each_rcpt` on that of one recipient.")
    yield from _class(Attempt, "What it is given on the way out is one attempt on one recipient.")
    yield from _class(EditableMessage, "What `mail.message` is: the message, to be read and changed.")
    yield from _class(
        Header,
        "What `mail.message.header` is, and the `header` of each part. Values are texts, which are encoded "
        "as their fields ask; `bytes` stand in the message as they are. Places count from 0.",
    )
    yield from _class(Part, "What `mail.message.root` is, and what `mail.message.walk()` goes through.")
    yield from _functions()
    yield from _class(Series, f"`{call_of(Series.__name__, Series.__init__)}`: counts over all workers.")
    yield from _class(
        Source, "What `source(name)` gives; see [data sources](../how-to/data-sources.md).", _SOURCE
    )


def _hook(hook: Hook) -> Iterator[str]:
    arguments = ", ".join(argument.name for argument in hook.arguments)
    yield from ("", f"## {hook.phase}", "", hook.summary, "")
    yield f"- It may {hook.may}."
    if not hook.can_refuse:
        yield "- It refuses nothing: that was the phases' before it."
    yield f"- Python: `{hook.phase}({arguments})`"
    functions = [f"`{name}({', '.join(hook.lua_arguments)})`" for name in (hook.lua, *hook.lua_also)]
    yield f"- Lua: {', then '.join(functions)}{_RETURNS[hook.lua_returns]}"
    yield from ("", "| argument | type | what it is |", "| --- | --- | --- |")
    for argument in hook.arguments:
        yield f"| `{argument.name}` | `{argument.type.replace('|', chr(92) + '|')}` | {argument.meaning} |"


def _functions() -> Iterator[str]:
    """What scripts import besides classes."""
    yield from ("", "## What scripts import", "")
    yield "All of it is in `outrider.policy.api`, with the classes above and `SignRequest`."
    yield from ("", "| name | type | what it is |", "| --- | --- | --- |")
    for name in api.__all__:
        function = getattr(api, name)
        if inspect.isfunction(function):
            yield _row(call_of(name, function), function)


def _class(kind: type, text: str, names: frozenset[str] = frozenset()) -> Iterator[str]:
    yield from ("", f"## {kind.__name__}", "", text, "")
    yield from ("| name | type | what it is |", "| --- | --- | --- |")
    for name, member in public_members(kind):
        if not names or name in names:
            yield _row(name if isinstance(member, property) else call_of(name, member), member)


def _row(shown: str, member: property | Callable[..., Any]) -> str:
    return f"| `{shown}` | `{type_of(member).replace('|', chr(92) + '|')}` | {summary_of(member)} |"
