"""All checks of one configuration, in the order in which people read them."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from outrider.base.clock import Clock
from outrider.base.errors import ConfigError
from outrider.base.files import OsFiles
from outrider.server.doctor.bindings import check_bindings, check_identities
from outrider.server.doctor.database import check_database
from outrider.server.doctor.disk import check_disk
from outrider.server.doctor.exposure import check_certificates, check_exposure
from outrider.server.doctor.finding import Finding, fault, note
from outrider.server.doctor.machine import check_machine, read_machine
from outrider.server.doctor.names import check_names, system_sources
from outrider.server.doctor.ownership import check_entry, check_ownership
from outrider.server.doctor.ports import check_ports, places
from outrider.server.doctor.signing import check_signing
from outrider.server.doctor.sources import check_sources
from outrider.server.doctor.spool import check_keys, check_spool, is_running
from outrider.server.resolvers import new_resolver
from outrider.server.settings import Settings

SMTP_PORT = 25
# RFC 5321 §4.5.4.2


def source_addresses(settings: Settings) -> list[tuple[str, str]]:
    """(address, option) of every address that receivers see."""
    found = [
        (address, "delivery source_addresses")
        for one in (settings.delivery.default, *settings.delivery.override)
        for address in one.source_addresses or ()
    ]
    found += [(address, "net.own_addresses") for address in settings.net.own_addresses]
    return list(dict.fromkeys(found)) or [(address, "") for address in system_sources()]


async def examine(
    settings: Settings,
    config_files: Sequence[Path],
    make_clock: Callable[[], Clock],
    environment: Mapping[str, str],
    *,
    reach: Sequence[str] = (),
    reach_port: int = SMTP_PORT,
) -> list[Finding]:
    """Everything.

    Args:
        settings: The configuration.
        config_files: Where it came from.
        make_clock: Gives a clock that takes the wall's time when made.
        environment: Usually `os.environ`.
        reach: Domains to whose exchangers a connection is tried.
        reach_port: Their port.
    """
    files, clock = OsFiles(), make_clock()
    state = settings.server.state_directory
    where = state if state.is_dir() else nearest(state)
    if state.is_dir() and not os.access(state, os.R_OK | os.X_OK):
        return [check_entry(state)]
    running = is_running(state)
    findings = [
        *check_ownership(settings, config_files),
        *check_keys(settings, environment),
        *check_signing(settings, environment, clock),
        *check_spool(files, settings),
        await check_database(settings),
        *check_disk(files, where, settings.server.min_free_bytes, clock),
        *check_machine(read_machine(make_clock), settings),
        *check_bindings(settings),
        *check_exposure(settings),
        *check_certificates(settings, clock.wall()),
        *await check_ports(places(settings), running=running),
        *await check_sources(settings, environment, make_clock),
    ]
    try:
        lookup = new_resolver(settings.net, clock)
    except ConfigError as error:
        return [*findings, fault("dns.servers", error.message, "name them in net.nameservers")]
    findings += await check_identities(lookup, settings)
    findings += await check_names(
        lookup, settings.server.hostname, source_addresses(settings), reach, reach_port
    )
    if not reach:
        findings.append(
            note(
                "mx.reach",
                "whether mail gets out of this network was not tried",
                "outrider doctor --reach DOMAIN connects to the exchanger of that domain",
            )
        )
    return findings


def nearest(path: Path) -> Path:
    """The first directory above `path` that exists."""
    while not path.is_dir() and path != path.parent:
        path = path.parent
    return path if os.access(path, os.R_OK) else Path("/")
