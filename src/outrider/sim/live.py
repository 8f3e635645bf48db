"""The numbers of a running demo and its final account, without screen or processes.

In: samples once a second; at the end what each side counted. Out: rates, lines, and an `Account`.

Theory: the two ends count independently. The generator knows which (number, recipient) was acknowledged; the
simulator knows which arrived and about which a failure report arrived. What is in neither must be in the
queue. The queue is asked before the server stops and can only shrink afterwards, so more missing than queued
is loss.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from outrider.sim.tally import Fate

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class SiteNumbers:
    """One provider at one moment, in recipients; totals since the start.

    Attributes:
        accepted: For whom the server took responsibility.
        last_reply: The last one that refused somebody.
    """

    accepted: int = 0
    delivered: int = 0
    deferred: int = 0
    bounced: int = 0
    connections: int = 0
    last_reply: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """Everything at one moment; totals since the start.

    Attributes:
        at: Monotonic seconds.
        acknowledged: Recipients that the server took responsibility for.
        refused: Recipients refused by the server.
        unknown: Recipients whose reply was lost.
        queued: Entries in the queue, None while the server does not say.
        sites: By provider.
    """

    at: float
    acknowledged: int
    refused: int = 0
    unknown: int = 0
    queued: int | None = None
    sites: Mapping[str, SiteNumbers] = field(default_factory=dict)

    @property
    def delivered(self) -> int:
        return sum(site.delivered for site in self.sites.values())

    @property
    def deferred(self) -> int:
        return sum(site.deferred for site in self.sites.values())

    @property
    def bounced(self) -> int:
        return sum(site.bounced for site in self.sites.values())


def sites_of(report: Mapping[str, Any], accepted: Mapping[str, int] | None = None) -> dict[str, SiteNumbers]:
    """The providers in a report of the simulator; what they rejected bounces.

    Args:
        report: Of the simulator.
        accepted: Recipients that the server took, by provider.
    """
    found = {}
    for name, one in report["providers"].items():
        found[name] = SiteNumbers(
            accepted=(accepted or {}).get(name, 0),
            delivered=one["recipients"],
            deferred=one["deferred"],
            bounced=one["rejected"],
            connections=one["connections"]["current"],
            last_reply=one["last_replies"][-1] if one["last_replies"] else "",
        )
    return found


class Live:
    """The last samples, and the rates between them."""

    def __init__(self) -> None:
        self.first: Sample | None = None
        self.previous: Sample | None = None
        self.current: Sample | None = None

    def add(self, sample: Sample) -> None:
        """A new moment."""
        if self.first is None:
            self.first = sample
        self.previous, self.current = self.current, sample

    def rates(self) -> dict[str, float]:
        """Acknowledged, delivered, deferred and bounced per second since the previous sample."""
        names = ("acknowledged", "delivered", "deferred", "bounced")
        if self.previous is None or self.current is None:
            return dict.fromkeys(names, 0.0)
        seconds = self.current.at - self.previous.at
        return {
            name: (getattr(self.current, name) - getattr(self.previous, name)) / seconds if seconds else 0.0
            for name in names
        }

    def site_rates(self, site: str) -> tuple[float, float, float, float]:
        """Accepted, delivered, deferred, bounced per second of one provider."""
        if self.previous is None or self.current is None or self.current.at == self.previous.at:
            return 0.0, 0.0, 0.0, 0.0
        now = self.current.sites.get(site, SiteNumbers())
        before = self.previous.sites.get(site, SiteNumbers())
        seconds = self.current.at - self.previous.at
        return (
            (now.accepted - before.accepted) / seconds,
            (now.delivered - before.delivered) / seconds,
            (now.deferred - before.deferred) / seconds,
            (now.bounced - before.bounced) / seconds,
        )

    def parts(self) -> tuple[str, ...]:
        """The current moment as words that belong together."""
        if self.current is None or self.first is None:
            return ("starting",)
        sample, rates = self.current, self.rates()
        queued = "-" if sample.queued is None else sample.queued
        moving = sorted(((self.site_rates(name)[1], name) for name in sample.sites), reverse=True)
        busiest = ", ".join(f"{name} {rate:.0f}/s" for rate, name in moving[:3] if rate > 0)
        counted = (
            ("acknowledged", "accepted"),
            *((name, name) for name in ("delivered", "deferred", "bounced")),
        )
        return (
            f"{sample.at - self.first.at:5.0f}s",
            *(f"{shown} {getattr(sample, name)} ({rates[name]:.0f}/s)" for name, shown in counted),
            f"queued {queued}",
            *((f"[{busiest}]",) if busiest else ()),
        )

    def line(self) -> str:
        """The current moment in one line, for output that is no terminal."""
        return "  ".join(self.parts())


@dataclass(frozen=True, slots=True)
class Account:
    """The final account, in recipients.

    Attributes:
        acknowledged: The server owes these.
        unknown: Reply lost; may have arrived or not.
        delivered: Acknowledged and received by the simulator.
        bounced: Acknowledged, not received, and a failure report came back.
        queued: Acknowledged, neither of the two, and within what the queue held.
        lost: Acknowledged and nowhere.
        duplicates: Received more often than once, each time beyond the first.
        intruders: Refused to the generator and received all the same.
        strangers: Numbers of our runs received that the generator has never sent.
    """

    acknowledged: int
    unknown: int
    delivered: int
    bounced: int
    queued: int
    lost: int
    duplicates: int
    intruders: int
    strangers: int

    @property
    def complete(self) -> bool:
        """True when every acknowledged recipient is accounted for and nothing arrived that must not."""
        return not (self.lost or self.intruders or self.strangers)

    def line(self) -> str:
        """The account in one line of `name=value`."""
        names = ("acknowledged", "delivered", "queued", "bounced", "lost", "duplicates", "unknown")
        line = " ".join(f"{name}={getattr(self, name)}" for name in names)
        return f"{line} unexplained={self.intruders + self.strangers}"


def account(fates: Mapping[Key, Fate], seen: Mapping[Key, tuple[int, int]], queued: int) -> Account:
    """Compare both ends.

    Args:
        fates: What the generator heard, by (number, recipient).
        seen: What the simulator saw: times taken and failure reports, by (number, recipient).
        queued: Entries in the queue before the server stopped.
    """
    acknowledged = [key for key, fate in fates.items() if fate == "acknowledged"]
    nothing = (0, 0)
    delivered = sum(1 for key in acknowledged if seen.get(key, nothing)[0])
    bounced = sum(1 for key in acknowledged if not seen.get(key, nothing)[0] and seen.get(key, nothing)[1])
    missing = len(acknowledged) - delivered - bounced
    runs = {number.rpartition("-")[0] for number, _ in fates}
    taken = {
        key: count for key, (count, _) in seen.items() if count and key[0].rpartition("-")[0] in runs
    }  # what somebody else sent by hand is not ours to account for
    return Account(
        acknowledged=len(acknowledged),
        unknown=sum(1 for fate in fates.values() if fate == "unknown"),
        delivered=delivered,
        bounced=bounced,
        queued=min(missing, queued),
        lost=max(0, missing - queued),
        duplicates=sum(count - 1 for count in taken.values()),
        intruders=sum(1 for key in taken if fates.get(key) == "refused"),
        strangers=sum(1 for key in taken if key not in fates),
    )
