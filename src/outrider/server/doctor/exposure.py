"""Who may reach the listeners, and what they may do there.

Theory: an open relay is found within hours and costs the reputation of its address for months. Nothing is
open by default, so what is reported here is what the configuration says on purpose or by accident.
"""

import ipaddress
from pathlib import Path

from outrider.base.errors import ConfigError
from outrider.net.tls import certificate_facts, server_context
from outrider.receive.http_options import HttpOptions
from outrider.receive.options import ListenerOptions, Role, TlsMode
from outrider.server.doctor.finding import Finding, fault, good, note, warning
from outrider.server.settings import Settings

BROAD_IPV4 = 16
BROAD_IPV6 = 32
# chosen: a network of 65,536 public addresses, or a whole provider's IPv6, is seldom one's own
DAY_SECONDS = 86_400
EXPIRES_SOON_SECONDS = 14 * DAY_SECONDS
# chosen: automatic renewal happens 30 days before the end; what is left at 14 has failed


def is_loopback(address: str) -> bool:
    """True when only this machine reaches a listener at `address`."""
    return address == "localhost" or ipaddress.ip_address(address).is_loopback


def check_exposure(settings: Settings) -> list[Finding]:
    """All listeners."""
    found = [finding for one in settings.listener for finding in _check_listener(one)]
    found += [_check_http(one) for one in settings.http]
    record = settings.record
    if record.metrics_port and not is_loopback(record.metrics_address):
        found.append(
            warning(
                "listener.metrics",
                f"everybody who reaches {record.metrics_address}:{record.metrics_port} can read the metrics",
                "set record.metrics_address to 127.0.0.1, or let a firewall allow your collector only",
            )
        )
    return found


def _is_broad(text: str) -> bool:
    """A network that is not one's own: of many addresses, public ones."""
    network = ipaddress.ip_network(text)
    broad = network.prefixlen < (BROAD_IPV6 if network.version == 6 else BROAD_IPV4)
    return broad and not (network.is_private or network.is_loopback)


def _check_listener(one: ListenerOptions) -> list[Finding]:
    check = f"listener.{one.name}"
    place = f"{one.address}:{one.port}"
    if one.role is Role.INBOUND:
        return [
            good(
                check,
                f"{place} takes mail for its {len(one.mailbox)} mailbox addresses and relays for nobody",
            )
        ]
    found: list[Finding] = []
    found += [
        fault(
            check,
            f"everybody in {text} may tell policy scripts what they like about connections to {place}",
            "name only the networks of your own programs and relays in context_networks",
        )
        for text in one.context_networks
        if _is_broad(text)
    ]
    for text in one.trusted_networks:
        network = ipaddress.ip_network(text)
        if _is_broad(text):
            found.append(
                fault(
                    check,
                    f"OPEN RELAY: everybody in {network} ({network.num_addresses} addresses) may send "
                    f"through {place} to anybody without a password",
                    "name only the networks of your own machines in trusted_networks",
                )
            )
    public = not is_loopback(one.address)
    if public and one.auth_without_tls:
        found.append(
            fault(
                check,
                f"passwords cross the network in clear text: auth_without_tls on {place}",
                'remove auth_without_tls and set tls = "starttls" with a certificate',
            )
        )
    if found:
        return found
    who = "whoever reaches this machine" if public else "programs on this machine"
    may = []
    if one.trusted_networks and not one.require_auth:
        may.append(f"{', '.join(one.trusted_networks)} may relay without a password")
    if one.offer_auth and (one.tls is not TlsMode.NONE or one.auth_without_tls):
        may.append("users with a password may relay")
    what = f"{place} is reached by {who}; {' and '.join(may) or 'nobody may relay there'}"
    if not may:
        return [note(check, what, "name trusted_networks, or set tls and add users")]
    if public and one.tls is TlsMode.NONE and one.trusted_networks:
        return [
            warning(
                check,
                f"{what}; mail and senders cross the network in clear text",
                'set tls = "starttls" with a certificate',
            )
        ]
    return [good(check, what)]


def _check_http(one: HttpOptions) -> Finding:
    check = f"listener.{one.name}"
    place = f"{one.address}:{one.port}"
    if is_loopback(one.address):
        return good(check, f"{place} is reached by programs on this machine, with a key")
    return warning(
        check,
        f"keys and mail reach {place} in clear text over the network",
        "put a proxy with TLS before it and listen on 127.0.0.1",
    )


def check_certificates(settings: Settings, wall_time: float) -> list[Finding]:
    """Certificates fit their keys, are for our name, and do not end soon."""
    found = []
    for one in settings.listener:
        if one.tls is TlsMode.NONE or one.certificate is None:
            continue
        found.append(
            check_certificate(
                f"tls.{one.name}", one.certificate, one.private_key, settings.server.hostname, wall_time
            )
        )
    return found


def check_certificate(
    check: str, certificate: Path, key: Path | None, hostname: str, wall_time: float
) -> Finding:
    """One certificate."""
    try:
        server_context(certificate, key, where=check)
        facts = certificate_facts(certificate)
    except ConfigError as error:
        return fault(check, error.message, "give PEM files that belong together")
    left = facts.not_after_time - wall_time
    if left <= 0:
        return fault(check, f"{certificate} is past its end", "renew it, then reload")
    if facts.not_before_time > wall_time:
        return fault(check, f"{certificate} is not valid yet", "look at the clock, or at the certificate")
    days = int(left // DAY_SECONDS)
    if left < EXPIRES_SOON_SECONDS:
        return warning(
            check, f"{certificate} ends in {days} days", "renew it now; automatic renewal has failed"
        )
    if not facts.is_for(hostname):
        return warning(
            check,
            f"{certificate} is for {', '.join(facts.names) or 'no name'}, not for {hostname}; clients that "
            "check it refuse to send",
            f"have it made for {hostname}, or for the name that clients use, and ignore this then",
        )
    return good(check, f"{certificate} is valid for {days} days")
