"""`msys.audit`: what the SMTP listeners count by network, see `policy.audit`.

In: a monitor, windows, a network in Momentum's spelling. Out: sums.

Theory: a network is an address, `address/mask`, or `/mask` around the client; none is the client itself. IPv6
addresses may stand in brackets.
"""

from collections.abc import Mapping
from typing import Any, Final

from outrider.policy.audit import Audit, Kind, Network, parse_network
from outrider.policy.lua.api.coverage import Row
from outrider.policy.lua.api.host import Host, install, options_of, text_of, whole_of
from outrider.policy.lua.registry import LuaRegistry

SERVICES: Final = ("SMTP", "ECStream", "Control", "ECmmove2", "ECCluster", "inbound_cidr")
"""Momentum's names of what listens; only the first has sessions from a network here."""

_OPTIONS: Final = frozenset({"startv", "endv", "cidr", "cluster"})


class Audits:
    """The functions of `msys.audit`, for one set of scripts."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._has_warned = False

    def connections(self, monitor: Any, options: Any = None) -> int:
        return self._count("connections", monitor, options)

    def receptions(self, monitor: Any, options: Any = None) -> int:
        return self._count("receptions", monitor, options)

    def rejections(self, monitor: Any, options: Any = None) -> int:
        return self._count("rejections", monitor, options)

    def inbound_session_count(self, cidr: Any = None, service: Any = None) -> int:
        """How many sessions a network has open now."""
        audit = self._audit("inbound_session_count")
        name = SERVICES[0] if service is None else text_of(service, "a service")
        if name not in SERVICES:
            raise ValueError(f"there is no service {name!r}; there are {', '.join(SERVICES)}")
        network = self._network(cidr)
        return audit.sessions(network) if name == SERVICES[0] else 0

    def _count(self, kind: Kind, monitor: Any, options: Any) -> int:
        audit, name = self._audit(kind), text_of(monitor, "a monitor")
        is_table = isinstance(options, (dict, list))
        chosen = (
            options_of(options or None, _OPTIONS, f"msys.audit.{kind}") if is_table else {"cidr": options}
        )
        first = whole_of(chosen.get("startv", 0), "startv")
        last = whole_of(chosen.get("endv", first), "endv")
        if not 0 <= first <= last:
            raise ValueError("windows are counted from startv to endv, 0 being the one that it is")
        if chosen.get("cluster") and not self._has_warned:
            self._has_warned = True
            self._host.log.warning(
                "policy.audit_series_option", option="cluster", text="counted on this node only"
            )
        return audit.total(kind, audit.monitor(name), self._network(chosen.get("cidr")), first, last)

    def _audit(self, name: str) -> Audit:
        audit = self._host.audit
        if audit is None:
            raise ValueError(
                f"msys.audit.{name}: nothing is counted; name a monitor in policy.audit_monitors"
            )
        return audit

    def _network(self, cidr: Any) -> Network:
        text = "" if cidr is None else text_of(cidr, "a network").strip()
        address, slash, prefix = text.partition("/")
        return parse_network((address.strip("[]") or self._host.peer()) + slash + prefix)


def register(registry: LuaRegistry, host: Host, rows: Mapping[str, Row]) -> None:
    """Register `msys.audit`."""
    audits = Audits(host)
    install(
        registry,
        host,
        rows,
        "msys.audit",
        {
            "connections": audits.connections,
            "receptions": audits.receptions,
            "rejections": audits.rejections,
            "inbound_session_count": audits.inbound_session_count,
        },
    )
