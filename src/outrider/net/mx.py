"""Where a domain's mail goes: configured routes first, then MX records, then the domain's own address.

In: a routing domain (A-labels, lower case) or an address literal. Out: a `Route`, or a `RouteFailure` with
the reply that the recipient's report will show.

Theory, in the order of RFC 5321 §5.1: take the exchangers by preference; find our own listeners among their
addresses; drop every exchanger whose preference is equal to or worse than our best own one, because they
could only hand the mail back; then drop addresses that DNS may not lead us to. What is left is the route.
If nothing is left, the reason is the most hopeful one: a look-up that failed may succeed later, so it wins
over everything final, except over a loop that is certain.

Invariants: every exchanger of a route has an address; no address of it is one of our own listeners; the
work for one domain is bounded by `max_exchangers` times families look-ups.
Standards: RFC 5321 §5.1 (MX and implicit MX, loops), RFC 7505 §3 (null MX), RFC 5321 §4.1.3 (literals).
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

from outrider.base.log import Log
from outrider.model.reply import Reply
from outrider.model.route import INBOUND, INBOUND_PREFIX, Exchanger, Route, RouteFailure
from outrider.net import replies
from outrider.net.answers import Answer, Kind, Lookup, Status
from outrider.net.listen import is_local_address
from outrider.net.options import UNIX_PREFIX, NetOptions, RouteOptions, split_host_port
from outrider.net.targets import Targets

SMTP_PORT = 25
# RFC 5321 §4.5.4.2; IANA.

FIXED_VALID_SECONDS = 3_600.0
# Life of what no TTL bounds (configured addresses, literals); chosen, it costs nothing to ask again.

_HOST_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?")
# RFC 1123 §2.1, with the underscore that some use; other octets in a name would reach TLS, logs and reports.

_KINDS = {"ipv4": Kind.A, "ipv6": Kind.AAAA}


class _Candidate(NamedTuple):
    preference: int
    name: str
    port: int
    addresses: tuple[str, ...]
    failed: bool
    ttl_seconds: float


class MxResolver:
    """Implements `model.ports.MailResolver`.

    Args:
        dns: Answers questions; usually a `DnsResolver`.
        options: Routes, families, bounds and allowed targets.
        log: For answers that were cut or refused.
        listeners: (address, port) of our own listeners.
        smtp_port: Port of exchangers found in DNS, for the comparison with our own listeners.
        is_local: True for an address of this machine.
    """

    __slots__ = ("_dns", "_exact", "_kinds", "_log", "_options", "_port", "_suffixes", "_targets")

    def __init__(
        self,
        dns: Lookup,
        options: NetOptions,
        *,
        log: Log,
        listeners: Iterable[tuple[str, int]] = (),
        smtp_port: int = SMTP_PORT,
        is_local: Callable[[str], bool] = is_local_address,
    ) -> None:
        self._dns = dns
        self._options = options
        self._log = log
        self._port = smtp_port
        self._targets = Targets(options, listeners, is_local)
        self._kinds = tuple(_KINDS[family] for family in dict.fromkeys(options.ip_families))
        self._exact = {route.domain: route for route in reversed(options.routes)}
        self._suffixes = any(route.domain.startswith("*.") for route in options.routes)

    def is_own(self, address: str, port: int) -> bool:
        """True when one of our own listeners would take a connection to `address` and `port`."""
        return self._targets.is_own(address, port)

    async def route(self, domain: str) -> Route | RouteFailure:
        """The route of `domain` as of now; never raises for what others do."""
        if domain.startswith(INBOUND_PREFIX):  # written into a directory of ours: there is no host to find
            here = Exchanger(0, domain, (INBOUND,))
            return Route(domain, (here,), implicit=False, valid_seconds=FIXED_VALID_SECONDS, site=domain)
        configured = self._configured(domain)
        if configured is not None:
            return await self._static(domain, configured)
        if domain.startswith("["):
            return self._literal(domain)
        answer = await self._dns.lookup(domain, Kind.MX)
        if answer.status is Status.NO_NAME:
            return self._no(domain, replies.DOMAIN_UNKNOWN, answer.ttl_seconds)
        if answer.status is Status.FAILED:
            return self._no(domain, replies.DNS_UNAVAILABLE, answer.ttl_seconds)
        if answer.status is Status.NO_DATA:
            return await self._implicit(domain, answer.ttl_seconds)
        hosts = self._hosts(domain, answer)
        if not hosts:
            is_null = not any(name for _, name in answer.exchangers)
            reply = replies.NULL_MX if is_null else replies.EXCHANGERS_WITHOUT_ADDRESS
            return self._no(domain, reply, answer.ttl_seconds)
        candidates = await self._resolved([(preference, name, 0) for preference, name in hosts])
        route = self._chosen(domain, candidates, answer.ttl_seconds, implicit=False)
        is_cut = answer.is_cut or len(answer.exchangers) > self._options.max_exchangers
        if is_cut and isinstance(route, RouteFailure):
            # what was left out may be the one that works: no reason to give a message up
            return self._no(domain, replies.EXCHANGERS_TOO_MANY, route.valid_seconds)
        return route

    def _configured(self, domain: str) -> RouteOptions | None:
        """The most specific configured route: the domain, then `*.` its parents from long to short, `*`."""
        if not self._exact:
            return None
        route = self._exact.get(domain)
        if route is None and self._suffixes and not domain.startswith("["):
            rest = domain
            while route is None and "." in rest:
                rest = rest.partition(".")[2]
                route = self._exact.get(f"*.{rest}")
        return route or self._exact.get("*")

    async def _static(self, domain: str, options: RouteOptions) -> Route | RouteFailure:
        hosts = [
            (number, text, 0) if text.startswith(UNIX_PREFIX) else (number, *split_host_port(text))
            for number, text in enumerate(options.hosts)
        ]
        candidates = await self._resolved(hosts)
        usable = [
            candidate
            for candidate in candidates
            if candidate.addresses
            and not any(
                self._targets.is_own(address, candidate.port or self._port) for address in candidate.addresses
            )
        ]
        valid = _valid(candidates, FIXED_VALID_SECONDS)
        if not usable:
            if any(candidate.addresses for candidate in candidates):
                return self._no(domain, replies.LOOP, valid)
            # The operator's own hosts: a name that is missing now is a mistake to repair, so mail waits.
            return self._no(domain, replies.SMART_HOST_UNKNOWN, valid)
        ports = {candidate.port for candidate in usable}
        return Route(
            domain,
            tuple(Exchanger(c.preference, c.name, c.addresses, c.port) for c in usable),
            implicit=False,
            valid_seconds=valid,
            site=options.name,
            port=ports.pop() if len(ports) == 1 else 0,
        )

    def _literal(self, domain: str) -> Route | RouteFailure:
        text = domain.strip("[]")
        try:
            address = str(ip_address(text[5:] if text[:5].lower() == "ipv6:" else text))
        except ValueError:
            return self._no(domain, replies.LITERAL_INVALID, FIXED_VALID_SECONDS)
        candidate = _Candidate(0, domain, 0, (address,), failed=False, ttl_seconds=FIXED_VALID_SECONDS)
        return self._chosen(domain, [candidate], FIXED_VALID_SECONDS, implicit=True)

    async def _implicit(self, domain: str, ttl: float) -> Route | RouteFailure:
        candidates = await self._resolved([(0, domain, 0)])
        return self._chosen(domain, candidates, ttl, implicit=True)

    def _hosts(self, domain: str, answer: Answer) -> list[tuple[int, str]]:
        """Exchangers by preference, each name once, capped; without the root and what is no host name."""
        best: dict[str, int] = {}
        malformed = 0
        for preference, name in sorted(answer.exchangers):
            if _HOST_NAME.fullmatch(name):
                best.setdefault(name, preference)
            elif name:
                malformed += 1
        if malformed:
            self._log.warning("dns.exchangers_malformed", domain=domain, found=malformed)
        hosts = [(preference, name) for name, preference in best.items()]
        if len(hosts) > self._options.max_exchangers:
            self._log.warning(
                "dns.exchangers_cut", domain=domain, found=len(hosts), kept=self._options.max_exchangers
            )
            del hosts[self._options.max_exchangers :]
        return hosts

    async def _resolved(self, hosts: Sequence[tuple[int, str, int]]) -> list[_Candidate]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._candidate(*host)) for host in hosts]
        return [task.result() for task in tasks]

    async def _candidate(self, preference: int, name: str, port: int) -> _Candidate:
        if name.startswith(UNIX_PREFIX):
            return _Candidate(preference, name, 0, (name,), failed=False, ttl_seconds=FIXED_VALID_SECONDS)
        known = _address(name)
        if known is not None:
            return _Candidate(
                preference, name, port, (str(known),), failed=False, ttl_seconds=FIXED_VALID_SECONDS
            )
        addresses: list[str] = []
        failed = False
        ttl = self._options.ttl_max_seconds
        for kind in self._kinds:
            answer = await self._dns.lookup(name, kind)
            addresses.extend(answer.addresses[: self._options.max_addresses])
            failed = failed or answer.status is Status.FAILED
            ttl = min(ttl, answer.ttl_seconds)
            if answer.status is Status.NO_NAME:
                break  # the name has no records of any type
        return _Candidate(preference, name, port, tuple(addresses), failed, ttl)

    def _chosen(
        self, domain: str, candidates: Sequence[_Candidate], ttl: float, *, implicit: bool
    ) -> Route | RouteFailure:
        valid = _valid(candidates, ttl)
        own = [
            candidate.preference
            for candidate in candidates
            if any(self._targets.is_own(address, self._port) for address in candidate.addresses)
        ]
        left = [candidate for candidate in candidates if not own or candidate.preference < min(own)]
        exchangers = []
        refused = 0
        for candidate in left:
            allowed = tuple(filter(self._targets.is_allowed, candidate.addresses))
            refused += len(candidate.addresses) - len(allowed)
            if allowed:
                exchangers.append(Exchanger(candidate.preference, candidate.name, allowed))
        if refused:
            self._log.warning("dns.targets_refused", domain=domain, addresses=refused)
        if exchangers:
            return Route(domain, tuple(exchangers), implicit=implicit, valid_seconds=valid)
        if any(candidate.failed for candidate in left):
            return self._no(domain, replies.DNS_UNAVAILABLE, valid)
        if own:
            return self._no(domain, replies.LOOP, valid)
        if refused:
            return self._no(domain, replies.EXCHANGERS_FORBIDDEN, valid)
        return self._no(
            domain, replies.DOMAIN_WITHOUT_MAIL if implicit else replies.EXCHANGERS_WITHOUT_ADDRESS, valid
        )

    def _no(self, domain: str, reply: Reply, valid_seconds: float) -> RouteFailure:
        self._log.debug("dns.no_route", domain=domain, reply=str(reply))
        return RouteFailure(domain, reply, valid_seconds)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """The address that `text` is, or None for a name. No top-level domain is a number (RFC 3696 §2)."""
    try:
        return ip_address(text)
    except ValueError:
        return None


def _valid(candidates: Sequence[_Candidate], ttl: float) -> float:
    return min(ttl, min((candidate.ttl_seconds for candidate in candidates), default=ttl))
