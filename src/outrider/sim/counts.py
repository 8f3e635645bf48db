"""What a provider saw, counted exactly.

In: one call for each thing that happened, with the time where it matters. Out: a report as plain data.

Theory: a message with `X-Sim-Number` is counted per (number, recipient), so loss and duplicates need no
estimate. The most in any sliding minute is found with a queue of the times inside the window that ends now:
every window that is fullest ends at an arrival.
"""

from collections import Counter, deque
from typing import Any

WINDOW_SECONDS = 60.0  # chosen, because limits are published per minute
LAST_REPLIES = 5  # chosen, because a screen has room for so many

Number = tuple[str, str]
"""A numbered message and one of its recipients."""


class SlidingMax:
    """The greatest number of events in any window of `seconds`."""

    __slots__ = ("_seconds", "_times", "most")

    def __init__(self, seconds: float = WINDOW_SECONDS) -> None:
        self._seconds = seconds
        self._times: deque[float] = deque()
        self.most = 0

    def add(self, now: float) -> None:
        """One event at `now`; times do not go back."""
        times = self._times
        times.append(now)
        edge = now - self._seconds
        while times[0] <= edge:
            times.popleft()
        self.most = max(self.most, len(times))

    def current(self, now: float) -> int:
        """Events in the window that ends at `now`."""
        times = self._times
        edge = now - self._seconds
        while times and times[0] <= edge:
            times.popleft()
        return len(times)


class Counts:
    """The counters of one provider.

    Attributes:
        connections: Open now: from accept until the close was seen.
        connections_most: Most at once.
        connections_total: Accepted ever, with those refused for the limit.
        connections_refused: Answered with 421 for the limit.
        messages: Contents taken with a 250.
        recipients: Recipients of those.
        octets: Octets of those, in wire form.
        bounces: (number, recipient) of failure reports that came in.
        deliveries: (number, recipient) → how often it was taken.
        unnumbered: Recipients of messages without a number.
        deferred: Recipients refused with 4xx, each time; a refused MAIL counts as one.
        rejected: Recipients refused with 5xx, likewise.
        replies: Reply code → how often it was given.
        violations: Breach of protocol by the client → how often.
    """

    __slots__ = (
        "bounces",
        "connections",
        "connections_most",
        "connections_refused",
        "connections_total",
        "deferred",
        "deliveries",
        "last_replies",
        "messages",
        "messages_in_window",
        "octets",
        "recipients",
        "recipients_in_window",
        "rejected",
        "replies",
        "unnumbered",
        "violations",
    )

    def __init__(self) -> None:
        self.connections = 0
        self.connections_most = 0
        self.connections_total = 0
        self.connections_refused = 0
        self.messages = 0
        self.recipients = 0
        self.octets = 0
        self.unnumbered = 0
        self.deferred = 0
        self.rejected = 0
        self.deliveries: dict[Number, int] = {}
        self.bounces: dict[Number, int] = {}
        self.replies: Counter[int] = Counter()
        self.violations: Counter[str] = Counter()
        self.messages_in_window = SlidingMax()
        self.recipients_in_window = SlidingMax()
        self.last_replies: deque[str] = deque(maxlen=LAST_REPLIES)

    def delivered(self, number: str, recipients: list[str], octets: int, now: float) -> None:
        """A content was taken for `recipients`; an empty `number` is a message that bears none."""
        self.messages += 1
        self.recipients += len(recipients)
        self.octets += octets
        self.messages_in_window.add(now)
        if not number:
            self.unnumbered += len(recipients)
            return
        deliveries = self.deliveries
        for recipient in recipients:
            key = (number, recipient)
            deliveries[key] = deliveries.get(key, 0) + 1

    def refused(self, reply: str, recipients: int) -> None:
        """So many recipients were refused with `reply`."""
        if reply[0] in "45":
            self.last_replies.append(reply)
        if reply[0] == "4":
            self.deferred += recipients
        elif reply[0] == "5":
            self.rejected += recipients

    def bounced(self, number: str, recipient: str) -> None:
        """A failure report for one recipient of a numbered message came in."""
        key = (number, recipient)
        self.bounces[key] = self.bounces.get(key, 0) + 1

    def report(self) -> dict[str, Any]:
        """Everything but the numbers themselves, ready for JSON."""
        return {
            "connections": {
                "current": self.connections,
                "most": self.connections_most,
                "total": self.connections_total,
                "refused": self.connections_refused,
            },
            "messages": self.messages,
            "recipients": self.recipients,
            "deferred": self.deferred,
            "rejected": self.rejected,
            "octets": self.octets,
            "numbered": len(self.deliveries),
            "unnumbered": self.unnumbered,
            "duplicates": sum(self.deliveries.values()) - len(self.deliveries),
            "bounces": len(self.bounces),
            "most_in_a_minute": {
                "messages": self.messages_in_window.most,
                "recipients": self.recipients_in_window.most,
            },
            "replies": {str(code): count for code, count in sorted(self.replies.items())},
            "last_replies": list(self.last_replies),
            "violations": dict(sorted(self.violations.items())),
        }
