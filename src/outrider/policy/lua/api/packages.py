"""All packages of the API, for a state that is to be made.

In: a `Host`. Out: a registry, and the rows of all functions.
"""

from typing import Final

from outrider.policy.lua.api import attempts, base, contexts, core, message, message_rows
from outrider.policy.lua.api.coverage import by_name
from outrider.policy.lua.api.coverage_services import SERVICE_ROWS
from outrider.policy.lua.api.host import Host
from outrider.policy.lua.api.services import Services, install_services
from outrider.policy.lua.registry import LuaRegistry

ROWS: Final = by_name((*message_rows.ROWS, *SERVICE_ROWS))
"""Every function that there is, or that is not carried over."""

_PACKAGES: Final = (core, contexts, message)


def make_registry(host: Host) -> tuple[LuaRegistry, Services]:
    """What scripts can call, and what begins and ends with a set of them."""
    registry = LuaRegistry()
    for package in _PACKAGES:
        package.register(registry, host, ROWS)
    attempts.register(registry)
    services = install_services(registry, host)
    base.register(registry, host, ROWS)
    return registry, services
