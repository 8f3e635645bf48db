"""Requests for signatures as they are stored with a message: what differs from the defaults, as MessagePack.

In: requests, and perhaps one for a seal. Out: some dozen octets, and back; with a seal a kilobyte more, which
is what was found out about the message when it came.

Theory: a list of maps, one for each signature; that of a seal has `seal` as one name more. A program that
does not know a name refuses the whole, because it would sign something else than was asked for.

Invariant: `unpack(pack(*asked)) == asked`, also for a later program that knows more arguments.
"""

from functools import lru_cache
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import fields

from outrider.wire.dkim.arc import ChainState, SealRequest
from outrider.wire.dkim.request import SignRequest

_DEFAULTS: Final = {field.name: field.default for field in fields(SignRequest)}
_SEAL: Final = "seal"
# the name in a map whose value is that of `_Seal`


class _Seal(msgspec.Struct, frozen=True, array_like=True):
    """What a seal says of the message as it came."""

    results: bytes
    sets: int
    state: ChainState


class Asked(NamedTuple):
    """All that is asked for.

    Attributes:
        signatures: One request for each.
        seal: The next set of the ARC chain, or None.
    """

    signatures: tuple[SignRequest, ...] = ()
    seal: SealRequest | None = None


@lru_cache(maxsize=1024)
def pack(signatures: tuple[SignRequest, ...], seal: SealRequest | None = None) -> bytes:
    """The octets to store; empty without requests."""
    maps = [_differing(request) for request in signatures]
    if seal is not None:
        own = _Seal(seal.results, seal.sets, seal.state)
        maps.append(_differing(seal.request) | {_SEAL: msgspec.to_builtins(own, builtin_types=(bytes,))})
    return msgspec.msgpack.encode(maps) if maps else b""


def _differing(request: SignRequest) -> dict[str, object]:
    return {
        name: value for name, default in _DEFAULTS.items() if (value := getattr(request, name)) != default
    }


@lru_cache(maxsize=1024)
def unpack(octets: bytes) -> Asked:
    """What was packed.

    Raises:
        msgspec.ValidationError: It is of a program that knows other arguments.
        RequestError: The requests are not such as `SignRequest` takes.
    """
    if not octets:
        return Asked()
    found: list[dict[str, object]] = msgspec.msgpack.decode(octets, type=list[dict[str, object]])
    seals = [each.pop(_SEAL) for each in found[-1:] if _SEAL in each]
    unknown = {name for each in found for name in each} - set(_DEFAULTS)
    if unknown:
        raise msgspec.ValidationError(f"unknown arguments of a signature: {', '.join(sorted(unknown))}")
    requests = tuple(
        msgspec.convert([each.get(name, _DEFAULTS[name]) for name in _DEFAULTS], SignRequest)
        for each in found
    )
    if not seals:
        return Asked(requests)
    own = msgspec.convert(seals[0], _Seal)
    return Asked(requests[:-1], SealRequest(requests[-1], own.results, own.sets, own.state))
