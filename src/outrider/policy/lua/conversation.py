"""Lua's part of one session or request: what all scripts in Lua share while it lasts.

In: the hook that is asked next. Out: the objects that it is called with, and what it said of them.

Theory: there is one `vctx` and one `ac` for a session, and one `msg` for a message; a message that was split
for its recipients is as many. A `msg` is let go of when the next one comes, so a session of a thousand
messages holds what one needs. Its parts are let go of when a hook ends, because what the hook changed is read
anew.

Invariant: a script that keeps a `msg` beyond its message, or a part beyond its hook, gets an error, never
another message.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from outrider.model.hooks import HookPhase
from outrider.policy.connection import Connection
from outrider.policy.lua.messages import Accepted, Msg, Validation
from outrider.policy.lua.session import LuaSession
from outrider.policy.mail import Mail
from outrider.wire.message.tree import Part

_MAIL_PHASES: Final = frozenset(
    (
        HookPhase.DATA,
        HookPhase.DATA_SPOOL,
        HookPhase.MSG_GEN,
        HookPhase.EACH_RCPT,
        HookPhase.SET_BINDING,
        HookPhase.FINAL_VALIDATION,
        HookPhase.OUTBOUND,
    )
)
_BEFORE_MESSAGE: Final = frozenset((HookPhase.CONNECT, HookPhase.EHLO, HookPhase.AUTH, HookPhase.MAILFROM))
_AFTER_ATTEMPT: Final = frozenset((HookPhase.RESPONSE, HookPhase.DISPOSAL))
OBJECTS_MAX: Final = 1_000
"""Objects that a session may hold over a message's end, such as `ec_string`s; with more, all are let go of.
Chosen: far above what is kept on purpose."""

_OWN_OBJECTS: Final = 3
# msg, ac, vctx


class Conversation:
    """See the module.

    Args:
        connection: The client.
        session: Of the state.
        on_close: Called once it is closed, with how `validate_dealloc` failed.

    Attributes:
        phase: Of the hook under way.
        mail: The message that it is asked about, or None.
        pooled: Functions of `msys.runInPool` that it waits for, one within the other.
    """

    __slots__ = (
        "_on_close",
        "_users",
        "ac",
        "connection",
        "mail",
        "msg",
        "phase",
        "pooled",
        "session",
        "vctx",
    )

    def __init__(
        self,
        connection: Connection,
        session: LuaSession,
        on_close: Callable[[LuaSession, Sequence[BaseException]], None],
    ) -> None:
        self.connection = connection
        self.session = session
        self._on_close = on_close
        self._users = 0
        self.phase: HookPhase | None = None
        self.pooled = 0
        self.mail: Mail | None = None
        self.msg: Msg | None = None
        self.ac = Accepted(self)
        self.vctx = Validation(self)

    def join(self) -> None:
        """One script more has a part in it."""
        self._users += 1

    def leave(self) -> None:
        """One script less; with the last one it is closed."""
        self._users -= 1
        if not self._users:
            faults = self.session.close()
            self.mail = self.msg = None
            self._on_close(self.session, faults)

    def enter(self, phase: HookPhase, arguments: Sequence[Any]) -> tuple[Any, ...]:
        """A hook is about to be asked.

        Args:
            phase: Its.
            arguments: As in its declaration.

        Returns:
            What the function in Lua is called with.
        """
        self.phase = phase
        self.vctx.code = None
        if phase in _MAIL_PHASES:
            msg = self._about(arguments[0])
            if len(self.session.objects) > _OWN_OBJECTS:
                self._let_go(Part)
            if phase in (HookPhase.SET_BINDING, HookPhase.MSG_GEN):
                return (msg,)
            if phase is HookPhase.OUTBOUND:
                return (msg, arguments[1], self.vctx)
            return (msg, self.ac, self.vctx)
        if phase in _AFTER_ATTEMPT:
            return (arguments[0], self.vctx)
        if phase in _BEFORE_MESSAGE:
            self._release()
        match phase:
            case HookPhase.CONNECT:
                return (self.ac, self.vctx)
            case HookPhase.EHLO:
                self.vctx.helo = arguments[1]
                return (self.vctx.predefined("ehlo_string"), self.ac, self.vctx)
            case HookPhase.AUTH:
                _, user, is_valid = arguments
                self.vctx.auth = (user, "pass" if is_valid else "fail")
                return (self.vctx, {"auth_user": user}, self.vctx.auth[1])
            case HookPhase.MAILFROM:
                return (self.vctx.predefined("mailfrom_string"), self.ac, self.vctx)
            case HookPhase.RCPTTO:
                return (self._about(None), self.vctx.predefined("rcptto_string"), self.ac, self.vctx)
            case _:
                self.vctx.recipients = tuple(arguments[1])
                return (list(self.vctx.recipients), self.vctx)

    def _about(self, mail: Mail | None) -> Msg:
        msg = self.msg
        if msg is None or msg.mail is not mail:
            self._release()
            msg = self.msg = Msg(self, mail)
            self.mail = mail
        return msg

    def _release(self) -> None:
        """The message before is done with."""
        self.vctx.recipients = ()
        if self.msg is None:
            return
        session = self.session
        session.release(self.msg)
        if len(session.objects) >= _OWN_OBJECTS:  # besides ac and vctx
            self._let_go(Msg, Part)
        self.mail = self.msg = None
        if len(session.objects) > OBJECTS_MAX:
            own = (self.ac, self.vctx)
            for each in [each for each in session.objects.values() if each not in own]:
                session.release(each)

    def _let_go(self, *kinds: type) -> None:
        """Objects of these classes are the scripts' no longer."""
        session = self.session
        for each in [each for each in session.objects.values() if type(each) in kinds]:
            session.release(each)
