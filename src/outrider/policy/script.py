"""What a script is to whoever asks it, in whichever language it is written."""

from collections.abc import Awaitable
from typing import Any, Final, Protocol, runtime_checkable

from outrider.model.hooks import HookPhase
from outrider.policy.answers import Answer
from outrider.policy.connection import Connection

NAME_PATTERN: Final = r"^[A-Za-z][A-Za-z0-9_-]*$"
NAME_CHARACTERS: Final = 63
"""Of the names of scripts and look-ups. Chosen: they stand in events, metrics and names of Python modules."""


class ScriptSession(Protocol):
    """A script's part of one session."""

    def call(self, phase: HookPhase, *arguments: Any) -> Answer | Awaitable[Answer]:
        """Ask the hook of a phase; `arguments` are those of its declaration.

        Raises:
            HookError: It failed, with its line; an awaitable raises it too.
        """
        ...

    def close(self) -> None:
        """The session is over."""
        ...


@runtime_checkable
class Placed(Protocol):
    """A `ScriptSession` that can say where one of its hooks is, and where it waited."""

    def line_of(self, phase: HookPhase) -> int:
        """Line in its own file where the hook of a phase begins; 0 where that is not known."""
        ...

    def waited_at(self, phase: HookPhase, error: BaseException) -> int:
        """Line in its own file, of a hook that waited when it was broken off; 0 where that is not known.

        Args:
            phase: Of the hook.
            error: What ended it, with its traceback.
        """
        ...


class Script(Protocol):
    """One script of the configuration, loaded."""

    @property
    def name(self) -> str:
        """Its name in the configuration."""
        ...

    @property
    def phases(self) -> frozenset[HookPhase]:
        """Those that it has a hook for."""
        ...

    def open(self, connection: Connection) -> ScriptSession:
        """For a session that begins."""
        ...

    def close(self) -> None:
        """It is opened no more; sessions that are open go on."""
        ...
