"""`msys.timer`, `thread`, `msys.threadpool`, `msys.os`, `msys.ts.chunk_logger`: beside the hooks.

Theory: scripts run in one thread for each worker, so pools are names, and a mutex is between sessions, one of
which may hold it while it waits. Timers run in every worker, from when its scripts are asked until others are
by sessions that begin: those have timers of their own, and nothing is to be done twice. A timer that a hook
began is its session's affair, and runs on while the set has any session. What a session holds when it ends is
let go of (`Mutexes.release`).
"""

import asyncio
import os
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from outrider.base.errors import OutriderError
from outrider.policy.lua.api.coverage import LOAD, Row
from outrider.policy.lua.api.host import Host, guarded, install, number_of, octets_of, text_of, whole_of
from outrider.policy.lua.convert import LuaFunction, kind_of
from outrider.policy.lua.registry import LuaRegistry, ObjectClass
from outrider.policy.lua.waiting import let_go

NORMAL: Final = 0
RECURSIVE: Final = 1
ERRORCHECK: Final = 2
POOLS: Final = ("IO", "CPU")
"""Names that scripts expect; there are no threads behind them."""

_SECONDS_MIN: Final = 0.01
# chosen: what a script could do in a turn


class Timer:
    """One timer; it begins when the set of scripts does, and ends with it."""

    __slots__ = ("_handle", "_host", "_is_of_hook", "_timers", "every", "function", "name", "runs_at")

    def __init__(
        self, timers: "Timers", host: Host, function: LuaFunction, name: str, runs_at: float, every: float
    ) -> None:
        self._is_of_hook = host.phase != LOAD
        self._timers = timers
        self._host = host
        self._handle: asyncio.TimerHandle | None = None
        self.function = function
        self.name = name
        self.runs_at = runs_at
        self.every = every

    def arm(self) -> None:
        """Run when it is due, if the set of scripts runs."""
        self.disarm()
        loop = self._timers.loop
        if loop is not None and (self._is_of_hook or not self._timers.is_retired):
            delay = max(0.0, self.runs_at - self._host.clock.now())
            self._handle = loop.call_later(delay, self._run)

    def retire(self) -> None:
        """Other scripts are asked from now on."""
        if not self._is_of_hook:
            self.disarm()

    def disarm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _run(self) -> None:
        self._handle = None
        if self.every:
            self.runs_at = max(self.runs_at + self.every, self._host.clock.now())
            self.arm()
        else:
            self._timers.forget(self)
        try:
            result = self._host.run(self.function)
            if hasattr(type(result), "__await__"):
                self._go_on(result)
        except OutriderError as error:
            self._failed(error)

    def _go_on(self, result: Any) -> None:
        try:
            self._host.spawn(self._rest(result))
        except OutriderError:  # too much runs already
            let_go(result)
            raise

    async def _rest(self, result: Any) -> None:
        try:
            await result
        except OutriderError as error:
            self._failed(error)

    def _failed(self, error: OutriderError) -> None:
        self._host.log.error("policy.timer_failed", timer=self.name, reason=error.message)


class Timers:
    """The functions of `msys.timer`, for one set of scripts."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._timers: list[Timer] = []
        self.loop: asyncio.AbstractEventLoop | None = None
        self.is_retired = False

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """The set of scripts is asked from now on."""
        self.loop = loop
        for timer in self._timers:
            timer.arm()

    def retire(self) -> None:
        """Sessions that begin ask others from now on."""
        self.is_retired = True
        for timer in self._timers:
            timer.retire()

    def end(self) -> None:
        """It is not asked any more."""
        self.loop = None
        for timer in self._timers:
            timer.disarm()

    def forget(self, timer: Timer) -> None:
        if timer in self._timers:
            self._timers.remove(timer)

    def after(self, seconds: Any, function: Any, name: Any = None) -> Timer:
        return self._add(float(number_of(seconds, "seconds")), 0.0, function, name)

    def at(self, epoch: Any, function: Any, name: Any = None) -> Timer:
        seconds = float(number_of(epoch, "a time")) - self._host.clock.wall()
        return self._add(seconds, 0.0, function, name)

    def every(self, seconds: Any, function: Any, name: Any = None) -> Timer:
        every = float(number_of(seconds, "seconds"))
        if every < _SECONDS_MIN:
            raise ValueError(f"a timer runs every {_SECONDS_MIN:g} seconds or more rarely")
        return self._add(every, every, function, name)

    def _add(self, seconds: float, every: float, function: Any, name: Any) -> Timer:
        if not isinstance(function, LuaFunction):
            raise ValueError(f"a timer calls a function, not {kind_of(function)}")  # noqa: TRY004 - scripts hear it
        timer = Timer(
            self,
            self._host,
            function,
            "" if name is None else text_of(name, "a name"),
            self._host.clock.now() + max(0.0, seconds),
            every,
        )
        self.start(timer)
        return timer

    def start(self, timer: Timer) -> None:
        if timer not in self._timers:
            if len(self._timers) >= self._host.limits.timers:
                raise ValueError(f"scripts have at most {self._host.limits.timers} timers")
            self._timers.append(timer)
        timer.arm()

    def stop(self, timer: Timer) -> None:
        timer.disarm()
        self.forget(timer)


class Mutex:
    """A lock between sessions."""

    __slots__ = ("count", "kind", "owner", "waiting")

    def __init__(self, kind: int) -> None:
        self.kind = kind
        self.owner: object = None
        self.count = 0
        self.waiting: deque[asyncio.Future[None]] = deque()

    def let_go(self) -> None:
        """It is free, and the next who waits may have it."""
        self.owner, self.count = None, 0
        while self.waiting:
            turn = self.waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return


class Mutexes:
    """The functions of `thread`."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._held: dict[int, list[Mutex]] = {}

    def mutex(self, kind: Any = None) -> Mutex:
        number = NORMAL if kind is None else whole_of(kind, "a mutex's type")
        if number not in {NORMAL, RECURSIVE, ERRORCHECK}:
            raise ValueError("a mutex is MUTEX_NORMAL, MUTEX_RECURSIVE or MUTEX_ERRORCHECK")
        return Mutex(number)

    def trylock(self, mutex: Mutex) -> bool:
        """True, and it is held; False where it is another's."""
        owner = self._owner()
        if mutex.owner is None:
            mutex.owner, mutex.count = owner, 1
            self._held.setdefault(id(owner), []).append(mutex)
            return True
        if mutex.owner is owner and mutex.kind == RECURSIVE:
            mutex.count += 1
            return True
        return False

    def lock(self, mutex: Mutex) -> Any:
        owner = self._owner()
        if self.trylock(mutex):
            return True
        if mutex.owner is owner:
            raise ValueError("this mutex is held already by the session that asks for it")
        return self._wait(mutex, owner)

    async def _wait(self, mutex: Mutex, owner: object) -> bool:
        while mutex.owner is not None:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            mutex.waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled() and mutex.owner is None:
                    mutex.let_go()
                raise
        mutex.owner, mutex.count = owner, 1
        self._held.setdefault(id(owner), []).append(mutex)
        return True

    def unlock(self, mutex: Mutex) -> bool:
        owner = self._owner()
        if mutex.owner is not owner:
            raise ValueError("this mutex is not held by the session that unlocks it")
        mutex.count -= 1
        if not mutex.count:
            self._held[id(owner)].remove(mutex)
            if not self._held[id(owner)]:
                del self._held[id(owner)]
            mutex.let_go()
        return True

    def release(self, owner: object) -> None:
        """A session (its connection) has ended: what it holds is free."""
        for mutex in self._held.pop(id(owner), ()):
            mutex.let_go()

    def _owner(self) -> object:
        return self._host.owner


class Volume:
    """What `statvfs_subscribe` gives."""

    __slots__ = ("path",)

    def __init__(self, path: bytes) -> None:
        self.path = path


def subscribe(path: Any, _interval: Any = 0) -> Volume:
    """A record of a file system; it is asked when it is read, so intervals mean nothing."""
    return Volume(octets_of(path, "a path"))


def read_volume(record: Any) -> Any:
    """Kilobytes and objects of a file system, or `nil, message`."""
    if not isinstance(record, Volume):
        raise ValueError("a record of statvfs_subscribe is expected")  # noqa: TRY004 - scripts hear it
    try:
        found = os.statvfs(record.path)
    except (OSError, ValueError) as error:
        return None, getattr(error, "strerror", None) or str(error)
    unit = found.f_frsize / 1024
    return {
        "version": 1,
        "kilobytes_available": int(found.f_bavail * unit),
        "kilobytes_total": int(found.f_blocks * unit),
        "objects_available": found.f_favail,
        "objects_total": found.f_files,
    }


def find_pool(pool: Any) -> Any:
    """The number of a pool's name, or the name of its number."""
    if isinstance(pool, bytes):
        name = text_of(pool, "a pool")
        return POOLS.index(name) + 1 if name in POOLS else None
    number = number_of(pool, "a pool")
    return POOLS[int(number) - 1] if number in range(1, len(POOLS) + 1) else None


def pool_facts(pool: Any) -> Any:
    """A pool's figures: there are no threads, so nothing waits and nothing runs."""
    found = find_pool(pool)
    if found is None:
        return None
    figures = (
        "invocations",
        "avg_concurrency",
        "saturation",
        "avg_wallclock_time_per_op",
        "queue_sz",
        "num_threads",
        "num_active_threads",
        "num_inactive_threads",
        "job_num_queued",
        "job_num_running",
    )
    return {"name": found if isinstance(found, str) else text_of(pool, "a pool"), **dict.fromkeys(figures, 0)}


def register(registry: LuaRegistry, host: Host, rows: Mapping[str, Row]) -> tuple[Timers, Mutexes]:
    """Register them; what begins and ends with the set of scripts."""
    timers, mutexes = Timers(host), Mutexes(host)
    install(
        registry, host, rows, "msys.timer", {"after": timers.after, "at": timers.at, "every": timers.every}
    )
    of_timers = {"start": timers.start, "stop": timers.stop, "name": lambda timer: timer.name}
    registry.register_class(
        Timer,
        ObjectClass(
            "msys.timer",
            {name: guarded(host, rows[f"timer:{name}"], each) for name, each in of_timers.items()},
        ),
    )
    install(registry, host, rows, "thread", {"mutex": mutexes.mutex})
    registry.register(
        "thread", {"MUTEX_NORMAL": NORMAL, "MUTEX_RECURSIVE": RECURSIVE, "MUTEX_ERRORCHECK": ERRORCHECK}
    )
    of_mutexes = {"lock": mutexes.lock, "unlock": mutexes.unlock, "trylock": mutexes.trylock}
    registry.register_class(
        Mutex,
        ObjectClass(
            "thread.mutex",
            {name: guarded(host, rows[f"mutex:{name}"], each) for name, each in of_mutexes.items()},
        ),
    )
    install(
        registry,
        host,
        rows,
        "msys.threadpool",
        {"count": lambda: len(POOLS), "find": find_pool, "stat": pool_facts},
    )
    install(
        registry,
        host,
        rows,
        "msys.os",
        {"statvfs_subscribe": subscribe, "statvfs_read": read_volume},
    )
    registry.register_class(Volume, ObjectClass("msys.os.statvfs"))

    def log(text: Any) -> None:
        line = octets_of(text, "a text")[: host.limits.log_line_octets].decode("utf-8", "replace")
        host.log.info("policy.log", text=line)

    install(registry, host, rows, "msys.ts.chunk_logger", {"log": log})
    return timers, mutexes
