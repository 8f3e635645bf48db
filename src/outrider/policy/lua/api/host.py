"""What the functions of the API need of the process and of the hook that is under way.

In: a bridge, which knows the hook, and a server, which knows the rest. Out: one `Host` that all packages are
made with.

Theory: what a function asks for and cannot have, because it runs in `check-config` or in a worker that was
given none, is an `UnavailableError` at the script's line; so scripts load anywhere.
"""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import wraps
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol, TypeVar

from outrider.base.clock import Clock
from outrider.base.errors import UnavailableError
from outrider.base.log import Log
from outrider.model.hooks import HookPhase
from outrider.net.answers import Lookup
from outrider.net.tls import ClientContext
from outrider.policy.audit import Audit
from outrider.policy.budget import CpuBudget
from outrider.policy.connection import Connection
from outrider.policy.errors import ForbiddenError
from outrider.policy.lua.api.coverage import ANY, LOAD, Row
from outrider.policy.lua.convert import LuaFunction, kind_of
from outrider.policy.lua.registry import LuaRegistry
from outrider.policy.lua.script import NoHook
from outrider.policy.mail import Mail
from outrider.policy.name_locks import NameLocks
from outrider.policy.shared import SharedCells
from outrider.policy.shared_values import SharedValues
from outrider.store.sources.source import Source

T = TypeVar("T")


class Current(Protocol):
    """The hook that a function was called from; all None while scripts are loaded, and in timers."""

    @property
    def phase(self) -> HookPhase | None: ...
    @property
    def connection(self) -> Connection | None: ...
    @property
    def mail(self) -> Mail | None: ...


class Bounces(Protocol):
    """Says what a reply means."""

    def classify_reply(self, text: str, domain: str) -> tuple[int, str, str]:
        """Momentum's number of the class, its name, and a sentence."""
        ...


class Outbox(Protocol):
    """Sends new messages."""

    async def send(self, content: bytes, mail_from: str, recipients: tuple[str, ...]) -> str:
        """Store a message in plain form; its id. Raises OutriderError."""
        ...


@dataclass(frozen=True, slots=True)
class ApiLimits:
    """Bounds of what scripts build up; each is of one set of scripts."""

    http_seconds: float = 10.0
    # chosen: below the time that a hook may wait
    http_octets: int = 4 << 20
    # chosen: a table of a hundred thousand short rows
    xml_octets: int = 4 << 20
    # chosen: the same
    xml_nodes: int = 100_000
    # chosen: the same
    json_octets: int = 4 << 20
    # chosen: the same
    timers: int = 100
    # chosen: scripts have a handful
    definitions: int = 1_000
    # chosen: series, tables and caches together; scripts have a handful
    cidr_rows: int = 500_000
    # chosen: a large block list
    log_line_octets: int = 8_192
    # chosen: a line that a log viewer shows


def no_mail(target: object) -> Mail:
    """Where no bridge is."""
    raise ValueError(f"a message was expected, not {type(target).__name__}")


def no_run(_function: LuaFunction, *_values: Any) -> Any:
    """Where no scripts are loaded."""
    raise UnavailableError("functions of scripts are not called here; a running server does")


def no_spawn(work: Coroutine[Any, Any, Any]) -> None:
    """Where nothing runs beside the hooks."""
    work.close()
    raise UnavailableError("nothing runs beside the hooks here; a running server does that")


@dataclass(slots=True)
class Host:
    """See the module.

    Attributes:
        clock: Time.
        log: For what scripts write, and for warnings about them.
        current: The hook under way.
        mail_of: The message behind a script's `msg` object; raises ValueError.
        source: A data source by name; raises OutriderError.
        keep_key: A name for a signing key that is given as a text; raises ConfigError.
        run: Calls a function that a script gave, outside of any session.
        spawn: Owns work that goes on beside the hooks.
        resolver: DNS, or None.
        client_tls: Gives the context for HTTPS, or None.
        hostname: Ours.
        shared: Counters of all workers.
        names: Locks that stand between sessions of all workers.
        values: What scripts of all workers share.
        audit: What the listeners count, or None where no monitor is configured.
        bounces: Classifies replies, or None.
        outbox: Sends new messages, or None.
        budget: Ends what takes too long outside of Lua, as a pattern; or None.
        folder: Where files of scripts are; they cannot read others.
        limits: See there.
    """

    clock: Clock
    log: Log
    shared: SharedCells
    current: Callable[[], Current] = NoHook
    mail_of: Callable[[Any], Mail] = no_mail
    source: Callable[[str], Source] | None = None
    keep_key: Callable[[str], str] | None = None
    run: Callable[..., Any] = no_run
    spawn: Callable[[Coroutine[Any, Any, Any]], None] = no_spawn
    resolver: Lookup | None = None
    client_tls: Callable[[], ClientContext] | None = None
    hostname: str = "localhost"
    bounces: Bounces | None = None
    outbox: Outbox | None = None
    budget: CpuBudget | None = None
    folder: Path | None = None
    limits: ApiLimits = field(default_factory=ApiLimits)
    names: NameLocks = field(default_factory=NameLocks)
    values: SharedValues = field(default_factory=SharedValues)
    audit: Audit | None = None

    @property
    def owner(self) -> object:
        """Who holds what the script under way locks: its session, or the set of scripts outside of any."""
        return self.current().connection or self

    @property
    def phase(self) -> str:
        """The phase under way, or `LOAD`."""
        return self.current().phase or LOAD

    def peer(self) -> str:
        """Address of the client. Raises ValueError: there is none here."""
        connection = self.current().connection
        if connection is None or not connection.client:
            raise ValueError("there is no client here: name the address")
        return connection.client


def needs(what: T | None, name: str) -> T:
    """`what`, where this process has it. Raises UnavailableError."""
    if what is None:
        raise UnavailableError(f"{name} cannot be had here; a running server has it")
    return what


def text_of(value: object, what: str) -> str:
    """A string or number of a script as text; octets that are no UTF-8 stay what they are.

    A number is written as Lua writes it (LUA_NUMBER_FMT of luaconf.h).

    Raises:
        ValueError: It is neither.
    """
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(f"{what} is a string, not {kind_of(value)}")  # noqa: TRY004 - scripts hear it
    return value if isinstance(value, str) else f"{value:.14g}"


def octets_of(value: object, what: str) -> bytes:
    """A string of a script, also one that is in an `ec_string`. Raises ValueError."""
    if isinstance(value, bytes):
        return value
    buffer = getattr(value, "buffer", None)
    if isinstance(buffer, (bytes, bytearray)):
        return bytes(buffer)
    return text_of(value, what).encode("utf-8", "surrogateescape")


def number_of(value: object, what: str) -> float:
    """A number of a script. Raises ValueError."""
    if isinstance(value, bytes):
        try:
            value = float(value)
        except ValueError:
            raise ValueError(f"{what} is a number, not a string") from None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{what} is a number, not {kind_of(value)}")  # noqa: TRY004 - scripts hear it
    if value != value:  # noqa: PLR0124 - NaN
        raise ValueError(f"{what} is a number, not NaN")
    return value


def whole_of(value: object, what: str) -> int:
    """A whole number of a script. Raises ValueError."""
    number = number_of(value, what)
    if number != number // 1 or abs(number) > 1 << 53:
        raise ValueError(f"{what} is a whole number")
    return int(number)


def options_of(value: object, known: frozenset[str], what: str) -> dict[str, Any]:
    """A table of options by name; none is an empty one.

    Raises:
        ValueError: It is no table, or has an option that is not known.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{what} takes a table of options, not {kind_of(value)}")  # noqa: TRY004 - as above
    options = {text_of(name, "an option's name"): option for name, option in value.items()}
    unknown = sorted(options.keys() - known)
    if unknown:
        raise ValueError(f"{what} has no option {unknown[0]!r}; there are {', '.join(sorted(known))}")
    return options


def guarded(host: Host, row: Row, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, refused where its row does not permit it."""
    phases = row.phases
    if phases == ANY:
        return function

    @wraps(function)
    def checked(*values: Any) -> Any:
        phase = host.phase
        if phase not in phases:
            order = ", ".join(each for each in (*HookPhase, LOAD) if each in phases)
            raise ForbiddenError(f"{row.name} is for {order} only, not for {phase}", phase=phase)
        return function(*values)

    return checked


def install(
    registry: LuaRegistry,
    host: Host,
    rows: Mapping[str, Row],
    module: str,
    functions: Mapping[str, Callable[..., Any]],
    *,
    as_module: str = "",
) -> None:
    """Register functions of a module under their names, each guarded by its row.

    Args:
        registry: Where.
        host: Knows the phase.
        rows: By full name, as `msys.db.query`.
        module: As in the full names.
        functions: By the last part of the name.
        as_module: The module that they are registered in, where a part in Lua stands before them.
    """
    registry.register(
        as_module or module,
        {name: guarded(host, rows[f"{module}.{name}"], each) for name, each in functions.items()},
    )


def lua_text(name: str) -> bytes:
    """The text of a part of the API that is written in Lua, beside this module."""
    return (files("outrider.policy.lua.api") / f"{name}.lua").read_bytes()
