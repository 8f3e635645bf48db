"""Reports to senders (DSN): whether one is due, and the message that it becomes.

A report is an ordinary submission of ours with the null reverse-path: it goes through policy like any
other and is stored in the frame of the change that causes it.
"""

from collections.abc import Sequence

from outrider.base.clock import Clock
from outrider.base.ids import IdSource
from outrider.base.log import Log as ServerLog
from outrider.classify.dsn import build_dsn, is_due
from outrider.classify.options import DsnOptions
from outrider.classify.rate import DsnRate
from outrider.classify.report import DsnKind, RecipientReport
from outrider.model.changes import Finished, Stored, stored_of
from outrider.model.flow import Refusal
from outrider.model.ports import Log, Policy


class Reports:
    """See the module."""

    def __init__(
        self,
        options: DsnOptions,
        hostname: str,
        policy: Policy,
        log: Log,
        ids: IdSource,
        clock: Clock,
        server_log: ServerLog,
    ) -> None:
        self._options = options
        self._hostname = hostname
        self._policy = policy
        self._log = log
        self._ids = ids
        self._clock = clock
        self._server_log = server_log
        self._rate = DsnRate(options.rate)

    def reshape(self, options: DsnOptions) -> None:
        """Other options from now on; the rate that is counted starts anew only where it changed."""
        if options.rate != self._options.rate:
            self._rate = DsnRate(options.rate)
        self._options = options

    def is_due(self, kind: DsnKind, stored: Stored, index: int) -> bool:
        """Whether the sender asked for, or by default gets, a report of `kind` about delivery `index`."""
        return is_due(kind, stored.mail_from, stored.deliveries[index].recipient.notify, self._options)

    def of_refused(
        self, stored: Stored, finished: Sequence[Finished], original: bytes
    ) -> tuple[Stored, bytes] | None:
        """`unsent.Report`: what the sender hears of recipients whom policy refused.

        Args:
            stored: Their message with its whole content.
            finished: The end of each delivery, in their order.
            original: The content.
        """
        if stored.origin.sandbox or not self._options.policy_refusals:
            return None
        ends = [each.attempted for each in finished]
        reports = [
            RecipientReport(delivery.recipient, end.outcome, end.attempted_time, end.verdict.bounce_class)
            for delivery, end in zip(stored.deliveries, ends, strict=True)
        ]
        return self.make(DsnKind.FAILED, stored, reports, original)

    def make(
        self, kind: DsnKind, stored: Stored, recipients: Sequence[RecipientReport], original: bytes
    ) -> tuple[Stored, bytes] | None:
        """The report as a change and its content, or None when it is over the rate or policy refuses it."""
        sender = stored.mail_from
        submission = build_dsn(
            kind,
            stored,
            recipients,
            original,
            self._options,
            message_id=self._ids.next(),
            now_time=self._clock.wall(),
            hostname=self._hostname,
        )
        if submission is None or sender is None:
            return None
        message = self._policy.decide(submission)
        if isinstance(message, Refusal):
            self._server_log.warning("dsn.refused", message_id=stored.message_id, reason=message.reason)
            return None
        if not self._rate.allow(sender.domain, self._clock.now()):
            self._server_log.warning("dsn.suppressed", message_id=stored.message_id, kind=kind)
            return None
        return stored_of(message, self._log.reserve(len(message.deliveries))), submission.content.wire
