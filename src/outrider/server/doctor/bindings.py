"""Addresses that mail is to leave from belong to this host, or to a proxy's, and have the binding's name.

In: settings. Out: findings; and for `check-config`, which may run on another host, just the strangers.

Theory: what counts is what a path of a binding gets in the end, so the resolver is asked, for each binding
and for each override that names addresses. Where the kernel lets us bind to an address it is ours.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import NamedTuple

from outrider.model.flow import Path
from outrider.model.scopes import ALL
from outrider.net.answers import Lookup
from outrider.net.listen import is_local_address
from outrider.server.bindings import delivery_of
from outrider.server.doctor.finding import Finding, fault, good
from outrider.server.doctor.names import check_hostname, check_source
from outrider.server.settings import Settings

CHECK = "bindings.addresses"


class Sender(NamedTuple):
    """An address that mail leaves from.

    Attributes:
        address: The address.
        place: Binding or option that gives it.
    """

    address: str
    place: str


def senders(settings: Settings) -> list[Sender]:
    """Every address that this host itself has to send from, each with the first that gives it."""
    found: dict[str, str] = {}
    delivery = delivery_of(settings)
    for place, path in _paths(settings):
        options = delivery.for_path(path)
        if not options.proxy:
            for address in options.source_addresses:
                found.setdefault(address, place)
    return [Sender(address, place) for address, place in found.items()]


async def check_identities(lookup: Lookup, settings: Settings) -> list[Finding]:
    """The EHLO name of each binding exists, and its addresses lead to that name and back."""
    delivery = delivery_of(settings)
    asked: list[Awaitable[list[Finding]]] = []
    for binding in settings.binding:
        options = delivery.for_path(Path("smtp", binding.name, ""))
        name = options.ehlo_name or settings.server.hostname
        if options.ehlo_name:
            asked.append(check_hostname(lookup, name, option=f"ehlo_name of binding {binding.name}"))
        asked += [
            check_source(lookup, name, address, option=f"binding {binding.name}")
            for address in options.source_addresses
        ]
    return [finding for found in await asyncio.gather(*asked) for finding in found]


def _paths(settings: Settings) -> Iterator[tuple[str, Path]]:
    """One path for everything that gives addresses."""
    for binding in settings.binding:
        yield f"binding {binding.name}", Path("smtp", binding.name, "")
    members = {group: binding for binding, groups in settings.memberships.items() for group in groups}
    for number, override in enumerate(settings.delivery.override):
        if override.source_addresses:
            name = override.binding
            if name == ALL:
                name = members.get(override.group, ALL)
            name = name.replace(ALL, "any", 1)
            yield f"delivery.override.{number}", Path("smtp", name, override.site.replace(ALL, "any", 1))
    if settings.delivery.default.source_addresses:
        yield "delivery.default", Path("smtp", "any", "any")


def strangers(settings: Settings, is_local: Callable[[str], bool] = is_local_address) -> list[Sender]:
    """Those of `senders` that are no addresses of this host."""
    return [sender for sender in senders(settings) if not is_local(sender.address)]


def check_bindings(settings: Settings, is_local: Callable[[str], bool] = is_local_address) -> list[Finding]:
    """A fault for each stranger; one line where all is well."""
    known = senders(settings)
    away = strangers(settings, is_local)
    if known and not away:
        return [good(CHECK, f"{len(known)} addresses to send from belong to this host")]
    return [
        fault(
            CHECK,
            f"{sender.place}: {sender.address} is no address of this host; mail of it waits",
            f"ip address add {sender.address} dev …, or set proxy where it lives on another host",
        )
        for sender in away
    ]
