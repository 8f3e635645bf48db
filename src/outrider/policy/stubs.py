"""Typed stubs of the hooks and of what they are given, for editors.

In: the declarations of `declare.HOOKS`, and the public attributes of Connection, Context and Mail. Out: a
module of Python, or annotations for Lua in the form that the Lua language servers read (LuaCATS).

Theory: both are made of what runs, so an editor knows a name as soon as it works, and none that does not.
"""

import inspect
import re
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from outrider.model.hooks import HookPhase
from outrider.policy.answers import Go, Refuse
from outrider.policy.attempt import Attempt
from outrider.policy.connection import Connection, Context
from outrider.policy.declare import HOOKS
from outrider.policy.lua.api.constants import CORE, GLOBALS
from outrider.policy.lua.api.coverage import ANY, Row, Status
from outrider.policy.lua.api.packages import ROWS
from outrider.policy.lua.api.signatures import CLASSES, FIELDS, OVERLOADS, SIGNATURES, Signature
from outrider.policy.lua.hook_names import LIFE
from outrider.policy.mail import Mail

_CLASSES = (Context, Connection, Mail, Attempt)
_LUA_CLASSES = {"msg": "EcMessage", "ac": "Accept", "vctx": "ValidateContext", "msgpart": "MessagePart"}
# what scripts call them in the manuals
_LUA_TYPES = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "dict[str, str]": "table<string, string>",
}
_LUA_ARGUMENTS = {
    "msg": "EcMessage",
    "ac": "Accept",
    "vctx": "ValidateContext",
    "str": "string",
    "list_node": "string[]",
    "auth_info": "table<string, string>",
    "auth_status": "string",
    "attempt": "Attempt",
}
_ANYTHING = Signature((("...", "any"),), ("any ...",))
_LIFE_RETURNS = {"init": "boolean", "deinit": "boolean", "rsrc_setup": "boolean"}
_ASKERS = frozenset(
    {
        "enter",
        "settle",
        "split",
        "bind",
        "resume",
        "on",
        "after",
        "said",
        "shown",
        "ask_signatures",
        "ask_seal",
        "all_requests",
        "all_recipients",
        "watch",
        "has_own_body",
        "allow_eight_bits",
        "is_changed",
        "update",
        "is_claimed",
        "seed",
        "clear",
        "edited",
        "copy",
        "freeze",
        "shared",
        "public",
        "without_secrets",
    }
)
# what is for whoever asks the hooks
_MAPPING = [
    "    def __getitem__(self, name: str, /) -> str: ...",
    "    def __setitem__(self, name: str, value: object, /) -> None: ...",
    "    def __delitem__(self, name: str, /) -> None: ...",
    "    def __iter__(self) -> Iterator[str]: ...",
    "    def __len__(self) -> int: ...",
    "",
]
_NOTE = "Made by `outrider policy stubs`: what hooks are called with and may do. Not to be loaded."


def public_members(kind: type) -> list[tuple[str, Any]]:
    """What scripts may use of a class: properties and methods of its own, and of what it is made of."""
    ours = [each for each in reversed(kind.mro()) if each.__module__.startswith("outrider.")]
    members = {name: member for each in ours for name, member in vars(each).items()}
    return [
        (name, member)
        for name, member in members.items()
        if not name.startswith("_")
        and name not in _ASKERS
        and (isinstance(member, property) or inspect.isfunction(member))
    ]


def summary_of(member: Any) -> str:
    """The first sentence of what is said about a member."""
    text = inspect.getdoc(member.fget if isinstance(member, property) else member) or ""
    return " ".join(text.split("\n\n")[0].split())


def call_of(name: str, method: Callable[..., Any]) -> str:
    """How a script calls a method: `await check()`, `add_first(child)`, `get(name)`."""
    parameters = inspect.signature(method).parameters.values()
    shown = []
    for each in parameters:
        if each.name == "self":
            continue
        if each.kind is each.KEYWORD_ONLY and "*" not in shown:
            shown.append("*")
        shown.append(each.name if each.default is each.empty else f"{each.name}={each.default!r}")
    wait = "await " if inspect.iscoroutinefunction(method) else ""
    return f"{wait}{name}({', '.join(shown)})"


def type_of(member: property | Callable[..., Any]) -> str:
    """The type of a property, or of what a method returns, as in its source."""
    function = member.fget if isinstance(member, property) else member
    found = inspect.signature(function).return_annotation if function is not None else "None"
    return _name_of(found)


def python_stub() -> str:
    """The stub for Python: `.pyi` of what scripts import, and a Protocol of each hook."""
    lines: list[str] = []
    for kind in _CLASSES:
        base = "(MutableMapping[str, str])" if kind is Context else ""
        lines += [f"class {kind.__name__}{base}:", f'    """{summary_of(kind)}"""', ""]
        lines += _MAPPING if kind is Context else []
        for name, member in public_members(kind):
            lines += _python_member(name, member)
    for hook in HOOKS.values():
        name = "".join(part.capitalize() for part in hook.phase.split("_"))
        arguments = ", ".join(f"{argument.name}: {argument.type}" for argument in hook.arguments)
        lines += [
            f"class {name}Hook(Protocol):",
            f'    """`{hook.phase}`: {hook.summary} It may {hook.may}."""',
            "",
            f"    def __call__(self, {arguments}) -> Answer | Awaitable[Answer]: ...",
            "",
        ]
    head = [f'"""{_NOTE}"""', "", *_imports("\n".join(lines)), "", "Answer = Go | Refuse | None", ""]
    return "\n".join([*head, *lines])


def _imports(text: str) -> list[str]:
    """What the names in a text are imported from: where the classes that use them have them from."""
    used = set(re.findall(r"\b[A-Z][A-Za-z]+\b", re.sub(r'"""[^"]*"""', "", text))) | {"Go", "Refuse"}
    known: dict[str, Any] = {"Awaitable": Awaitable, "Protocol": Protocol, "Go": Go, "Refuse": Refuse}
    for kind in _CLASSES:
        known = {**vars(sys.modules[kind.__module__]), **known}
    found: dict[str, list[str]] = {}
    for name in sorted(used & known.keys()):
        place = getattr(known[name], "__module__", "")
        if known[name] not in _CLASSES:
            found.setdefault(place, []).append(name)
    return [f"from {place} import {', '.join(names)}" for place, names in sorted(found.items())]


def _python_member(name: str, member: Any) -> Iterator[str]:
    if not isinstance(member, property):
        begin = "async def" if inspect.iscoroutinefunction(member) else "def"
        signature = _signature_of(member)
        yield from (
            f"    {begin} {name}{signature}:",
            f'        """{summary_of(member)}"""',
            "        ...",
            "",
        )
        return
    kind = type_of(member)
    yield from (
        "    @property",
        f"    def {name}(self) -> {kind}:",
        f'        """{summary_of(member)}"""',
        "        ...",
        "",
    )
    if member.fset is not None:
        [_, value] = inspect.signature(member.fset).parameters.values()
        yield f"    @{name}.setter"
        yield from (f"    def {name}(self, {value.name}: {_name_of(value.annotation)}) -> None: ...", "")


def _signature_of(function: Callable[..., Any]) -> str:
    signature = inspect.signature(function)
    parts = []
    for each in signature.parameters.values():
        if each.kind is each.KEYWORD_ONLY and "*" not in parts:
            parts.append("*")
        if each.annotation is each.empty:
            parts.append(each.name)
        else:
            default = "" if each.default is each.empty else " = ..."
            parts.append(f"{each.name}: {_name_of(each.annotation)}{default}")
    return f"({', '.join(parts)}) -> {_name_of(signature.return_annotation)}"


def _name_of(annotation: Any) -> str:
    text = inspect.formatannotation(annotation) if not isinstance(annotation, str) else annotation
    return re.sub(r"\b(?:[a-z_]+\.)+(?=[A-Z])", "", text)


def _attempt_in_lua() -> Iterator[str]:
    """`attempt` of the way out, whose members are those of Python."""
    yield "--- One attempt on one recipient, in the hooks of the way out."
    yield "---@class Attempt"
    for name, member in public_members(Attempt):
        if name == "context":  # in Lua it is asked of `vctx`
            continue
        if isinstance(member, property):
            kind = _LUA_TYPES.get(type_of(member), "string")
        else:
            _, *parameters = inspect.signature(member).parameters.values()
            names = [each.name if each.default is each.empty else f"{each.name}?" for each in parameters]
            types = [_LUA_TYPES[_name_of(each.annotation)] for each in parameters]
            given = [f"{each}: {kind}" for each, kind in zip(names, types, strict=True)]
            kind = f"fun({', '.join(['self: Attempt', *given])})"
        yield f"---@field {name} {kind} {summary_of(member)}"
    yield ""


def lua_stub() -> str:
    """The stub for Lua, as LuaCATS annotations: hooks, what they are given, and all functions.

    What differs from Momentum's is said; what is not carried over is marked as deprecated and takes anything.
    """
    lines = [
        "---@meta",
        f"-- {_NOTE}",
        "",
        *_attempt_in_lua(),
        "--- A module that `msys.registerModule` takes: the hooks that it has are called.",
        "---@class PolicyModule",
    ]
    for hook in HOOKS.values():
        arguments = [f"{name}: {_LUA_ARGUMENTS[name]}" for name in hook.lua_arguments]
        returns = "integer" if hook.lua_returns == "always" else "integer?"
        signature = f"fun(self: PolicyModule, {', '.join(arguments)}): {returns}"
        lines += [
            f"---@field {name}? {signature} {hook.summary} It may {hook.may}."
            for name in (hook.lua, *hook.lua_also)
        ]
    lines += (f"---@field {name}? fun(self: PolicyModule): {_LIFE_RETURNS.get(name, 'any')}" for name in LIFE)
    lines += ["", *CLASSES.splitlines()]
    members: dict[str, list[Row]] = {}
    for row in ROWS.values():
        members.setdefault(_owner_of(row.name), []).append(row)
    for owner in sorted({*members, *_tables_above(members)}):
        lines += _lua_table(owner, members.get(owner, ()))
    lines += ["", *(f"---@type integer\n{constant} = nil" for constant in GLOBALS)]
    return "\n".join(lines) + "\n"


def _owner_of(name: str) -> str:
    return name.partition(":")[0] if ":" in name else name.rpartition(".")[0]


def _tables_above(owners: Iterable[str]) -> set[str]:
    """Tables that other tables are in."""
    parts = [owner.split(".") for owner in owners]
    return {".".join(each[:length]) for each in parts for length in range(1, len(each))}


def _lua_table(owner: str, rows: Sequence[Row]) -> Iterator[str]:
    """A class of objects, or a module's table, with its functions and fields."""
    kind = _LUA_CLASSES.get(owner)
    is_object = kind is not None or any(":" in row.name for row in rows)
    name = kind or (owner.capitalize() if is_object else owner)
    fields = [row for row in rows if kind is not None and "." in row.name]
    yield from ("", f"---@class {name}")
    for row in fields:
        yield f"---@field {row.name.rpartition('.')[2]} {FIELDS.get(row.name, 'any')} {_said_of(row)}"
    if owner == "msys.core":
        yield from (f"---@field {constant} integer" for constant in CORE)
    yield f"local {name} = {{}}" if is_object else f"{name} = {{}}"
    for row in rows:
        if row in fields:
            continue
        yield from ("", f"--- {_said_of(row)}")
        if row.status is Status.NOT_CARRIED_OVER:
            yield "---@deprecated"
        mark = ":" if ":" in row.name else "."
        signature = SIGNATURES.get(row.name, _ANYTHING)
        yield from (f"---@param {argument} {of_type}" for argument, of_type in signature.arguments)
        yield from (f"---@return {of_type}" for of_type in signature.returns)
        if row.name in OVERLOADS:
            yield f"---@overload {OVERLOADS[row.name]}"
        taken = ", ".join(argument.rstrip("?") for argument, _ in signature.arguments)
        yield f"function {name}{mark}{re.split('[:.]', row.name)[-1]}({taken}) end"


def _said_of(row: Row) -> str:
    """Where a function may be called, and what differs."""
    if row.phases == ANY:
        where = "anywhere"
    elif row.phases >= frozenset(HookPhase):
        where = "in any hook"
    else:
        where = f"in {', '.join(each for each in HookPhase if each in row.phases) or 'no hook'}"
    note = f": {row.note}" if row.note else ""
    return f"{row.status.value.capitalize()} {where}{note}."
