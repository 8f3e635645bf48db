"""`msys.core`: constants, `ec_string`, and small functions of the core.

In: objects that hooks are given. Out: others that belong to them.
"""

from collections.abc import Mapping
from typing import Any, Final

from outrider.policy.lua.api.constants import CORE, GLOBALS, PROTOCOLS
from outrider.policy.lua.api.coverage import Row
from outrider.policy.lua.api.host import Host, install, octets_of, whole_of
from outrider.policy.lua.convert import kind_of
from outrider.policy.lua.messages import Accepted, Construct, EcString
from outrider.policy.lua.registry import LuaRegistry, ObjectClass

STRING_OCTETS_MAX: Final = 1 << 20
# chosen: far above what scripts build piece by piece


def put(target: EcString, octets: bytes) -> None:
    """Give an `ec_string` its octets. Raises ValueError: too many."""
    if len(octets) > STRING_OCTETS_MAX:
        raise ValueError(f"an ec_string holds at most {STRING_OCTETS_MAX} octets")
    target.buffer = octets


def string_of(value: Any, what: str) -> EcString:
    """An `ec_string` that a function writes into. Raises ValueError."""
    if not isinstance(value, EcString):
        raise ValueError(f"{what} is an ec_string of msys.core.string_new(), not {kind_of(value)}")  # noqa: TRY004
    return value


def _new() -> EcString:
    return EcString()


def _set(target: EcString, text: Any = b"") -> None:
    put(target, octets_of(text, "a text"))


def _write(target: EcString, text: Any, length: Any = None) -> int:
    """Append a text, or its first octets; how many."""
    octets = octets_of(text, "a text")
    if length is not None:
        octets = octets[: max(0, whole_of(length, "a length"))]
    put(target, target.buffer + octets)
    return len(octets)


def register(registry: LuaRegistry, host: Host, rows: Mapping[str, Row]) -> None:
    """Register `msys.core` without its functions of messages."""

    def construct(ac: Any) -> Construct:
        if not isinstance(ac, Accepted):
            raise ValueError(f"an ac was expected, not {kind_of(ac)}")  # noqa: TRY004 - scripts hear it
        return ac.mc

    def stringwrite(target: Any, text: Any, length: Any = None) -> int:
        return _write(string_of(target, "the first value"), text, length)

    registry.register("msys.core", CORE)
    registry.register_globals(GLOBALS)
    registry.register_class(
        EcString,
        ObjectClass(
            "msys.core:_ec_string",
            methods={"set": _set, "write": _write},
            getters={"buffer": lambda target: target.buffer},
            setters={"buffer": _set},
            length=lambda target: len(target.buffer),
            text=lambda target: target.buffer,
        ),
    )
    install(
        registry,
        host,
        rows,
        "msys.core",
        {
            "string_new": _new,
            "get_now_ts": lambda: int(host.clock.wall()),
            "protocol_string": lambda number: PROTOCOLS.get(whole_of(number, "a protocol"), "unknown"),
            "accept_construct_get_message_construct": construct,
            "stringwrite": stringwrite,
        },
    )
