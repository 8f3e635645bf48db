"""Where mail back to a sending domain goes, and how its exchangers answer: TLS, and whose certificate.

A domain that sends must take mail: bounces, replies and complaints go there, and receivers refuse senders
that cannot be answered.

Standards: RFC 5321 §5.1 (MX), RFC 7505 §4.2 (null MX), RFC 3207 §4 (STARTTLS).
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from outrider.base.clock import Clock
from outrider.base.log import NullLog
from outrider.deliver.options import DeliveryOptions
from outrider.deliver.smtp.connection import Connection
from outrider.deliver.smtp.connector import Connector
from outrider.deliver.smtp.hosts import HostMemory
from outrider.model.flow import Host, Outcome, Path
from outrider.model.ports import MailResolver
from outrider.model.route import Exchanger, RouteFailure
from outrider.net.options import TlsOptions
from outrider.net.tls import TlsContexts
from outrider.server.doctor.finding import Finding, fault, good, note, warning
from outrider.server.preflight.report import Part

REACH_SECONDS = 15.0
"""Chosen: who has not answered by then is not reached."""

EXCHANGERS_MAX = 4
"""Chosen: what holds for the first few holds for the rest."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A connection to one host, to see how it answers; a `connector.Wanted`."""

    path: Path
    options: DeliveryOptions
    hosts: Sequence[Host]


class Reach:
    """Connects to exchangers and hangs up.

    Args:
        options: How mail to the domain would be delivered.
        tls: Trusted authorities.
        ehlo_name: What we call ourselves.
        clock: For the connection's own times.
        port: Of exchangers.
    """

    def __init__(
        self, options: DeliveryOptions, tls: TlsOptions, ehlo_name: str, clock: Clock, port: int
    ) -> None:
        self._options = options
        self.port = port
        self._connections: set[Connection] = set()
        self._connector = Connector(
            hostname=ehlo_name,
            memory=HostMemory(clock),
            tls=TlsContexts(tls),
            clock=clock,
            log=NullLog(),
            register=self._connections,
        )

    async def look(self, exchanger: Exchanger) -> Finding:
        """How one exchanger answers: verified TLS, unverified, none, or not at all."""
        check = "tls.exchanger"
        verified, why = await self._try(exchanger, "required")
        if verified is not None:
            return good(check, f"{exchanger.name}: {verified}, with a valid certificate")
        opportunistic, trouble = await self._try(exchanger, "opportunistic")
        if opportunistic is None:
            return note(check, f"{exchanger.name} was not reached: {trouble}", "many networks block port 25")
        if opportunistic:
            return warning(
                check,
                f"{exchanger.name}: {opportunistic}, but {why}",
                "give it a certificate for its name: senders that require TLS do not deliver",
            )
        return warning(check, f"{exchanger.name} offers no TLS", "switch STARTTLS on")

    async def _try(self, exchanger: Exchanger, tls: str) -> tuple[str | None, str]:
        """The TLS of a session (empty without), or None and why there was none."""
        hosts = [
            Host(exchanger.name, address, exchanger.port or self.port) for address in exchanger.addresses[:2]
        ]
        options = self._options.model_copy(update={"tls": tls, "auth_user": "", "password_file": ""})
        probe = Probe(Path("smtp", "default", exchanger.name), options, hosts)
        try:
            async with asyncio.timeout(REACH_SECONDS):
                found = await self._connector.connect(probe)
        except TimeoutError:
            return None, f"no session within {REACH_SECONDS:.0f} s"
        if isinstance(found, Outcome):
            return None, str(found.reply)
        found.discard()
        return found.tls or "", ""


async def check_exchangers(resolver: MailResolver, domain: str, reach: Reach | None) -> Part:
    """The route of mail back to the domain, and its TLS where `reach` may connect."""
    check = "mx.route"
    route = await resolver.route(domain)
    if isinstance(route, RouteFailure) and route.reply.is_transient:
        return Part((fault(check, f"{domain}: {route.reply.text}", "try again; look at net.nameservers"),))
    if isinstance(route, RouteFailure):
        return Part(
            (
                warning(
                    check,
                    f"{domain} takes no mail: {route.reply.text}",
                    "publish MX records: bounces and replies go there, and receivers refuse senders without",
                ),
            )
        )
    names = ", ".join(exchanger.name for exchanger in route.exchangers)
    findings = [good(check, f"mail for {domain} goes to {names}")]
    if route.implicit:
        findings.append(
            warning(check, f"{domain} has no MX record; its own address serves", "publish an MX record")
        )
    if reach is None:
        findings.append(note("tls.exchanger", "the exchangers were not connected to"))
    else:
        findings += await asyncio.gather(*map(reach.look, route.exchangers[:EXCHANGERS_MAX]))
    return Part(tuple(findings))
