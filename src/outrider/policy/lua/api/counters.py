"""`msys.gauge_cache` and `msys.counter`: numbers by key, over all workers of the node.

Theory: both are shared numbers (`policy.shared`). A gauge ends when it was not changed for its cache's
time; a counter never does. Momentum's relaxed counters, a value for each handle and their sum, give the
same answers as one value, so there is one.

Invariant: what any worker added is in every worker's next read. A gauge cache has never more elements than
were asked for: when it is full, those are dropped that were changed longest ago, an eighth at once, because
finding them means looking at every number.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from outrider.policy.lua.api.coverage import Row
from outrider.policy.lua.api.host import Host, install, octets_of, text_of, whole_of
from outrider.policy.lua.registry import LuaRegistry, ObjectClass
from outrider.policy.shared import owner_of

STRICT: Final = 0
RELAXED: Final = 1
_PATH_OCTETS: Final = 255
# chosen
_SHARE: Final = 8


@dataclass(frozen=True, slots=True)
class _Gauges:
    name: bytes
    maxelems: int
    ttl: int

    @property
    def owner(self) -> int:
        return owner_of(b"gauge_cache " + self.name)


class GaugeCaches:
    """The functions of `msys.gauge_cache`, for one set of scripts."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._caches: dict[bytes, _Gauges] = {}

    def define(self, name: Any, maxelems: Any, ttl: Any, replicated: Any = None) -> None:
        """Make a cache known."""
        elements, seconds = whole_of(maxelems, "maxelems"), whole_of(ttl, "ttl")
        if elements < 1 or seconds < 1:
            raise ValueError("a gauge cache has room for 1 element or more, for 1 second or more")
        if elements > self._host.shared.slots:
            raise ValueError(
                f"there are {self._host.shared.slots} shared numbers in all: ask for fewer, or raise"
                " policy.shared_numbers"
            )
        if replicated:
            self._host.log.warning("policy.gauge_cache_option", text="replicated: counted on this node only")
        if len(self._caches) >= self._host.limits.definitions:
            raise ValueError(f"scripts define at most {self._host.limits.definitions} gauge caches")
        key = octets_of(name, "a name")
        self._caches[key] = _Gauges(key, elements, seconds)

    def inc(self, cache: Any, key: Any) -> int:
        return self._add(cache, key, 1)

    def dec(self, cache: Any, key: Any) -> int:
        return self._add(cache, key, -1)

    def get(self, cache: Any, key: Any) -> int:
        """A gauge; 0 where there is none."""
        gauges = self._find(cache)
        return self._host.shared.get(self._cell(gauges, key), self._host.clock.wall()) or 0

    def remove_item(self, cache: Any, key: Any) -> None:
        gauges, shared, now = self._find(cache), self._host.shared, self._host.clock.wall()
        cell = self._cell(gauges, key)
        was_there = shared.get(cell, now) is not None  # one that has ended is not counted any more
        if shared.drop(cell) and was_there:
            shared.add(self._size(gauges), -1, now)

    def _add(self, cache: Any, key: Any, delta: int) -> int:
        gauges, shared, now = self._find(cache), self._host.shared, self._host.clock.wall()
        cell = self._cell(gauges, key)
        if shared.get(cell, now) is None and shared.add(self._size(gauges), 1, now) > gauges.maxelems:
            self._make_room(gauges, now)
        return shared.add(cell, delta, now, now + gauges.ttl, gauges.owner)

    def _make_room(self, gauges: _Gauges, now: float) -> None:
        """Look at how many there really are, for some have ended, and forget the oldest."""
        shared = self._host.shared
        there = shared.count(gauges.owner, now)
        if there >= gauges.maxelems:
            forget = max(1, gauges.maxelems // _SHARE)
            shared.forget_oldest(gauges.owner, forget, now)
            there -= forget
        shared.put(self._size(gauges), there + 1, now)

    def _find(self, name: Any) -> _Gauges:
        gauges = self._caches.get(octets_of(name, "a name"))
        if gauges is None:
            raise ValueError(f"there is no gauge cache {text_of(name, 'a name')!r}; define it in init")
        return gauges

    def _cell(self, gauges: _Gauges, key: Any) -> bytes:
        return self._host.shared.key(b"gauge", gauges.name, octets_of(key, "a key"))

    def _size(self, gauges: _Gauges) -> bytes:
        return self._host.shared.key(b"gauges", gauges.name)


class Counter:
    """A handle."""

    __slots__ = ("path",)

    def __init__(self, path: bytes) -> None:
        self.path = path


class Counters:
    """The functions of `msys.counter`."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def open(self, path: Any, semantics: Any = None) -> Counter:
        if semantics is not None and whole_of(semantics, "semantics") not in {STRICT, RELAXED}:
            raise ValueError("semantics are msys.counter.STRICT or msys.counter.RELAXED")
        return Counter(self._path(path))

    def inc(self, counter: Any) -> None:
        self._add(counter, 1)

    def add(self, counter: Any, delta: Any) -> None:
        self._add(counter, whole_of(delta, "delta"))

    def read(self, counter: Any) -> int:
        return self._host.shared.get(self._cell(counter), self._host.clock.wall()) or 0

    def reset(self, counter: Any) -> None:
        self._host.shared.put(self._cell(counter), 0, self._host.clock.wall())

    def unlink(self, path: Any) -> None:
        """Forget a counter; a handle that is still held begins it anew."""
        self._host.shared.drop(self._cell(path))

    def _add(self, counter: Any, delta: int) -> None:
        self._host.shared.add(self._cell(counter), delta, self._host.clock.wall())

    def _cell(self, counter: Any) -> bytes:
        path = counter.path if isinstance(counter, Counter) else self._path(counter)
        return self._host.shared.key(b"counter", path)

    @staticmethod
    def _path(path: Any) -> bytes:
        text = octets_of(path, "a counter's path")
        names = text.strip(b"/").split(b"/")
        if not all(names) or len(text) > _PATH_OCTETS:
            raise ValueError(f"a counter's path is names joined by /, at most {_PATH_OCTETS} octets")
        return b"/".join(names)


def register(registry: LuaRegistry, host: Host, rows: Mapping[str, Row]) -> None:
    """Register `msys.gauge_cache` and `msys.counter`."""
    gauges, counters = GaugeCaches(host), Counters(host)
    install(
        registry,
        host,
        rows,
        "msys.gauge_cache",
        {
            "define": gauges.define,
            "inc": gauges.inc,
            "dec": gauges.dec,
            "get": gauges.get,
            "remove_item": gauges.remove_item,
        },
    )
    install(
        registry,
        host,
        rows,
        "msys.counter",
        {
            "open": counters.open,
            "inc": counters.inc,
            "add": counters.add,
            "read": counters.read,
            "reset": counters.reset,
            "unlink": counters.unlink,
        },
    )
    registry.register("msys.counter", {"STRICT": STRICT, "RELAXED": RELAXED})
    registry.register_class(Counter, ObjectClass("msys.counter"))
