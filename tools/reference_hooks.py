"""The page of hooks, made from their declarations and from what scripts are given.

In: `policy.declare.HOOKS`, and the public attributes of what hooks see. Out: lines of Markdown.
"""

import inspect
from collections.abc import Iterator

from outrider.policy.answers import LINES_MAX, TEXT_OCTETS
from outrider.policy.connection import NAME_CHARACTERS, NOTES_CHARACTERS, NOTES_MAX, Connection, Context
from outrider.policy.declare import HOOKS, Hook
from outrider.policy.mail import Mail
from outrider.policy.stubs import public_members, summary_of, type_of


def hook_lines() -> Iterator[str]:
    """The whole page without its title."""
    yield (
        "Policy is asked in these phases, in this order. A script in Python has a function named as the "
        "phase, plain or `async`; one in Lua has a function of the name that Momentum gives it, in the "
        "module that it registers. [How to decide with scripts](../how-to/decide-with-scripts.md) shows them "
        "at work, and [Policy](../explanation/policy.md) says what happens when one fails."
    )
    yield ""
    yield (
        "A hook gives nothing or `CONTINUE` (the next script is asked), `DONE` (the other scripts are not "
        f"asked in this phase), or `Refuse(code, text)`: 400 to 599, at most {LINES_MAX} lines of "
        f"{TEXT_OCTETS} octets, which may begin with an enhanced code of the same class; 421 ends the "
        "session."
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


def _hook(hook: Hook) -> Iterator[str]:
    arguments = ", ".join(argument.name for argument in hook.arguments)
    yield from ("", f"## {hook.phase}", "", hook.summary, "")
    yield f"- It may {hook.may}."
    if not hook.can_refuse:
        yield "- It refuses nothing: the message was taken in the phases before."
    yield f"- Python: `{hook.phase}({arguments})`"
    yield f"- Lua: `{hook.lua}({', '.join(hook.lua_arguments)})`"
    yield from ("", "| argument | type | what it is |", "| --- | --- | --- |")
    for argument in hook.arguments:
        yield f"| `{argument.name}` | `{argument.type.replace('|', chr(92) + '|')}` | {argument.meaning} |"


def _class(kind: type, text: str) -> Iterator[str]:
    yield from ("", f"## {kind.__name__}", "", text, "")
    yield from ("| name | type | what it is |", "| --- | --- | --- |")
    for name, member in public_members(kind):
        is_property = isinstance(member, property)
        shown = name if is_property else f"{name}({_arguments(member)})"
        yield f"| `{shown}` | `{type_of(member).replace('|', chr(92) + '|')}` | {summary_of(member)} |"


def _arguments(function: object) -> str:
    if not inspect.isfunction(function):
        raise TypeError("a method is wanted")
    return ", ".join(name for name in inspect.signature(function).parameters if name != "self")
