"""What a script is to whoever asks it, in whichever language it is written."""

from collections.abc import Awaitable
from typing import Any, Protocol

from outrider.model.hooks import HookPhase
from outrider.policy.answers import Answer
from outrider.policy.connection import Connection


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
