"""How a script fails. Whatever it was, the peer hears a transient reply and nothing is lost."""

from outrider.base.errors import PolicyError


class HookError(PolicyError):
    """A hook of a script failed.

    Args:
        reason: What happened, for the script's author.
        script: Its name in the configuration.
        line: Line in the script's own file; 0 where it is not known.
        phase: The phase that it was called in, or `load`.
    """

    def __init__(self, reason: str, *, script: str = "", line: int = 0, phase: str = "") -> None:
        where = f"{script}:{line}" if line else script
        text = ": ".join(part for part in (where, phase, reason) if part)
        super().__init__(text, script=script, line=line, phase=phase)
        self.reason = reason
        self.script = script
        self.line = line
        self.phase = phase

    def of(self, script: str, phase: str) -> "HookError":
        """The same, with its script and phase where it did not know them."""
        if self.script:
            return self
        return self._copy(self.reason, script, phase)

    def saying(self, reason: str) -> "HookError":
        """The same, for another reader."""
        return self._copy(reason, self.script, self.phase)

    def _copy(self, reason: str, script: str, phase: str) -> "HookError":
        copy = type(self)(reason, script=script, line=self.line, phase=self.phase or phase)
        copy.__cause__ = self.__cause__
        return copy


class ScriptError(HookError):
    """The script raised, gave what no hook may give, or cannot be loaded."""


class ForbiddenError(HookError):
    """The script did what may not be done in this phase."""


class BudgetError(HookError):
    """The script used more processor time, instructions or memory than it has."""


class TooSlowError(HookError):
    """The script waited longer than it may, or what it asked for cannot be had now."""
