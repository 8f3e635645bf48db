"""`msys.cidr`: tables of networks, from a data source or a file of rbldnsd.

In: tables as scripts define them. Out: the value of the narrowest network that holds an address.

Theory: a table is read when it is first asked for, because nothing may wait while scripts load, and again
when it is older than its `refresh`: whoever asks first then waits, the others get what the old one says. A
table that cannot be read again stays as it was, and is tried again after a minute.

Formats: rbldnsd's ip4set and ip6trie: a network or a range, then `:value` or `:address:text`; `!` before
one takes it out; `:…` alone on a line is the value of those without one; `#` and `;` begin a comment, `$` a
directive that is not read.
"""

import asyncio
import ipaddress
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

from outrider.base.errors import OutriderError
from outrider.policy.lua.api.coverage import Row
from outrider.policy.lua.api.host import Host, install, needs, octets_of, options_of, text_of, whole_of
from outrider.policy.lua.registry import LuaRegistry
from outrider.store.sources.rows import Rows

REFRESH_SECONDS: Final = 1_800
"""Momentum's."""
AGAIN_SECONDS: Final = 60.0
"""Chosen: a source that is down is asked again soon."""

_OPTIONS: Final = frozenset(
    {
        "type",
        "cachename",
        "query",
        "cidr_column",
        "value_column",
        "refresh",
        "source",
        "value",
        "optimize",
        "interpolate",
        "default_value",
    }
)
_LISTED: Final = b"127.0.0.2"
# what rbldnsd answers for an entry without a value
_ANSWER: Final = re.compile(rb"\s*(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9]{1,3})?\s*")
# the address of an entry, or its last octet, or nothing
_NO_VALUE: Final = object()

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Table:
    """Networks and their values."""

    __slots__ = ("_by_prefix", "count")

    def __init__(self) -> None:
        self._by_prefix: dict[tuple[int, int], dict[int, Any]] = {}
        self.count = 0

    def add(self, network: Network, value: Any) -> None:
        """One network; `_NO_VALUE` takes it out of wider ones."""
        self.count += 1
        key = (network.version, network.prefixlen)
        self._by_prefix.setdefault(key, {})[int(network.network_address)] = value

    def find(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> Any:
        """The value of the narrowest network; None if there is none."""
        bits, number = address.max_prefixlen, int(address)
        for version, prefix in sorted(self._by_prefix, reverse=True):
            if version != address.version:
                continue
            shift = bits - prefix
            value = self._by_prefix[version, prefix].get(number >> shift << shift)
            if value is not None:
                return None if value is _NO_VALUE else value
        return None


class _Named:
    """One table of a script, with how it is read."""

    def __init__(self, options: dict[str, Any], read: Callable[[], Awaitable[Table]], refresh: int) -> None:
        self.options = options
        self.read = read
        self.refresh = refresh
        self.table: Table | None = None
        self.due_at = 0.0
        self.is_reading: asyncio.Future[None] | None = None


class Cidrs:
    """The functions of `msys.cidr`, for one set of scripts."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._tables: dict[bytes, _Named] = {}

    def define(self, name: Any, options: Any) -> None:
        """Make a table known."""
        given = options if isinstance(options, dict) else {b"type": options}
        chosen = options_of(given, _OPTIONS, "msys.cidr.define")
        if len(self._tables) >= self._host.limits.definitions:
            raise ValueError(f"scripts define at most {self._host.limits.definitions} tables")
        refresh = whole_of(chosen.get("refresh", REFRESH_SECONDS), "refresh")
        match text_of(chosen.get("type"), "the type of a table"):
            case "datasource":
                read = self._from_source(chosen)
            case "rbldnsd":
                read = self._from_file(chosen)
            case "empty":
                read = _empty
            case other:
                raise ValueError(f"there is no type {other!r}; there are datasource, empty, rbldnsd")
        self._tables[octets_of(name, "a name")] = _Named(chosen, read, refresh)

    def query(self, name: Any, address: Any = None) -> Any:
        """The value for an address, the client's by default."""
        named = self._find(name)
        text = self._host.peer() if address is None else text_of(address, "an address").strip("[]")
        try:
            parsed = ipaddress.ip_address(text)
        except ValueError:
            raise ValueError(f"{text!r} is no address") from None
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
            parsed = parsed.ipv4_mapped
        if named.table is not None and (self._host.clock.now() < named.due_at or named.is_reading):
            return self._value(named, named.table, parsed)
        return self._query_later(named, parsed)

    def reload(self, name: Any) -> Awaitable[None]:
        """Read a table again now."""
        return self._read(self._find(name), must=True)

    async def _query_later(self, named: _Named, address: Any) -> Any:
        await self._read(named, must=named.table is None)
        return self._value(named, named.table or Table(), address)

    def _value(self, named: _Named, table: Table, address: Any) -> Any:
        value = table.find(address)
        if value is None:
            return named.options.get("default_value")
        if named.options.get("interpolate") and isinstance(value, (bytes, str)):
            return octets_of(value, "a value").replace(b"$", str(address).encode())
        return value

    def _find(self, name: Any) -> _Named:
        named = self._tables.get(octets_of(name, "a name"))
        if named is None:
            raise ValueError(f"there is no table {text_of(name, 'a name')!r}; define it in init")
        return named

    async def _read(self, named: _Named, *, must: bool) -> None:
        """Read a table, once for all who want it."""
        if named.is_reading is not None:
            await asyncio.shield(named.is_reading)
            if named.table is not None or not must:
                return
        flight = named.is_reading = asyncio.get_running_loop().create_future()
        try:
            named.table = await named.read()
            seconds: float = named.refresh or float("inf")
        except (OutriderError, ValueError) as error:
            seconds = AGAIN_SECONDS
            if must:
                raise
            self._host.log.warning("policy.cidr_not_read", reason=str(error))
        finally:
            named.is_reading = None
            flight.set_result(None)
        named.due_at = self._host.clock.now() + seconds

    def _from_source(self, chosen: dict[str, Any]) -> Callable[[], Awaitable[Table]]:
        cache = text_of(chosen.get("cachename"), "cachename")
        query = text_of(chosen.get("query"), "query")
        cidr_column, value_column = (
            None if chosen.get(column) is None else text_of(chosen[column], column)
            for column in ("cidr_column", "value_column")
        )

        async def read() -> Table:
            source = needs(self._host.source, "data sources")(cache)
            rows: Rows = await source.fetch(query, (), use_cache=False)
            self._check(len(rows))
            return await asyncio.to_thread(_of_rows, rows, cidr_column, value_column)

        return read

    def _from_file(self, chosen: dict[str, Any]) -> Callable[[], Awaitable[Table]]:
        name = text_of(chosen.get("source"), "source").removeprefix("file://")
        takes_text = text_of(chosen.get("value", b"txt"), "value") == "txt"

        def read() -> Table:
            folder = needs(self._host.folder, "files")
            path = (folder / name).resolve()
            if not path.is_relative_to(folder.resolve()):
                raise ValueError(f"{name!r} is not below the scripts' folder")
            try:
                lines = path.read_bytes().splitlines()
            except OSError as error:
                raise ValueError(f"{name!r} cannot be read: {error.strerror}") from None
            self._check(len(lines))
            return parse_rbldnsd(lines, takes_text=takes_text)

        return lambda: asyncio.to_thread(read)

    def _check(self, count: int) -> None:
        if count > self._host.limits.cidr_rows:
            raise ValueError(f"a table has at most {self._host.limits.cidr_rows} networks, not {count}")


async def _empty() -> Table:
    return Table()


def _of_rows(rows: Rows, cidr_column: str | None, value_column: str | None) -> Table:
    table = Table()
    for row in rows:
        try:
            network = row[cidr_column] if cidr_column else row.at(0)
            value = row[value_column] if value_column else True
        except KeyError as error:
            raise ValueError(f"the query gives no column {error}; it gives {', '.join(row)}") from None
        table.add(_network(str(network)), value)
    return table


def parse_rbldnsd(lines: Iterable[bytes], *, takes_text: bool) -> Table:
    """A table of a file's lines.

    Args:
        lines: Without their ends.
        takes_text: The value is the entry's text, else its address.

    Raises:
        ValueError: A line cannot be read; says which.
    """
    table, default = Table(), (_LISTED, b"")
    for number, raw in enumerate(lines, 1):
        line = raw.strip()
        if not line or line[:1] in {b"#", b";", b"$"}:
            continue
        if line[:1] == b":":
            default = _pair(line, default)
            continue
        is_out = line[:1] == b"!"
        try:
            networks, rest = _entry(line[1:].strip() if is_out else line)
        except ValueError:
            raise ValueError(f"line {number} is no entry of rbldnsd") from None
        address, text = _pair(rest, default) if rest else default
        value = (text or address) if takes_text else address
        for network in networks:
            table.add(network, _NO_VALUE if is_out else value)
    return table


def _entry(line: bytes) -> tuple[list[Network], bytes]:
    """The networks of an entry, and its value with the colon."""
    first, _, behind = line.partition(b" ")
    behind = behind.strip()
    if b"." in first.partition(b":")[0] or b":" not in first:
        place, colon, rest = first.partition(b":")
        value = colon + rest + (b" " + behind if behind and colon else behind)
    else:
        place, value = first, behind
    text = place.decode("ascii", "replace")
    low, dash, high = text.partition("-")
    if dash:
        start = ipaddress.IPv4Address(low)
        end = ipaddress.IPv4Address(high if "." in high else low.rpartition(".")[0] + "." + high)
        return list(ipaddress.summarize_address_range(start, end)), value
    return [_network(text)], value


def _pair(value: bytes, default: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """`:address:text`, or `:text`, which may hold colons as well."""
    whole = value.removeprefix(b":")
    first, colon, second = whole.partition(b":")
    if not colon or not _ANSWER.fullmatch(first):
        return default[0], whole.strip()
    address = first.strip()
    return (b"127.0.0." + address if address.isdigit() else address or default[0]), second.strip()


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text.strip().strip("[]"), strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is no network") from None


def register(registry: LuaRegistry, host: Host, rows: Mapping[str, Row]) -> None:
    """Register `msys.cidr`."""
    tables = Cidrs(host)
    install(
        registry,
        host,
        rows,
        "msys.cidr",
        {"define": tables.define, "query": tables.query, "reload": tables.reload},
    )
