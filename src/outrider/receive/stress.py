"""Whether a listener is under stress, and since when: a decision without clock or sockets.

In: once a second, how full it is, how late the event loop was, and what the server is short of. Out: a
`Change` when stress begins or ends, with its reason.

Theory: what ends stress is lower than what begins it (`RECOVERY`) and must hold for a while (`calm_seconds`),
so a listener at its limit does not flap. Under stress only clients without a grant are served worse:
strangers bring the load, and the operator's own applications are who it must not touch.

Invariant: begin and end alternate, and each has a reason.

Standards: none; the limits are those that Postfix takes under stress (STRESS_README).
"""

from typing import NamedTuple

from outrider.receive.options import StressOptions

RECOVERY = 0.75
# chosen: stress ends below three quarters of what begins it


class Load(NamedTuple):
    """What a listener looked like in the last second.

    Attributes:
        connections: Share of the connections that it may have.
        lag_seconds: How late the event loop was.
        shortage: What new mail is refused for or about to be: `memory`, `disk`, or empty.
    """

    connections: float
    lag_seconds: float
    shortage: str = ""


class Change(NamedTuple):
    """Stress began or ended.

    Attributes:
        is_on: It began.
        reason: `connections`, `lag`, `memory` or `disk`; why it began, also when it ends.
        seconds: How long it lasted, 0 at its beginning.
    """

    is_on: bool
    reason: str
    seconds: float = 0.0


class Stress:
    """See the module.

    Attributes:
        is_on: Limits are tight.
        reason: Why, while it is on.
    """

    __slots__ = ("_bad_at", "_began_at", "_options", "is_on", "reason")

    def __init__(self, options: StressOptions) -> None:
        self._options = options
        self._began_at = 0.0
        self._bad_at = 0.0
        self.is_on = False
        self.reason = ""

    def reshape(self, options: StressOptions) -> None:
        """Other limits from now on; stress that has begun ends by them, in its time."""
        self._options = options

    def look(self, now: float, load: Load) -> Change | None:
        """Take a second's load; what changed by it."""
        cause = self._cause(load, RECOVERY if self.is_on else 1.0)
        if cause:
            self._bad_at = now
            if self.is_on:
                return None
            self.is_on, self.reason, self._began_at = True, cause, now
            return Change(is_on=True, reason=cause)
        if not self.is_on or now - self._bad_at < self._options.calm_seconds:
            return None
        reason, self.is_on, self.reason = self.reason, False, ""
        return Change(is_on=False, reason=reason, seconds=now - self._began_at)

    def _cause(self, load: Load, share: float) -> str:
        options = self._options
        if not options.enabled:
            return ""
        if load.connections >= options.connections_share * share:
            return "connections"
        if load.lag_seconds >= options.lag_seconds * share:
            return "lag"
        return load.shortage
