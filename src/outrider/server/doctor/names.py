"""DNS as receivers look at it: our name, our addresses and back, and whether mail gets out at all.

Theory: receivers look up the address that connects, want a name there, want that name to lead back to the
address, and want the name that the server says in EHLO to exist. What is missing there costs delivery, not
mail.

Standards: RFC 5321 §4.1.1.1 (EHLO), RFC 7505 §3 (null MX).
"""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable, Sequence

from outrider.net.answers import Answer, Kind, Lookup, Status
from outrider.server.doctor.finding import Finding, fault, good, note, warning

UNKNOWN_ENDS = (".localdomain", ".invalid", ".local")
# RFC 6761 §6.4, names of the local link, and the default
CONNECT_SECONDS = 10.0
# chosen: who does not answer by then is not reached
PROBES = ("192.0.2.1", "2001:db8::1")
# RFC 5737 §3, and its like for IPv6: nothing is sent; the system says what it would send from


def system_sources() -> list[str]:
    """The addresses from which this machine speaks to the world, by its routes."""
    found = []
    for probe in PROBES:
        family = socket.AF_INET6 if ":" in probe else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as asked:
                asked.connect((probe, 9))
                found.append(str(asked.getsockname()[0]))
        except OSError:
            continue
    return found


def is_public_name(hostname: str) -> bool:
    """False for a name that receivers cannot look up, whatever DNS says here."""
    return "." in hostname and not hostname.endswith(UNKNOWN_ENDS)


async def check_hostname(lookup: Lookup, hostname: str, *, option: str = "server.hostname") -> list[Finding]:
    """The name that we greet with exists; `option` says where it is configured."""
    check = "dns.hostname"
    if not is_public_name(hostname):
        return [
            warning(
                check,
                f"{option} is {hostname}, which no receiver can look up",
                f"set {option} to a fully qualified name that leads to the address you send from",
            )
        ]
    four, six = await asyncio.gather(lookup.lookup(hostname, Kind.A), lookup.lookup(hostname, Kind.AAAA))
    addresses = [*four.addresses, *six.addresses]
    if addresses:
        return [good(check, f"{hostname} leads to {', '.join(addresses)}")]
    if Status.FAILED in {four.status, six.status}:
        return [_unanswered(check, hostname, four if four.status is Status.FAILED else six)]
    return [
        fault(
            check,
            f"{option} {hostname} has no address in DNS; many receivers refuse such a greeting",
            f"publish an A or AAAA record for {hostname}, or set {option} to the name of your address",
        )
    ]


async def check_source(lookup: Lookup, hostname: str, address: str, *, option: str = "") -> list[Finding]:
    """An address that we send from has a name, which leads back to it.

    Args:
        lookup: Who answers.
        hostname: `server.hostname`.
        address: The address.
        option: Where it is configured; empty when the system chose it.
    """
    check = "dns.reverse"
    where = f"{address} ({option})" if option else address
    if not ipaddress.ip_address(address).is_global and not option:
        return [
            note(
                check,
                f"this machine sends from {where}, which is no public address; receivers see another one",
                "if it is behind NAT, look at the reverse name of the public address yourself, and list that "
                "address in net.own_addresses",
            )
        ]
    answer = await lookup.lookup(reverse_name(address), Kind.PTR)
    if answer.status is Status.FAILED:
        return [_unanswered(check, where, answer)]
    if not answer.names:
        return [
            fault(
                check,
                f"{where} has no name in reverse DNS; large receivers refuse mail from it",
                f"have the owner of the address set its PTR record to {hostname}",
            )
        ]
    kind = Kind.AAAA if ":" in address else Kind.A
    forward = await asyncio.gather(*(lookup.lookup(name, kind) for name in answer.names))
    back = [name for name, found in zip(answer.names, forward, strict=True) if _has(found, address)]
    if not back:
        return [
            fault(
                check,
                f"{where} is named {', '.join(answer.names)}, but that name does not lead back to it",
                f"publish an address record of {address} for {answer.names[0]}, or correct the PTR record",
            )
        ]
    if hostname.lower() not in back:
        return [
            warning(
                check,
                f"{where} is named {', '.join(back)}, mail from it greets as {hostname}",
                "let the name that it greets with and the name of the address be the same",
            )
        ]
    return [good(check, f"{where} is named {hostname}, and back")]


async def _greeting(address: str, port: int) -> bytes:
    """The first line of a server's greeting; empty where it closes without one.

    Raises:
        OSError, TimeoutError, ValueError: It cannot be reached, says nothing in time, or too long a line.
    """
    async with asyncio.timeout(CONNECT_SECONDS):
        reader, writer = await asyncio.open_connection(address, port)
        try:
            return await reader.readline()
        finally:
            writer.close()


async def check_reach(lookup: Lookup, domain: str, port: int) -> list[Finding]:
    """Mail to a domain gets out: its exchangers are found and the first one answers."""
    check = "mx.reach"
    answer = await lookup.lookup(domain, Kind.MX)
    if answer.status is Status.FAILED:
        return [_unanswered(check, f"the MX records of {domain}", answer)]
    hosts = [name for _, name in sorted(answer.exchangers)] or [domain]
    if hosts == [""]:
        return [note(check, f"{domain} takes no mail (null MX)", "try another domain")]
    tried = []
    for host in hosts:
        for address in await _addresses(lookup, host):
            try:
                greeting = await _greeting(address, port)
            except (OSError, TimeoutError, ValueError) as error:
                tried.append(f"{host} [{address}]: {str(error) or type(error).__name__}")
                continue
            if greeting.startswith(b"220"):
                return [good(check, f"{domain}: {host} [{address}] greets on port {port}")]
            tried.append(f"{host} [{address}]: {greeting[:80].decode('latin-1').strip() or 'closed'!r}")
    return [
        fault(
            check,
            f"no exchanger of {domain} greets on port {port}: {'; '.join(tried[:4]) or 'it has no address'}",
            f"many networks block outgoing port {port}: ask yours to open it, or send through a smart host",
        )
    ]


async def check_names(
    lookup: Lookup, hostname: str, sources: Sequence[tuple[str, str]], reach: Iterable[str], port: int
) -> list[Finding]:
    """All of it; `sources` are (address, option)."""
    parts = await asyncio.gather(
        check_hostname(lookup, hostname),
        *(check_source(lookup, hostname, address, option=option) for address, option in sources),
        *(check_reach(lookup, domain, port) for domain in reach),
    )
    return [finding for part in parts for finding in part]


def reverse_name(address: str) -> str:
    """The name under which an address has its PTR record (RFC 1035 §3.5, RFC 3596 §2.5)."""
    return ipaddress.ip_address(address).reverse_pointer


async def _addresses(lookup: Lookup, host: str) -> list[str]:
    answers = await asyncio.gather(lookup.lookup(host, Kind.A), lookup.lookup(host, Kind.AAAA))
    return [address for answer in answers for address in answer.addresses]


def _has(answer: Answer, address: str) -> bool:
    wanted = ipaddress.ip_address(address)
    return any(ipaddress.ip_address(found) == wanted for found in answer.addresses)


def _unanswered(check: str, what: str, answer: Answer) -> Finding:
    return fault(
        check,
        f"the nameservers gave no answer for {what}: {answer.trouble or 'failed'}",
        "look at net.nameservers and /etc/resolv.conf; without DNS no mail leaves",
    )
