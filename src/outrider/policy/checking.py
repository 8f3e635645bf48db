"""The checks of one message for policy: made when somebody first asks for them, and then remembered.

In: a submission and who checks, where there is somebody. Out: the same `MailChecks` to whoever asks, in
whatever phase and for whichever of the recipients that the message was split for.
"""

from typing import Final, NamedTuple, Protocol

from outrider.base.errors import UnavailableError
from outrider.model.flow import Submission
from outrider.privacy.mail_checks import MailChecks


class Checker(Protocol):
    """Checks messages; what could not be looked up is a result."""

    @property
    def authserv_id(self) -> str:
        """Under which name results are written."""
        ...

    async def check(self, submission: Submission) -> MailChecks:
        """Check a message as it was received."""
        ...


class Checks(NamedTuple):
    """What the configuration says of checks.

    Attributes:
        checker: Who checks; None where nobody does.
        marked: Listeners whose messages get the results of their checks before scripts see them.
    """

    checker: Checker | None = None
    marked: frozenset[str] = frozenset()


NO_CHECKS: Final = Checks()


class Checking:
    """See the module.

    Args:
        submission: The message.
        checker: Who checks, or None.

    Attributes:
        found: What was found; None before.
    """

    __slots__ = ("_checker", "_submission", "found")

    def __init__(self, submission: Submission, checker: Checker | None) -> None:
        self._submission = submission
        self._checker = checker
        self.found: MailChecks | None = None

    @property
    def authserv_id(self) -> str:
        """Under which name results are written. Raises UnavailableError."""
        return self._known().authserv_id

    async def check(self) -> MailChecks:
        """What is found; looked for only once.

        Raises:
            UnavailableError: Nobody checks in this process.
        """
        if self.found is None:
            self.found = await self._known().check(self._submission)
        return self.found

    def _known(self) -> Checker:
        if self._checker is None:
            raise UnavailableError("messages are not checked here; a running server does")
        return self._checker
