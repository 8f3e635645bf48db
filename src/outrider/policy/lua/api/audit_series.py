"""`msys.audit_series`: how often something happened in a sliding span, over all workers of the node.

In: series as scripts define them, and what is added. Out: sums of windows.

Theory: a window of a key is one shared number (`policy.shared`), whose key holds the window's number, so
nothing is ever moved; it ends with the span. For networks each address counts in its prefixes of whole octets
(IPv4: /8 /16 /24 /32) or of the usual sizes (IPv6: /24 /32 /48 /56 /64 /128) as well, because a hash
cannot be summed over; other prefixes are refused.

Invariant: what any worker added is in every worker's next count. A series is the same after a reload as long
as its name, type and interval are; with `persist` also after a restart.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from outrider.policy.audit import PREFIXES
from outrider.policy.lua.api.coverage import Row
from outrider.policy.lua.api.host import Host, install, octets_of, options_of, text_of, whole_of
from outrider.policy.lua.convert import kind_of
from outrider.policy.lua.registry import LuaRegistry

_TYPES: Final = frozenset({"cidr", "cidr_ipv6", "string"})
_OPTIONS: Final = frozenset({"serialize", "replicate", "persist"})
_KEYED: Final = frozenset({"key", "count", "startv", "endv"})
_REPLICAS: Final = frozenset({"none", "cluster", "manager"})
_WINDOWS_MAX: Final = 1_440
# chosen: a day in minutes; each window that is counted is looked up
_WARN_SECONDS: Final = 60.0
# chosen


@dataclass(frozen=True, slots=True)
class Series:
    """One series.

    Attributes:
        name: Of the script's choice.
        version: 4 or 6 for addresses, 0 for strings.
        interval: Seconds of a window.
        windows: How many there are.
        is_kept: It goes on after a restart.
    """

    name: bytes
    version: int
    interval: int
    windows: int
    is_kept: bool


class AuditSeries:
    """The functions of `msys.audit_series`, for one set of scripts."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._series: dict[bytes, Series] = {}
        self._dropped = host.shared.dropped
        self._warned_at = -_WARN_SECONDS

    def define(self, name: Any, kind: Any, interval: Any, num_windows: Any, options: Any = None) -> None:
        """Make a series known."""
        chosen = options_of(options, _OPTIONS, "msys.audit_series.define")
        type_name = text_of(kind, "a type")
        if type_name not in _TYPES:
            raise ValueError(f"there is no type {type_name!r}; there are {', '.join(sorted(_TYPES))}")
        seconds, windows = whole_of(interval, "an interval"), whole_of(num_windows, "a number of windows")
        if seconds < 1 or not 1 <= windows <= _WINDOWS_MAX:
            raise ValueError(f"a series has windows of 1 second or more, and 1 to {_WINDOWS_MAX} of them")
        replicate = text_of(chosen.get("replicate", b"none"), "replicate")
        if replicate not in _REPLICAS:
            raise ValueError(f"replicate is one of {', '.join(sorted(_REPLICAS))}")
        if replicate != "none" or chosen.get("serialize"):
            what = "serialize" if chosen.get("serialize") else f"replicate {replicate!r}"
            self._host.log.warning(
                "policy.audit_series_option", option=what, text="counted on this node only"
            )
        if len(self._series) >= self._host.limits.definitions:
            raise ValueError(f"scripts define at most {self._host.limits.definitions} series")
        key = octets_of(name, "a name")
        version = {"string": 0, "cidr": 4, "cidr_ipv6": 6}[type_name]
        self._series[key] = Series(key, version, seconds, windows, chosen.get("persist") is True)

    def add(self, name: Any, options: Any = None) -> None:
        """Count one, or `count`, in the window that it is."""
        series, chosen = self._find(name), self._chosen(options)
        delta = whole_of(chosen.get("count", 1), "count")
        now = self._host.clock.wall()
        window = int(now // series.interval)
        until = float((window + series.windows) * series.interval)
        shared = self._host.shared
        for key in self._counted(series, chosen.get("key")):
            shared.add(shared.window(self._cell(series, key), window), delta, now, until)
        self._tell_dropped()

    def count(self, name: Any, options: Any = None) -> int:
        """The sum of some windows; 0 is the one that it is."""
        series, chosen = self._find(name), self._chosen(options)
        first = whole_of(chosen.get("startv", 0), "startv")
        last = whole_of(chosen.get("endv", chosen.get("startv", 0)), "endv")
        if not 0 <= first <= last:
            raise ValueError("windows are counted from startv to endv, 0 being the one that it is")
        now = self._host.clock.wall()
        window = int(now // series.interval)
        shared = self._host.shared
        cell = self._cell(series, self._asked(series, chosen.get("key")))
        return sum(
            shared.get(shared.window(cell, window - back), now) or 0
            for back in range(first, min(last, series.windows - 1) + 1)
        )

    def remove_item(self, name: Any, options: Any = None) -> None:
        """Forget a key."""
        series, chosen = self._find(name), self._chosen(options)
        now = self._host.clock.wall()
        window = int(now // series.interval)
        keys = [self._cell(series, key) for key in self._counted(series, chosen.get("key"))]
        shared = self._host.shared
        for back in range(series.windows):
            cells = [shared.window(key, window - back) for key in keys]
            value = shared.get(cells[0], now)
            if value:
                until = float((window - back + series.windows) * series.interval)
                for cell in cells:
                    shared.add(cell, -value, now, until)

    def _find(self, name: Any) -> Series:
        series = self._series.get(octets_of(name, "a name"))
        if series is None:
            known = ", ".join(sorted(key.decode("utf-8", "replace") for key in self._series)) or "none"
            raise ValueError(f"there is no series {text_of(name, 'a name')!r}; defined in init: {known}")
        return series

    @staticmethod
    def _chosen(options: Any) -> dict[str, Any]:
        if isinstance(options, dict):
            return options_of(options, _KEYED, "msys.audit_series")
        return {} if options is None else {"key": options}

    def _cell(self, series: Series, key: bytes) -> bytes:
        shape = b"%d %d" % (series.version, series.interval)
        return self._host.shared.key(b"audit_series", series.name, shape, key, is_kept=series.is_kept)

    def _counted(self, series: Series, key: Any) -> list[bytes]:
        """What a key counts in: itself first, and for an address its networks."""
        if not series.version:
            return [self._string(series, key)]
        network = self._network(series, key)
        if network.prefixlen != network.max_prefixlen:
            raise ValueError("an address is counted, not a network")
        address = network.network_address
        networks = [
            ipaddress.ip_network((address, prefix), strict=False) for prefix in PREFIXES[series.version]
        ]
        return [str(each).encode() for each in reversed(networks)]

    def _asked(self, series: Series, key: Any) -> bytes:
        if not series.version:
            return self._string(series, key)
        network = self._network(series, key)
        if network.prefixlen not in PREFIXES[series.version]:
            known = ", ".join(f"/{prefix}" for prefix in PREFIXES[series.version])
            raise ValueError(f"networks are counted for {known}, not for /{network.prefixlen}")
        return str(network).encode()

    @staticmethod
    def _string(series: Series, key: Any) -> bytes:
        if key is None:
            raise ValueError(f"series {series.name.decode('utf-8', 'replace')!r} needs a key")
        if isinstance(key, (bool, dict, list)):
            raise ValueError(f"the key of a series is a string, not {kind_of(key)}")  # noqa: TRY004 - scripts hear it
        return octets_of(key, "a key")

    def _network(self, series: Series, key: Any) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        text = "" if key is None or not isinstance(key, (bytes, str)) else text_of(key, "a key")
        address, slash, prefix = text.strip().partition("/")
        address = address.strip("[]") or self._host.peer()
        try:
            network = ipaddress.ip_network(address + slash + prefix, strict=False)
        except ValueError:
            raise ValueError(f"{text!r} is no address or network") from None
        if network.version != series.version:
            raise ValueError(f"series of IPv{series.version} count no IPv{network.version} addresses")
        return network

    def _tell_dropped(self) -> None:
        """Say now and then that there is too little room to count exactly."""
        shared, now = self._host.shared, self._host.clock.now()
        if shared.dropped != self._dropped and now - self._warned_at >= _WARN_SECONDS:
            dropped, self._dropped = shared.dropped - self._dropped, shared.dropped
            self._warned_at = now
            self._host.log.warning(
                "policy.shared_numbers_full", dropped=dropped, text="raise policy.shared_numbers"
            )


def register(registry: LuaRegistry, host: Host, rows: Mapping[str, Row]) -> None:
    """Register `msys.audit_series`."""
    series = AuditSeries(host)
    install(
        registry,
        host,
        rows,
        "msys.audit_series",
        {
            "define": series.define,
            "add": series.add,
            "count": series.count,
            "remove_item": series.remove_item,
        },
    )
