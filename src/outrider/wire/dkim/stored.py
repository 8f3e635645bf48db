"""Requests for signatures as they are stored with a message: what differs from the defaults, as MessagePack.

In: requests. Out: some dozen octets, and back.

Invariant: `unpack(pack(requests)) == requests`, also for a later program that knows more arguments.
"""

from functools import lru_cache
from typing import Final

import msgspec
from msgspec.structs import fields

from outrider.wire.dkim.request import SignRequest

_DEFAULTS: Final = {field.name: field.default for field in fields(SignRequest)}


@lru_cache(maxsize=1024)
def pack(requests: tuple[SignRequest, ...]) -> bytes:
    """The octets to store; empty without requests."""
    if not requests:
        return b""
    return msgspec.msgpack.encode(
        [
            {
                name: value
                for name, default in _DEFAULTS.items()
                if (value := getattr(request, name)) != default
            }
            for request in requests
        ]
    )


@lru_cache(maxsize=1024)
def unpack(octets: bytes) -> tuple[SignRequest, ...]:
    """The requests that were packed.

    Raises:
        msgspec.ValidationError: They are of a program that knows other arguments.
        RequestError: They are not such as `SignRequest` takes.
    """
    if not octets:
        return ()
    found: list[dict[str, object]] = msgspec.msgpack.decode(octets, type=list[dict[str, object]])
    unknown = {name for each in found for name in each} - set(_DEFAULTS)
    if unknown:
        raise msgspec.ValidationError(f"unknown arguments of a signature: {', '.join(sorted(unknown))}")
    return tuple(
        msgspec.convert([each.get(name, _DEFAULTS[name]) for name in _DEFAULTS], SignRequest)
        for each in found
    )
