"""All packages of the API but those of messages and sessions, for one set of scripts.

services = install_services(registry, host)
… load the scripts …
services.begin(loop)        # they are asked from now on
services.release(connection)  # a session has ended
services.retire()             # sessions that begin ask others
services.end()
"""

import asyncio
from dataclasses import dataclass

from outrider.policy.lua.api import (
    absent,
    audit,
    audit_series,
    cidr,
    counters,
    db,
    dkim,
    http,
    json_text,
    policyeditor,
    reports,
    text,
    xml_tree,
)
from outrider.policy.lua.api import timers as timers_package
from outrider.policy.lua.api.coverage import by_name
from outrider.policy.lua.api.coverage_services import SERVICE_ROWS
from outrider.policy.lua.api.host import Host
from outrider.policy.lua.api.timers import Mutexes, Timers
from outrider.policy.lua.registry import LuaRegistry


@dataclass(frozen=True, slots=True)
class Services:
    """What begins and ends with a set of scripts."""

    timers: Timers
    mutexes: Mutexes
    host: Host

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """The scripts are asked from now on: timers run."""
        self.timers.begin(loop)

    def retire(self) -> None:
        """Only sessions that began before ask the scripts now."""
        self.timers.retire()

    def end(self) -> None:
        """The scripts are not asked any more."""
        self.timers.end()
        self.host.names.release(self.host)

    def release(self, connection: object) -> None:
        """A session has ended; what it holds is let go of."""
        self.mutexes.release(connection)
        self.host.names.release(connection)


def install_services(registry: LuaRegistry, host: Host) -> Services:
    """Register all packages; once for each set of scripts."""
    rows = by_name(SERVICE_ROWS)
    counting = (audit_series, audit, cidr, counters)
    for package in (db, *counting, text, json_text, xml_tree, http, reports, dkim, absent):
        package.register(registry, host, rows)
    policyeditor.register(registry, host, rows)
    return Services(*timers_package.register(registry, host, rows), host)
