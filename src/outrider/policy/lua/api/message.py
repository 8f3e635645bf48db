"""`msg` and `msgpart` as scripts see them: their methods, each where its row permits it.

What they do is in `envelope`, `content`, `parts` and `new_messages`. What a script made itself, and what is
no part of the message under way, is free of phases.
"""

from collections.abc import Callable, Mapping
from functools import partial, wraps
from typing import Any

from outrider.policy.lua.api import envelope
from outrider.policy.lua.api.content import Contents
from outrider.policy.lua.api.coverage import Row
from outrider.policy.lua.api.host import Host, guarded, install
from outrider.policy.lua.api.new_messages import NewMessages, new_message
from outrider.policy.lua.api.parts import Parts
from outrider.policy.lua.messages import Msg
from outrider.policy.lua.registry import LuaRegistry, ObjectClass
from outrider.wire.message.searchable import searchable
from outrider.wire.message.tree import Part


def _no_resource(_msg: Msg, _name: Any) -> None:
    raise ValueError("channel not available: messages have no named resources")


def _guarded(
    host: Host, row: Row, function: Callable[..., Any], is_free: Callable[[Any], bool]
) -> Callable[..., Any]:
    """`function`, refused where its row does not permit it, unless what it is called on is free of phases."""
    checked = guarded(host, row, function)
    if checked is function:
        return function

    @wraps(function)
    def called(target: Any, *values: Any) -> Any:
        return function(target, *values) if is_free(target) else checked(target, *values)

    return called


def _guarded_msg(host: Host, row: Row, function: Callable[..., Any]) -> Callable[..., Any]:
    """The same for a `msg`, which knows its hook: it is asked for each field that a script reads."""
    checked = guarded(host, row, function)
    if checked is function:
        return function
    phases = row.phases

    @wraps(function)
    def called(msg: Msg, *values: Any) -> Any:
        conversation = msg.conversation
        if conversation is None or conversation.phase in phases:
            return function(msg, *values)
        return checked(msg, *values)

    return called


def _head(phases: frozenset[str], msg: Msg) -> tuple[bytes, bytes] | None:
    """A message's header fields, where `msg:header` reads them and a search is all that it takes."""
    mail, conversation = msg.mail, msg.conversation
    if mail is None or conversation is None or conversation.phase not in phases:
        return None
    return searchable(mail.header_section)


def register(registry: LuaRegistry, host: Host, rows: Mapping[str, Row]) -> None:
    """Register `msg`, `msgpart` and the functions of `msys.core` that are about them."""
    parts = Parts(host)
    methods = envelope.METHODS | Contents(host).methods() | NewMessages(host).methods()
    methods["rsrc_get"] = _no_resource
    registry.register_class(
        Msg,
        ObjectClass(
            "msys.core:_ec_message",
            {name: _guarded_msg(host, rows[f"msg:{name}"], each) for name, each in methods.items()},
            getters={
                name: guarded(host, rows[f"msg.{name}"], each) for name, each in envelope.GETTERS.items()
            },
            setters={
                name: guarded(host, rows[f"msg.{name}"], each) for name, each in envelope.SETTERS.items()
            },
            head=partial(_head, rows["msg:header"].phases),
        ),
    )
    registry.register_class(
        Part,
        parts.describe(
            {
                name: _guarded(host, rows[f"msgpart:{name}"], each, parts.is_free)
                for name, each in parts.methods().items()
            }
        ),
    )

    def of_message(function: Any, msg: Any, *values: Any) -> Any:
        return function(envelope.check_message(msg), *values)

    functions = {name: partial(of_message, each) for name, each in envelope.CORE_FUNCTIONS.items()}
    install(registry, host, rows, "msys.core", {"ec_message_new": new_message, **functions})
    registry.register("msys.extended.message", {})
    registry.register("msys.extended.message_routing", {})
