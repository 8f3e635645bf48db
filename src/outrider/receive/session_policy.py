"""What scripts say in an SMTP session is done here, at once or when they are through with waiting.

In: the answer of a `PolicySession`. Out: the machine's event accepted or refused, once.

Theory: while a script waits, so does the event, and the machine takes no further command; the session's
deadlines go on. A client that is gone by then is not answered.
"""

from collections.abc import Awaitable, Callable

from outrider.base.errors import where
from outrider.model.ports import Answer, PolicySession
from outrider.model.reply import Reply
from outrider.receive.session_context import SessionContext
from outrider.receive.session_transport import SessionTransport
from outrider.wire.smtp import replies


class PolicedSession(SessionTransport):
    """See the module. `_policy` is None where there are no scripts."""

    __slots__ = ("_policy",)

    def __init__(self, context: SessionContext) -> None:
        super().__init__(context)
        self._policy: PolicySession | None = None

    def _heed(
        self,
        answer: Answer | Awaitable[Answer],
        go_on: Callable[[], None],
        refuse: Callable[[Reply], None],
    ) -> None:
        """Go on where scripts say nothing, refuse where they do, and wait where they wait."""
        if answer is None:
            go_on()
        elif isinstance(answer, Reply):
            refuse(answer)
        elif not self._context.spawn(self._heed_later(answer, go_on, refuse)):
            refuse(replies.SHUTTING_DOWN)

    async def _heed_later(
        self, waiting: Awaitable[Answer], go_on: Callable[[], None], refuse: Callable[[Reply], None]
    ) -> None:
        event = self._server.waiting
        try:
            answer = await waiting
        except Exception as error:
            self._context.log.error("receive.policy_failed", **where(error))
            answer = replies.POLICY_FAILED
        if self._server.waiting is event and self._transport is not None:
            self._heed(answer, go_on, refuse)
            self._run()
