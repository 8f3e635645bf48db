"""`msys` itself: DNS, files, pauses, locks, pools, macros, addresses.

In: values of scripts. Out: the same, and waits.

Theory: there is one thread, so a pool is where a function runs while the script waits for it. Locks by name
and values that scripts share are the node's (`policy.name_locks`, `policy.shared_values`). What belongs to
Momentum's console is taken at load and never called, so that a module which registers it still runs.

Standards: RFC 5322 §3.4 (addresses), RFC 1035 §3.3 (records).
"""

import asyncio
import ipaddress
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from outrider.net.answers import Answer, Kind, Status
from outrider.policy.errors import ScriptError
from outrider.policy.lua.api.content import address_components
from outrider.policy.lua.api.coverage import LOAD, Row
from outrider.policy.lua.api.host import Host, install, needs, number_of, options_of, text_of
from outrider.policy.lua.api.macros import expand_macros
from outrider.policy.lua.conversation import Conversation
from outrider.policy.lua.convert import LuaFunction, kind_of
from outrider.policy.lua.registry import LuaRegistry
from outrider.policy.shared_values import Value
from outrider.wire.message.addresses import parse_addresses

POOLED_MAX: Final = 20
# chosen: scripts nest none; each level is some calls of Python's
FILE_OCTETS_MAX: Final = 4 << 20
# chosen: a table of a hundred thousand short rows
SLEEP_SECONDS_MAX: Final = 300.0
# chosen: the longest that a hook may be let wait

_KINDS: Final = {each.name: each for each in (Kind.A, Kind.AAAA, Kind.TXT, Kind.MX, Kind.PTR, Kind.NS)}
_DNS_OPTIONS: Final = frozenset({"priority", "server"})


class Base:
    """The functions of `msys`."""

    def __init__(self, host: Host, registry: LuaRegistry) -> None:
        self._host = host
        self._registry = registry

    async def dns_lookup(self, name: Any, kind: Any = None, options: Any = None) -> Any:
        """Records, or `nil, message`."""
        wanted = "A" if kind is None else text_of(kind, "a type").upper()
        chosen = options_of(options, _DNS_OPTIONS, "msys.dnsLookup")
        if wanted not in _KINDS:
            raise ScriptError(f"msys.dnsLookup knows {', '.join(_KINDS)}, not {wanted}")
        if chosen.get("server"):
            raise ScriptError("msys.dnsLookup asks the nameservers of the configuration; leave `server` out")
        question = text_of(name, "a name").strip()
        if wanted == "PTR":
            question = _reverse(question)
        answer = await needs(self._host.resolver, "DNS").lookup(question, _KINDS[wanted])
        if answer.status is not Status.FOUND:
            return None, _trouble(answer, question)
        return _records(answer, wanted, with_preference=chosen.get("priority") is True)

    def expand_macro(self, text: Any) -> str:
        """A text with its macros filled in."""
        return expand_macros(self._host, text_of(text, "a text"))

    def parse_addresses(self, text: Any, component: Any = None) -> list[bytes]:
        """One component of each address of a field's value."""
        return address_components(parse_addresses(text_of(text, "a text")), component)

    def readfile(self, name: Any) -> Any:
        """A file of the scripts' folder, or `nil, message`; outside of hooks, as in `init`, at once."""
        given = text_of(name, "a file").removeprefix("file://")
        folder = needs(self._host.folder, "a folder of scripts")
        if self._host.phase == LOAD:
            return _contents(folder, given)
        return asyncio.to_thread(_contents, folder, given)

    async def sleep(self, seconds: Any) -> None:
        """Let others go on for a while."""
        wait = number_of(seconds, "seconds")
        if not 0 <= wait <= SLEEP_SECONDS_MAX:
            raise ValueError(f"a script sleeps for 0 to {SLEEP_SECONDS_MAX:g} seconds")
        await asyncio.sleep(wait)

    def run_in_pool(self, pool: Any, function: Any, then: Any = None, _mode: Any = None) -> Any:
        """Call a function; `true, values…` or `false, message`, or nothing where nobody is to wait."""
        if not isinstance(pool, (bytes, int, float)):
            raise ValueError(f"a pool is a name or a number, not {kind_of(pool)}")  # noqa: TRY004
        if not isinstance(function, LuaFunction):
            raise ValueError(f"runInPool takes a function, not {kind_of(function)}")  # noqa: TRY004
        if then is None or then is False:
            current = self._host.current()
            if not isinstance(current, Conversation):
                raise ScriptError("msys.runInPool waits in hooks only")
            if current.pooled >= POOLED_MAX:
                raise ValueError(f"functions of msys.runInPool are nested at most {POOLED_MAX} deep")
            return self._whole(current, function)
        self._host.spawn(self._later(function, then if isinstance(then, LuaFunction) else None))
        return None

    @staticmethod
    async def _whole(conversation: Conversation, function: LuaFunction) -> Any:
        conversation.pooled += 1
        try:
            await asyncio.sleep(0)  # others go on, and the hook's time to wait may end
            results = conversation.session.run_whole(function)
            found: tuple[Any, ...] = await results if hasattr(results, "__await__") else results
        except ScriptError as error:
            return False, _place_of(error)
        finally:
            conversation.pooled -= 1
        return True, *found

    @staticmethod
    async def _called(run: Callable[..., Any], function: LuaFunction, *values: Any) -> Any:
        try:
            result = run(function, *values)
            return True, await result if hasattr(result, "__await__") else result
        except ScriptError as error:
            return False, _place_of(error)

    async def _later(self, function: LuaFunction, then: LuaFunction | None) -> None:
        done, value = await self._called(self._host.run, function)
        if then is not None:
            done, value = await self._called(self._host.run, then, done, value)
        if not done:
            self._host.log.error("policy.pool_failed", error=str(value))

    def lock(self, name: Any) -> Any:
        """Hold a name; waits while another session of any worker does."""
        key = text_of(name, "a name").encode("utf-8", "surrogateescape")
        return self._host.names.lock(key, self._host.owner)

    def unlock(self, name: Any) -> bool:
        key = text_of(name, "a name").encode("utf-8", "surrogateescape")
        return self._host.names.unlock(key, self._host.owner)

    def cast(self, value: Any, class_name: Any) -> Any:
        """The object, where it is of that class already."""
        wanted = text_of(class_name, "a class")
        known = self._registry.classes.get(type(value))
        if known is None or known.name != wanted:
            what = kind_of(value) if known is None else known.name
            raise ValueError(f"it is {what} and cannot be {wanted}")
        return value

    def share_set(self, key: Any, value: Any) -> bool:
        """Keep a value for all scripts of all workers."""
        self._host.values.put(_plain(key), _plain(value))
        return True

    def share_get(self, key: Any) -> Any:
        return self._host.values.get(_plain(key))

    def share_unset(self, key: Any) -> None:
        self._host.values.drop(_plain(key))

    def config(self, action: Any, *words: Any) -> Any:
        """What of the configuration scripts may read."""
        names = [text_of(each, "an option").lower() for each in words]
        if text_of(action, "an action") == "get" and names == ["hostname"]:
            return self._host.hostname
        raise ValueError("msys.config gives `get hostname`; other options are not those of Momentum")

    def in_vain(self, function: str) -> Callable[..., None]:
        """A function that takes what is registered, and says that it is never called."""

        def register(name: Any, _what: Any = None) -> None:
            self._host.log.warning(
                "policy.not_carried_over",
                function=f"msys.{function}",
                name=text_of(name, "a name"),
                text="it is registered and never called; the manual's page of the Lua API says why",
            )

        return register


def _plain(value: Any) -> Value:
    """A key or value that is shared."""
    if value is not None and not isinstance(value, (bool, bytes, int, float)):
        raise ValueError(f"a string, a number, a boolean or nil is shared, not {kind_of(value)}")
    return value


def _place_of(error: ScriptError) -> str:
    return f"{error.script}:{error.line}: {error.reason}" if error.script else error.reason


def _reverse(text: str) -> str:
    try:
        return ipaddress.ip_address(text).reverse_pointer
    except ValueError:
        return text


def _trouble(answer: Answer, name: str) -> str:
    match answer.status:
        case Status.NO_NAME:
            return f"{name}: there is no such name"
        case Status.NO_DATA:
            return f"{name}: there are no such records"
        case _:
            return f"{name}: {answer.trouble or 'no answer'}"


def _records(answer: Answer, kind: str, *, with_preference: bool) -> list[Any]:
    match kind:
        case "A" | "AAAA":
            return list(answer.addresses)
        case "MX":
            exchangers = sorted(answer.exchangers)
            if with_preference:
                return [[preference, name] for preference, name in exchangers]
            return [name for _, name in exchangers]
        case "PTR" | "NS":
            return list(answer.names)
        case _:
            return list(answer.texts)


def _inside(folder: Path, name: str) -> Path:
    root = folder.resolve()
    path = (root / name).resolve()
    if not path.is_relative_to(root):
        raise ValueError(f"scripts read files of {folder.name} and below it only")
    return path


def _contents(folder: Path, name: str) -> Any:
    """What a file holds, or `nil, message`."""
    try:
        with _inside(folder, name).open("rb") as file:
            octets = file.read(FILE_OCTETS_MAX + 1)
    except (OSError, ValueError) as error:
        return None, f"{name}: {error.strerror if isinstance(error, OSError) else error}"
    if len(octets) > FILE_OCTETS_MAX:
        return None, f"{name}: is longer than {FILE_OCTETS_MAX} octets"
    return octets


def _no_sieve(*_values: Any) -> None:
    raise ValueError("Sieve is not carried over")


def _no_metatable(*_values: Any) -> None:
    raise ValueError("classes of the server cannot be changed by scripts")


def register(registry: LuaRegistry, host: Host, rows: Mapping[str, Row]) -> None:
    """Register `msys`."""
    base = Base(host, registry)
    install(
        registry,
        host,
        rows,
        "msys",
        {
            "dnsLookup": base.dns_lookup,
            "expandMacro": base.expand_macro,
            "parseRFC2822Addresses": base.parse_addresses,
            "readfile": base.readfile,
            "sleep": base.sleep,
            "runInPool": base.run_in_pool,
            "lock": base.lock,
            "unlock": base.unlock,
            "cast": base.cast,
            "shareSet": base.share_set,
            "shareGet": base.share_get,
            "shareUnset": base.share_unset,
            "config": base.config,
            "registerControl": base.in_vain("registerControl"),
            "registerAuth": base.in_vain("registerAuth"),
            "runSieveScript": _no_sieve,
            "getClassMetaTable": _no_metatable,
        },
    )
