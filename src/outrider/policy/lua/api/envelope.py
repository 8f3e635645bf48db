"""`msg`: envelope, routing, identity, notes, and what becomes of the message.

In: a `msg`. Out: what it says, or another sender, recipient, binding.

Theory: what may be changed in which phase is `Mail`'s affair; here names and values are those of Momentum.
"""

from collections.abc import Callable
from typing import Any, Final

from outrider.model.flow import HTTP
from outrider.policy.errors import ForbiddenError
from outrider.policy.lua.api.constants import (
    ENV_COMPLETE,
    ENV_FROM,
    ENV_TO,
    P_ESMTP,
    P_HTTP,
)
from outrider.policy.lua.api.contexts import Validations, note_name, notes_of, put_note, reply_of_script
from outrider.policy.lua.api.core import put, string_of
from outrider.policy.lua.api.host import text_of, whole_of
from outrider.policy.lua.convert import kind_of
from outrider.policy.lua.messages import Msg, mail_behind

DISCARDED: Final = "550 5.7.0 discarded by policy"
"""The reason of `msg:discard()`."""

_INTERNAL: Final = "550 5.7.1 [internal] discarded by policy"
# the reason where the one that was given does not begin with a code
_FLAGS: Final = frozenset({"ip", "port", "all"})


def path_of(value: Any) -> str:
    """An address as scripts write it, with or without angle brackets. Raises ValueError."""
    return text_of(value, "an address").strip().removeprefix("<").removesuffix(">")


def lua_mailfrom(msg: Msg, address: Any = None) -> str:
    """The reverse-path, or a new one."""
    if address is None and msg.mail is None and msg.conversation is not None:
        return msg.conversation.connection.mail_from
    mail = mail_behind(msg)
    if address is not None:
        mail.mail_from = path_of(address)
    return mail.mail_from


def lua_rcptto(msg: Msg, address: Any = None) -> str:
    """The recipient, or a new one."""
    if msg.mail is None and msg.conversation is not None:
        if address is not None:
            raise ForbiddenError(f"the recipient changes in each_rcpt only, not in {msg.phase}")
        return msg.conversation.connection.rcpt_to
    mail = mail_behind(msg)
    if address is not None:
        mail.rcpt_to = path_of(address)
    return mail.rcpt_to


def get_envelope2(msg: Msg, flags: Any, localpart: Any, domain: Any = None) -> None:
    """Fill two `ec_string`s with an address."""
    wanted = whole_of(flags, "flags")
    which = wanted & (ENV_FROM | ENV_TO)
    if which not in (ENV_FROM, ENV_TO) or wanted & ~(ENV_FROM | ENV_TO | ENV_COMPLETE):
        raise ValueError("the flags name EC_MSG_ENV_FROM or EC_MSG_ENV_TO, and perhaps EC_MSG_ENV_COMPLETE")
    address = lua_mailfrom(msg) if which == ENV_FROM else lua_rcptto(msg)
    local, _, rest = address.rpartition("@")
    if wanted & ENV_COMPLETE:
        put(string_of(localpart, "localpart"), address.encode())
        return
    put(string_of(localpart, "localpart"), local.encode())
    put(string_of(domain, "domain"), rest.encode())


def lua_binding(msg: Msg, name: Any = None) -> str | bytes | None:
    """The binding, or a new one; None where there is none of that name, and then nothing changes."""
    mail = msg.mail or mail_behind(msg)
    if name is None:
        return mail.binding or None
    wanted = name.decode("utf-8", "surrogateescape") if type(name) is bytes else text_of(name, "a binding")
    if not mail.try_binding(wanted):
        return None
    return name if type(name) is bytes else wanted


def lua_binding_group(msg: Msg, name: Any = None) -> str | None:
    """The group, or a new one; None where there is none of that name."""
    mail = mail_behind(msg)
    if name is not None:
        try:
            mail.binding_group = text_of(name, "a group")
        except LookupError:
            return None
    return mail.binding_group or None


def routing_domain(msg: Msg, domain: Any = None) -> str:
    """The routing domain, or a new one, in lower case."""
    if msg.mail is None and msg.conversation is not None:
        if domain is not None:
            raise ForbiddenError(f"routing changes in each_rcpt only, not in {msg.phase}")
        return msg.conversation.connection.rcpt_to.rpartition("@")[2].lower()
    mail = mail_behind(msg)
    if domain is not None:
        mail.routing_domain = text_of(domain, "a domain").strip().lower()
    return mail.routing_domain.lower()


def _endpoint(address: str, port: int, flag: Any) -> str:
    wanted = "all" if flag is None else text_of(flag, "a flag")
    if wanted not in _FLAGS:
        raise ValueError(f"a flag is one of {', '.join(sorted(_FLAGS))}")
    if wanted == "port":
        return str(port)
    if wanted == "ip":
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def reception_peer(msg: Msg, flag: Any = None) -> str:
    """The injecting address."""
    connection = mail_behind(msg).connection
    return _endpoint(connection.client, connection.client_port, flag)


def listener_addr(msg: Msg, flag: Any = None) -> str:
    """The address that it came to."""
    connection = mail_behind(msg).connection
    return _endpoint(connection.listener_address, connection.listener_port, flag)


def lua_code(msg: Msg, number: Any = None, text: Any = None) -> str:
    """The reply of this hook, or another one."""
    conversation = msg.conversation
    if conversation is None:
        raise ValueError("a message that a script makes gets no reply")
    if number is not None:
        code, words = number, text
        if number == 0:
            words = text_of(text, "a text")
            code = words[:3].encode()
        conversation.vctx.code = reply_of_script(code, words)
    found = conversation.vctx.code
    return "" if found is None else f"{found[0]} {found[1]}"


def discard(msg: Msg, reason: Any = None) -> None:
    """Accept the message and never send it."""
    words = DISCARDED if reason is None else text_of(reason, "a reason")
    if not (words[:3].isdigit() and words[0] in "245" and words[3:4] in (" ", "")):
        words = _INTERNAL
    mail_behind(msg).discard(words)


def context_get(msg: Msg, kind: Any, key: Any) -> str:
    """A note; empty where there is none."""
    return look(msg, kind, key) or ""


def look(msg: Msg, kind: Any, key: Any) -> str | None:
    """A note, or what is predefined for it; None where there is none."""
    if msg.conversation is None:
        return notes_of(kind, msg.notes, msg.notes).get(note_name(key))
    return Validations.look(msg.conversation.vctx, kind, key)


def context_set(msg: Msg, kind: Any, key: Any, value: Any) -> None:
    """Set a note; it is kept as text."""
    if msg.conversation is None:
        raise ValueError("a message that a script makes has no notes")
    put_note(notes_of(kind, msg.notes, msg.conversation.connection.context), key, value)


def context_exists(msg: Msg, kind: Any, key: Any) -> int:
    """1 where there is a note."""
    return 0 if look(msg, kind, key) is None else 1


def context_exists_and_get(msg: Msg, kind: Any, key: Any) -> tuple[int, str | None]:
    """1 and a note, or 0 and nil."""
    found = look(msg, kind, key)
    return (0, None) if found is None else (1, found)


def context_delete(msg: Msg, kind: Any, key: Any) -> int:
    """1 where there was a note."""
    if msg.conversation is None:
        return 0
    notes = notes_of(kind, msg.notes, msg.conversation.connection.context)
    return 0 if notes.pop(note_name(key), None) is None else 1


def _keys(msg: Msg, kind: Any) -> list[str]:
    if msg.conversation is None:
        return []
    return list(notes_of(kind, msg.notes, msg.conversation.connection.context))


def first_key(msg: Msg, kind: Any) -> str | None:
    """The name of the first note."""
    keys = _keys(msg, kind)
    return keys[0] if keys else None


def next_key(msg: Msg, kind: Any, key: Any) -> str | None:
    """The name of the note behind another; None at the end."""
    keys = _keys(msg, kind)
    name = note_name(key)
    if name not in keys[:-1]:
        return None
    return keys[keys.index(name) + 1]


METHODS: Final[dict[str, Callable[..., Any]]] = {
    "mailfrom": lua_mailfrom,
    "rcptto": lua_rcptto,
    "get_envelope2": get_envelope2,
    "binding": lua_binding,
    "binding_group": lua_binding_group,
    "routing_domain": routing_domain,
    "get_delivery_method": lambda _msg: "smtp",
    "get_message_size": lambda msg: mail_behind(msg).size,
    "is_mcmt": lambda _msg: 0,
    "listener_addr": listener_addr,
    "reception_peer": reception_peer,
    "code": lua_code,
    "discard": discard,
    "context_get": context_get,
    "context_set": context_set,
    "context_exists": context_exists,
    "context_exists_and_get": context_exists_and_get,
    "context_delete": context_delete,
}

CORE_FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "ec_message_context_get": context_get,
    "ec_message_context_set": context_set,
    "ec_message_context_exists": context_exists,
    "ec_message_context_exists_and_get": context_exists_and_get,
    "ec_message_context_delete": context_delete,
    "ec_message_context_firstkey": first_key,
    "ec_message_context_nextkey": next_key,
}
"""The same with the message as first value, in `msys.core`."""


def _protocol(msg: Msg) -> int:
    mail = mail_behind(msg)
    return P_HTTP if mail.connection.origin.protocol == HTTP else P_ESMTP


def _prioritize(msg: Msg, priority: Any) -> None:
    mail_behind(msg).priority = whole_of(priority, "a priority")


def _no_takeover(_msg: Msg, _value: Any) -> None:
    raise ValueError("no hook takes over a delivery here")


GETTERS: Final[dict[str, Callable[..., Any]]] = {
    "id": lambda msg: mail_behind(msg).id,
    "batch_id": lambda msg: mail_behind(msg).id,
    "conn_id": lambda msg: mail_behind(msg).id,
    "priority": lambda msg: mail_behind(msg).priority,
    "recv_method": _protocol,
}
SETTERS: Final[dict[str, Callable[..., Any]]] = {"priority": _prioritize, "delivered": _no_takeover}


def check_message(value: Any) -> Msg:
    """A script's `msg`. Raises ValueError."""
    if not isinstance(value, Msg):
        raise ValueError(f"a message was expected, not {kind_of(value)}")  # noqa: TRY004 - scripts hear it
    return value
