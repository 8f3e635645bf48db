"""Sites: the receivers that share a queue, and where their mail goes.

Theory: two domains with the same set of exchangers are one receiver, whatever their preferences, so the
names of the whole MX set are folded into one site name: the labels that all share are written once,
`(alt1|alt2)?.mx.example` is `mx.example`, `alt1.mx.example` and `alt2.mx.example`. A configured provider
takes all domains whose exchangers all match its patterns. A domain that an override names is its own site,
`@domain`. Routes are kept for as long as DNS said, so one cache serves the whole node. Which site a domain
had last is kept beyond that, also over a start: mail is never sent by it, but people ask for mail by site.

Invariant: equal sets give equal names, different sets different ones (beyond 100 characters: up to a
collision of 48 bits of SHA-256).

Standards: RFC 5321 §5.1 (preference, and random order of equal ones).
"""

import hashlib
import random
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence

from outrider.model.flow import Host
from outrider.model.route import Route, RouteFailure
from outrider.model.scopes import matches
from outrider.schedule.options import ProviderPattern

# Chosen: fits a column of a report and a metrics label.
_NAME_LENGTH = 100
_DIGEST_DIGITS = 12
# Chosen: who asked for an answer uses it well within this; one of no life would be asked for without end.
LEAST_SECONDS = 1.0
# A shared top-level domain says nothing; from two labels on it is (nearly always) an organisation.
_SHARED_LABELS = 2


def fold(names: Sequence[str]) -> str:
    """The site name of a set of exchangers; order, case and repetition do not matter."""
    distinct = sorted({name.lower().rstrip(".") for name in names})
    if len(distinct) == 1:
        folded = distinct[0]
    else:
        split = [name.split(".")[::-1] for name in distinct]
        shared = 0
        for labels in zip(*split, strict=False):
            if len(set(labels)) > 1:
                break
            shared += 1
        if shared < _SHARED_LABELS:
            folded = f"({'|'.join(distinct)})"
        else:
            heads = sorted(".".join(labels[shared:][::-1]) for labels in split)
            mark = "" if heads[0] else "?"
            suffix = ".".join(split[0][:shared][::-1])
            folded = f"({'|'.join(head for head in heads if head)}){mark}.{suffix}"
    if len(folded) <= _NAME_LENGTH:
        return folded
    digest = hashlib.sha256(folded.encode()).hexdigest()[:_DIGEST_DIGITS]
    return f"{folded[: _NAME_LENGTH - _DIGEST_DIGITS - 1]}~{digest}"


class SiteTable:
    """What is known about domains: their site and route, or why they have none.

    Attributes:
        changes: How often a last site changed, became known or was forgotten.
    """

    def __init__(
        self,
        providers: Sequence[ProviderPattern] = (),
        capacity: int = 100_000,
        is_separate: Callable[[str], bool] = lambda _domain: False,
    ) -> None:
        """Make an empty table.

        Args:
            providers: Configured providers, first match wins.
            capacity: Domains remembered; the one that was put first is forgotten first.
            is_separate: Says which domains are their own site (`ShapingTable.is_separate`).
        """
        self._providers = tuple(providers)
        self._capacity = capacity
        self._is_separate = is_separate
        self._known: OrderedDict[str, tuple[float, str, Route | RouteFailure]] = OrderedDict()
        self._last: dict[str, str] = {}  # empty: it was looked up, and never had a route
        self._doubted: set[str] = set()  # their last site is of before a change
        self.changes = 0

    def recall(self, sites: Mapping[str, str], *, is_doubted: bool) -> None:
        """Before anything is looked up: the sites that domains had in an earlier life.

        Args:
            sites: Site by domain.
            is_doubted: What decides about sites has changed since.
        """
        for domain, site in sites.items():
            if now := self._separated(domain, site):
                self._note(domain, now)
                if is_doubted:
                    self._doubted.add(domain)

    def reshape(self, providers: Sequence[ProviderPattern], is_separate: Callable[[str], bool]) -> bool:
        """Other providers and separate domains from now on; True when a known domain's site changed by it."""
        has_providers = self._providers != tuple(providers)
        self._providers = tuple(providers)
        self._is_separate = is_separate
        has_changed = False
        for domain, (until, site, known) in self._known.items():
            new = self.site_of(known) if isinstance(known, Route) else ""
            if new != site:
                self._known[domain] = (until, new, known)
                self._note(domain, new)
                has_changed = True
        for domain in self._last.keys() - self._known.keys():
            now = self._separated(domain, self._last[domain])
            if now != self._last[domain]:
                self._forget_last(domain)
                if now:
                    self._note(domain, now)
            elif has_providers and not now.startswith("@"):
                self._doubted.add(domain)
        return has_changed

    def _separated(self, domain: str, site: str) -> str:
        """A site from before, where it is clear what it is now; empty where only a look-up can tell."""
        if self._is_separate(domain):
            return f"@{domain}"
        return "" if site.startswith("@") else site

    def __len__(self) -> int:
        return len(self._known)

    def site_of(self, route: Route) -> str:
        """The site of a route."""
        if self._is_separate(route.domain):
            return f"@{route.domain}"
        if route.site:
            return route.site
        names = [exchanger.name.lower() for exchanger in route.exchangers]
        for provider in self._providers:
            if all(any(matches(pattern, name) for pattern in provider.mx) for name in names):
                return provider.name
        site = fold(names)
        return f"{site}:{route.port}" if route.port else site

    def put(self, known: Route | RouteFailure, now: float) -> str:
        """Remember an answer of the resolver; returns the site, empty for a failure."""
        site = self.site_of(known) if isinstance(known, Route) else ""
        self._known[known.domain] = (now + max(known.valid_seconds, LEAST_SECONDS), site, known)
        self._known.move_to_end(known.domain)
        if len(self._known) > self._capacity:
            self._known.popitem(last=False)
        self._note(known.domain, site)
        return site

    def _note(self, domain: str, site: str) -> None:
        """What a domain's last site is; one that has no route now keeps the site that it had."""
        last = self._last
        self._doubted.discard(domain)
        if last.get(domain) == site or (not site and domain in last):
            return
        if domain not in last and len(last) >= self._capacity:
            self._forget_last(next(iter(last)))
        last[domain] = site
        self.changes += 1

    def _forget_last(self, domain: str) -> None:
        del self._last[domain]
        self._doubted.discard(domain)
        self.changes += 1

    def needs(self, domain: str, now: float) -> bool:
        """True when the resolver has to be asked before `domain` can be sent to."""
        known = self._known.get(domain)
        return known is None or known[0] <= now

    def site(self, domain: str, now: float) -> str | None:
        """The site of a domain; None when it has to be resolved, or has no route."""
        known = self._known.get(domain)
        return known[1] or None if known is not None and known[0] > now else None

    def get(self, domain: str, now: float) -> tuple[str, Route | RouteFailure] | None:
        """Site and answer of a domain, or None when it has to be resolved."""
        known = self._known.get(domain)
        return known[1:] if known is not None and known[0] > now else None

    def last_site(self, domain: str) -> str:
        """The site that a domain had when it last had one, however long ago; empty for none."""
        return self._last.get(domain, "")

    def is_unsure(self, domain: str) -> bool:
        """True where `last_site` is not what the configuration of now says, or nobody has asked yet."""
        return domain not in self._last or domain in self._doubted

    def last_sites(self, domains: Iterable[str]) -> dict[str, str]:
        """The last site of each domain that had one; for `recall`."""
        last = self._last
        return {domain: site for domain in domains if (site := last.get(domain))}

    def forget_all(self) -> None:
        """Ask the resolver for every domain again; until it answers, the last sites are in doubt."""
        self._known.clear()
        self._doubted.update(self._last)

    def forget(self, domain: str) -> None:
        """Ask the resolver again next time."""
        self._known.pop(domain, None)

    def forget_failure(self, domain: str) -> None:
        """Ask the resolver again next time if the last answer was that there is no route."""
        known = self._known.get(domain)
        if known is not None and isinstance(known[2], RouteFailure):
            del self._known[domain]

    def hosts(
        self,
        domain: str,
        now: float,
        port: int,
        rng: random.Random,
        is_own: Callable[[str, int], bool] = lambda _address, _port: False,
    ) -> tuple[Host, ...] | None:
        """The addresses to try, in order; None when the domain has to be resolved or has no route.

        Empty when mail for it would come back to us: we are its best exchanger (RFC 5321 §5.1).

        Args:
            domain: Routing domain.
            now: Monotonic seconds.
            port: Where the route names none.
            rng: Shuffles exchangers of equal preference.
            is_own: True for an address and port at which we listen ourselves.
        """
        known = self.get(domain, now)
        if known is None or not isinstance(known[1], Route):
            return None
        route = known[1]
        own = [
            exchanger.preference
            for exchanger in route.exchangers
            if any(is_own(address, exchanger.port or route.port or port) for address in exchanger.addresses)
        ]
        exchangers = [each for each in route.exchangers if not own or each.preference < min(own)]
        if len(exchangers) > 1:
            rng.shuffle(exchangers)
            exchangers.sort(key=lambda exchanger: exchanger.preference)
        return tuple(
            Host(exchanger.name, address, exchanger.port or route.port or port)
            for exchanger in exchangers
            for address in exchanger.addresses
        )
