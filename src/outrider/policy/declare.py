"""Every hook once: what it is called in both languages, what it is given, and what may be done in it.

The manual's page, the stubs for editors and the checks of scripts are made from this.
"""

from dataclasses import dataclass
from typing import Final, Literal

from outrider.model.hooks import HookPhase


@dataclass(frozen=True)
class Argument:
    """What a hook is given.

    Attributes:
        name: In the signature.
        type: Of Python.
        meaning: One line.
    """

    name: str
    type: str
    meaning: str


@dataclass(frozen=True)
class Hook:
    """One hook.

    Attributes:
        phase: When.
        lua: Name of the function in a script written for Momentum.
        arguments: Of the function in Python, whose name is the phase's.
        lua_arguments: Of the function in Lua, behind the module itself.
        summary: When it is called, for the manual.
        may: What may be done in it, for the manual.
        can_refuse: Its answer may be a refusal.
        lua_also: Names of further functions in Lua that are asked directly behind it, called likewise.
        lua_returns: What the function in Lua gives: it must say who is asked next (`always`), may say so
            (`perhaps`), or is not heard (`never`).
    """

    phase: HookPhase
    lua: str
    arguments: tuple[Argument, ...]
    summary: str
    may: str
    can_refuse: bool = True
    lua_arguments: tuple[str, ...] = ("msg", "ac", "vctx")
    lua_also: tuple[str, ...] = ()
    lua_returns: Literal["always", "perhaps", "never"] = "always"


_CONNECTION: Final = Argument("connection", "Connection", "the client, and notes about it")
_MAIL: Final = Argument("mail", "Mail", "the message, and notes about it")
_LEAVING: Final = Argument("attempt", "Attempt", "the attempt that is about to begin, and its host")
_ENDED: Final = Argument("attempt", "Attempt", "the attempt and its reply, and notes about the message")

HOOKS: Final[dict[HookPhase, Hook]] = {
    hook.phase: hook
    for hook in (
        Hook(
            HookPhase.CONNECT,
            "validate_connect",
            (_CONNECTION,),
            "A client has connected; it has heard nothing yet.",
            "refuse the connection",
            lua_arguments=("ac", "vctx"),
        ),
        Hook(
            HookPhase.EHLO,
            "validate_ehlo",
            (_CONNECTION, Argument("name", "str", "what the client calls itself")),
            "The client said EHLO or HELO.",
            "refuse",
            lua_arguments=("str", "ac", "vctx"),
        ),
        Hook(
            HookPhase.AUTH,
            "core_validate_auth",
            (
                _CONNECTION,
                Argument("user", "str", "the login"),
                Argument("is_valid", "bool", "the password was right"),
            ),
            "The client's credentials were checked.",
            "refuse credentials that are right; wrong ones stay wrong",
            lua_arguments=("vctx", "auth_info", "auth_status"),
            lua_returns="never",
        ),
        Hook(
            HookPhase.MAILFROM,
            "validate_mailfrom",
            (_CONNECTION, Argument("sender", "str", "the reverse-path; empty for the null one")),
            "A transaction begins.",
            "refuse the sender",
            lua_arguments=("str", "ac", "vctx"),
        ),
        Hook(
            HookPhase.RCPTTO,
            "validate_rcptto",
            (_CONNECTION, Argument("recipient", "str", "the address")),
            "A recipient was named.",
            "refuse the recipient",
            lua_arguments=("msg", "str", "ac", "vctx"),
        ),
        Hook(
            HookPhase.RCPTTO_LIST,
            "validate_rcptto_list",
            (_CONNECTION, Argument("recipients", "tuple[str, ...]", "all that were accepted")),
            "All recipients are known; the content is to come.",
            "refuse the message before it is sent",
            lua_arguments=("list_node", "vctx"),
            lua_also=("validate_rcptto_list_final",),
        ),
        Hook(
            HookPhase.DATA,
            "validate_data",
            (_MAIL,),
            "The whole message is there.",
            "check, refuse, discard, change content, sender and the list of recipients",
        ),
        Hook(
            HookPhase.DATA_SPOOL,
            "validate_data_spool",
            (_MAIL,),
            "Before the message is split for its recipients.",
            "check, refuse, discard, change content, sender and the list of recipients",
        ),
        Hook(
            HookPhase.MSG_GEN,
            "msg_gen_data_spool",
            (_MAIL,),
            "A message came by HTTP.",
            "check, refuse, discard, change content, sender and the list of recipients",
            lua_arguments=("msg",),
            lua_returns="never",
        ),
        Hook(
            HookPhase.EACH_RCPT,
            "validate_data_spool_each_rcpt",
            (_MAIL,),
            "For each recipient its own message.",
            "check, refuse, discard, change content, sender, recipient, routing domain, time of the first "
            "attempt",
        ),
        Hook(
            HookPhase.SET_BINDING,
            "validate_set_binding",
            (_MAIL,),
            "How it goes out.",
            "assign binding and priority",
            can_refuse=False,
            lua_arguments=("msg",),
        ),
        Hook(
            HookPhase.FINAL_VALIDATION,
            "core_final_validation",
            (_MAIL,),
            "After the last change.",
            "ask for signatures and a seal",
            can_refuse=False,
            lua_returns="never",
        ),
        Hook(
            HookPhase.OUTBOUND,
            "outrider_outbound",
            (_MAIL, _LEAVING),
            "For each recipient before each attempt, when a connection is ready; what is changed holds for "
            "this attempt.",
            "change content for this recipient, hold back, refuse (a permanent reply ends the recipient, a "
            "transient one has it tried again), discard",
            lua_arguments=("msg", "attempt", "vctx"),
            lua_returns="perhaps",
        ),
        Hook(
            HookPhase.RESPONSE,
            "outrider_response",
            (_ENDED,),
            "For each recipient after each attempt: a host replied, or none could be reached.",
            "make a permanent failure transient or a transient one permanent, choose when it is tried again, "
            "note something in the event; a delivery is only read",
            can_refuse=False,
            lua_arguments=("attempt", "vctx"),
            lua_returns="perhaps",
        ),
        Hook(
            HookPhase.DISPOSAL,
            "outrider_disposal",
            (_ENDED,),
            "A recipient ends undelivered: it bounced, its time was over, or outbound discarded it.",
            "note something in the event; to route on to another channel raises as long as there is none",
            can_refuse=False,
            lua_arguments=("attempt", "vctx"),
            lua_returns="perhaps",
        ),
    )
}
