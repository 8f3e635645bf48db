"""All checks of one sending domain, in the order in which people read them."""

import asyncio
from collections.abc import Mapping, Sequence

from outrider.base.clock import Clock
from outrider.base.errors import ConfigError
from outrider.base.log import NullLog
from outrider.model.binding import DEFAULT, NONE
from outrider.model.flow import Path
from outrider.net.answers import Lookup
from outrider.net.mx import MxResolver
from outrider.server.bindings import delivery_of
from outrider.server.doctor.finding import Finding
from outrider.server.doctor.names import check_hostname, check_source, system_sources
from outrider.server.preflight.exchangers import Reach, check_exchangers
from outrider.server.preflight.leftovers import check_leftovers
from outrider.server.preflight.policy import check_dkim, check_dmarc
from outrider.server.preflight.report import Part, SendingAs
from outrider.server.preflight.spf import check_spf
from outrider.server.settings import Settings
from outrider.server.signing import uses_of
from outrider.server.signing_queried import queried_uses


def sending_as(settings: Settings, domain: str, binding: str) -> SendingAs:
    """How mail of a binding leaves, by the options of delivery; `policy.default_binding` where none is named.

    Raises:
        ConfigError: There is no binding of that name, or it is a group.
    """
    usual = settings.policy.default_binding
    name = binding or (DEFAULT if usual == NONE else usual)
    if name not in settings.binding_names:
        raise ConfigError(_no_binding(settings, name))
    options = delivery_of(settings).for_path(Path("smtp", name, domain))
    addresses = [(address, "delivery source_addresses") for address in options.source_addresses]
    own = [(address, "net.own_addresses") for address in settings.net.own_addresses]
    return SendingAs(
        name,
        tuple(addresses or own or [(address, "") for address in system_sources()]),
        options.ehlo_name or settings.server.hostname,
    )


def _no_binding(settings: Settings, name: str) -> str:
    for group in settings.binding_group:
        if group.name == name:
            members = ", ".join(member.binding for member in group.members)
            return f"{name!r} is a group; name one of its members: {members}"
    return f"there is no binding {name!r}; there are: {', '.join(sorted(settings.binding_names))}"


async def preflight(
    settings: Settings,
    environment: Mapping[str, str],
    clock: Clock,
    lookup: Lookup,
    domain: str,
    sender: SendingAs,
    *,
    tenant: str = "",
    reach_port: int | None = None,
) -> list[Part]:
    """Everything.

    Args:
        settings: The configuration.
        environment: Usually `os.environ`.
        clock: For keys and connections.
        lookup: Who answers questions to DNS.
        domain: The domain of From and MAIL FROM, A-labels, lower case.
        sender: How its mail leaves.
        tenant: Whose mail.
        reach_port: Port of exchangers to connect to; None connects to nobody.
    """
    uses = uses_of(settings, environment, clock, domain, tenant)
    uses += await queried_uses(settings, environment, clock, domain, tenant)
    reach = None
    if reach_port is not None:
        options = delivery_of(settings).for_path(Path("smtp", sender.binding, domain))
        reach = Reach(options, settings.net.tls, sender.ehlo_name, clock, reach_port)
    resolver = MxResolver(lookup, settings.net, log=NullLog())
    return list(
        await asyncio.gather(
            check_spf(lookup, domain, sender),
            check_dkim(lookup, domain, uses),
            check_dmarc(lookup, domain, uses, domain),
            _names(lookup, sender),
            check_exchangers(resolver, domain, reach),
            check_leftovers(lookup, domain),
        )
    )


async def _names(lookup: Lookup, sender: SendingAs) -> Part:
    found: Sequence[Sequence[Finding]] = await asyncio.gather(
        check_hostname(lookup, sender.ehlo_name),
        *(
            check_source(lookup, sender.ehlo_name, address, option=option)
            for address, option in sender.addresses
        ),
    )
    return Part(tuple(finding for findings in found for finding in findings))
