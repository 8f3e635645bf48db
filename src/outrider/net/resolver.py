"""The resolver: questions to recursive nameservers, with a cache, bounds and a deadline.

In: a name (A-labels, lower case) and a type. Out: an `Answer`; a failure is one too.

Theory: we ask recursive servers and follow only what their answer leaves open. CNAMEs are followed inside
an answer and, when its chain ends outside, by a new question; hops are counted over all of them and a name
is visited once, so a loop costs a bounded number of questions. Servers are asked in order, beginning with
the one that answered last; what one cannot answer, the next may.

Invariants: one question costs at most `query_rounds` times servers exchanges for each CNAME hop, each at most
two (once without EDNS), and all of it `lookup_deadline_seconds`.
Standards: RFC 1034 §3.6.2 (CNAME), RFC 2308 §2.2 (referrals), RFC 2308 §5 (negative TTL),
RFC 6891 §7 (servers without EDNS).
Not here: DNSSEC and TLSA, which come with DANE.
"""

import asyncio
from collections.abc import Callable, Sequence

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.resolver
import dns.rrset
from msgspec.structs import replace

from outrider.base.clock import Clock
from outrider.base.errors import ConfigError
from outrider.base.log import Log
from outrider.net.answers import Answer, Kind, Status
from outrider.net.cache import DnsCache
from outrider.net.exchange import ANSWER_RECORDS_MAX, CutShortError, ExchangeError, exchange
from outrider.net.options import DNS_PORT, NetOptions, split_host_port

EDNS_PAYLOAD_OCTETS = 1_232
# Largest UDP answer we ask for: 1280 (RFC 8200 §5, smallest IPv6 MTU) less 48 for the headers.

CNAME_HOPS_MAX = 8
# Aliases followed for one question; chosen: honest chains have one to four.

UNTOLD_NEGATIVE_TTL_SECONDS = 60.0
# A negative answer without SOA should not be kept long (RFC 2308 §5); a minute is chosen.

NO_TCP = "cut short by UDP, none by TCP; let TCP to port 53 pass"
# What a firewall does to long answers (RFC 7766 §5 asks for TCP).

Server = tuple[str, int]
RandomBits = Callable[[int], int]


class DnsResolver:
    """See the module. Serves one event loop.

    Args:
        options: Nameservers, bounds and times.
        clock: For the cache.
        log: For servers that fail and answers that make no sense.
        random_bits: `random_bits(16)` gives the ids; unpredictable outside tests (`secrets.randbits`).
        servers: Overrides the nameservers of the options.
        tells_names: The log may hold the names that are asked for. Not of questions that a message makes:
            SPF's macros put the local part of its sender into them (RFC 7208 §7.2).
    """

    __slots__ = ("_log", "_options", "_random_bits", "_servers", "_slots", "_tells_names", "cache")

    def __init__(
        self,
        options: NetOptions,
        *,
        clock: Clock,
        log: Log,
        random_bits: RandomBits,
        servers: Sequence[Server] | None = None,
        tells_names: bool = True,
    ) -> None:
        self._options = options
        self._log = log
        self._random_bits = random_bits
        self._servers = list(servers if servers is not None else nameservers(options))
        self._tells_names = tells_names
        self._slots = asyncio.Semaphore(options.concurrent_queries)
        self.cache = DnsCache(options, clock)

    async def lookup(self, name: str, kind: Kind) -> Answer:
        """The answer for `name`; cached, and asked once for all who want it at the same time."""
        return await self.cache.get(name, kind, self._resolve)

    async def _resolve(self, name: str, kind: Kind) -> Answer:
        try:
            async with asyncio.timeout(self._options.lookup_deadline_seconds):
                return await self._follow(name, kind)
        except TimeoutError:
            return self._failed(name, kind, "deadline passed")
        except (dns.exception.DNSException, ValueError) as error:
            # A name that DNS cannot hold (label over 63 octets, empty label) exists nowhere.
            self._log.debug("dns.name_impossible", kind=kind.name, trouble=type(error).__name__)
            return Answer(Status.NO_NAME, UNTOLD_NEGATIVE_TTL_SECONDS)

    async def _follow(self, name: str, kind: Kind) -> Answer:
        target = dns.name.from_text(name)
        chain = _Chain(target, float(self._options.ttl_max_seconds))
        while True:
            response = await self._ask_servers(chain.target, kind)
            if isinstance(response, str):
                why = f"no nameserver has an answer ({response})" if response else "no nameserver answered"
                return self._failed(name, kind, why)
            try:
                found = chain.follow(response, kind)
            except _ChainError as error:
                return self._failed(name, kind, str(error))
            if found is not None:
                answer = _positive(found, kind, chain.ttl)
                if len(found) >= ANSWER_RECORDS_MAX:
                    self._log.warning("dns.answer_cut", **self._shown(name), kind=kind.name, kept=len(found))
                    answer = replace(answer, is_cut=True)
                return answer
            if not chain.moved:
                status = Status.NO_NAME if response.rcode() == dns.rcode.NXDOMAIN else Status.NO_DATA
                return Answer(status, min(chain.ttl, _negative_ttl(response)))

    async def _ask_servers(self, name: dns.name.Name, kind: Kind) -> dns.message.Message | str:
        """A response, or else what the last server said that said anything."""
        said = ""
        for _ in range(self._options.query_rounds):
            for server in tuple(self._servers):
                response = await self._ask(server, name, kind)
                if isinstance(response, str):
                    said = response or said
                else:
                    if self._servers[0] != server:
                        self._servers.remove(server)
                        self._servers.insert(0, server)
                    return response
        return said

    async def _ask(self, server: Server, name: dns.name.Name, kind: Kind) -> dns.message.Message | str:
        """A response that settles the question, or what it says instead, empty for nothing."""
        for edns in (True, False):
            query = dns.message.make_query(
                name,
                dns.rdatatype.RdataType(kind),
                use_edns=0 if edns else False,
                payload=EDNS_PAYLOAD_OCTETS,
                id=self._random_bits(16),
            )
            try:
                async with self._slots:
                    response = await exchange(query, server, self._options.query_timeout_seconds)
            except ExchangeError as error:
                self._log.debug("dns.server_failed", server=server[0], port=server[1], trouble=str(error))
                return NO_TCP if isinstance(error, CutShortError) else ""
            rcode = response.rcode()
            if rcode in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN) and not _is_referral(response):
                return response
            if rcode not in (dns.rcode.FORMERR, dns.rcode.NOTIMP):
                break
        said = dns.rcode.to_text(rcode)
        self._log.debug("dns.server_refused", server=server[0], port=server[1], code=said)
        return said if rcode != dns.rcode.NOERROR else "a referral"

    def _failed(self, name: str, kind: Kind, trouble: str) -> Answer:
        self._log.warning("dns.lookup_failed", **self._shown(name), kind=kind.name, trouble=trouble)
        return Answer(Status.FAILED, self._options.failure_ttl_seconds, trouble=trouble)

    def _shown(self, name: str) -> dict[str, str]:
        return {"domain": name} if self._tells_names else {}


def nameservers(options: NetOptions) -> list[Server]:
    """The configured nameservers, or those of the system.

    Raises:
        ConfigError: None are configured and the system names none.
    """
    if options.nameservers:
        return [split_host_port(text, DNS_PORT) for text in options.nameservers]
    try:
        system = dns.resolver.Resolver(configure=True)
    except (dns.exception.DNSException, OSError) as error:
        raise ConfigError("net.nameservers: the system names none in /etc/resolv.conf; name one") from error
    return [(str(server), system.port) for server in system.nameservers]


class _ChainError(Exception):
    """A CNAME chain that is too long or bites its tail."""


class _Chain:
    """A walk along CNAMEs, over one or several responses."""

    __slots__ = ("moved", "target", "ttl", "visited")

    def __init__(self, target: dns.name.Name, ttl: float) -> None:
        self.target = target
        self.ttl = ttl
        self.moved = False
        self.visited = {target}

    def follow(self, response: dns.message.Message, kind: Kind) -> dns.rrset.RRset | None:
        """The records at the end of the chain in `response`, or None; `moved` says that `target` did.

        Raises:
            _ChainError: See there.
        """
        self.moved = False
        wanted = dns.rdatatype.RdataType(kind)
        while True:
            found = _records(response, self.target, wanted)
            if found is not None:
                self.ttl = min(self.ttl, found.ttl)
                return found
            alias = _records(response, self.target, dns.rdatatype.CNAME)
            if alias is None:
                break
            self.ttl = min(self.ttl, alias.ttl)
            self.target = next(iter(alias)).target
            if self.target in self.visited:
                raise _ChainError("CNAME loop")
            self.visited.add(self.target)
            if len(self.visited) > CNAME_HOPS_MAX + 1:
                raise _ChainError("CNAME chain too long")
            self.moved = True
        if response.rcode() == dns.rcode.NXDOMAIN or _has_soa(response):
            self.moved = False  # the server followed the chain itself and says how it ends
        return None


def _records(
    response: dns.message.Message, name: dns.name.Name, kind: dns.rdatatype.RdataType
) -> dns.rrset.RRset | None:
    return response.get_rrset(response.answer, name, dns.rdataclass.IN, kind)


def _has_soa(response: dns.message.Message) -> bool:
    return any(rrset.rdtype == dns.rdatatype.SOA for rrset in response.authority)


def _is_referral(response: dns.message.Message) -> bool:
    """True where a server does not look further itself, which says nothing about the records of the name."""
    if response.answer or response.rcode() != dns.rcode.NOERROR or response.flags & dns.flags.AA:
        return False
    # RFC 2308 §2.2: by the SOA, or by the absence of NS, an answer without records is told from a referral
    return not _has_soa(response) and any(rrset.rdtype == dns.rdatatype.NS for rrset in response.authority)


def _positive(records: dns.rrset.RRset, kind: Kind, ttl: float) -> Answer:
    if kind is Kind.MX:
        exchangers = tuple((record.preference, _host_text(record.exchange)) for record in records)
        return Answer(Status.FOUND, ttl, exchangers=exchangers)
    if kind in {Kind.PTR, Kind.NS}:
        return Answer(Status.FOUND, ttl, names=tuple(_host_text(record.target) for record in records))
    if kind is Kind.TXT:  # RFC 7208 §3.3: the strings of a record are one text, without spaces between
        texts = tuple(b"".join(record.strings).decode("latin-1") for record in records)
        return Answer(Status.FOUND, ttl, texts=texts)
    return Answer(Status.FOUND, ttl, addresses=tuple(record.address for record in records))


def _host_text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower() if len(name) > 1 else ""


def _negative_ttl(response: dns.message.Message) -> float:
    for rrset in response.authority:
        if rrset.rdtype == dns.rdatatype.SOA:
            return float(min(rrset.ttl, next(iter(rrset)).minimum))
    return UNTOLD_NEGATIVE_TTL_SECONDS
