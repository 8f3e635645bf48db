"""Routes of the key ring: list it, make keys, rotate and destroy them.

A key itself never comes out here: `outrider keys export` prints one for those who may read its file.
"""

import asyncio
import os
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from outrider.privacy.keyfile import Key, Purpose, Tombstone
from outrider.privacy.keystore import REASON_LIMIT, KeyStore
from outrider.server.control_api.hub import Actor, Caller, Hub, WithHub, act
from outrider.server.control_api.models import ChangeAsked
from outrider.server.control_api.problems import InvalidPartError
from outrider.server.ring_changes import doom, make_first, noted_of, open_ring, shown_ring

router = APIRouter(prefix="/v1/keyring", tags=["key ring"])

Version = Annotated[int, Path(ge=1)]


class RingKey(BaseModel):
    """A key of the ring, or what is left of one."""

    key: str = Field(description="Purpose and version: `log-1`.")
    state: str
    fingerprint: str
    created: str
    destroyed: str = Field(description="When; empty: it is there.")
    file: str


class Ring(BaseModel):
    """All keys, by purpose and version."""

    directory: str
    items: list[RingKey]


class KeyMade(BaseModel):
    """A new key of the ring. Keep a copy of its file: what it protects cannot be read without it."""

    key: str
    fingerprint: str
    file: str
    audit: int


class DestructionAsked(ChangeAsked):
    """Whether to destroy, or only to say what it would mean."""

    confirm: bool = Field(
        False, description="Do it. Without it nothing is changed and the answer says what is lost."
    )


class Destruction(BaseModel):
    """What is, or would be, lost."""

    key: str
    fingerprint: str
    destroyed: bool
    uses: int = Field(description="Frames of the spool or events that it protects.")
    meaning: str
    audit: int | None = None


def _ring(hub: Hub) -> KeyStore:
    return open_ring(hub.settings, os.environ, hub.clock, hub.log)


async def _change(
    hub: Hub, actor: Caller, verb: str, target: str, reason: str, work: Callable[[KeyStore], Key | Tombstone]
) -> tuple[Any, int]:
    """Change the ring off the loop, between its rows of the audit log."""

    async def do() -> dict[str, Any]:
        changed = await asyncio.to_thread(lambda: work(_ring(hub)))
        return {"changed": 1, "key": changed, "facts": noted_of(changed)}

    result, audit = await hub.change(act(actor, f"keyring.{verb}", target, reason), do, matched=1)
    return result["key"], audit


@router.get("", summary="The ring: names and fingerprints, never a key")
async def ring(hub: WithHub) -> Ring:
    """As it is on disk now."""
    items = await asyncio.to_thread(shown_ring, hub.settings, os.environ)
    return Ring(directory=str(hub.settings.key_directory), items=[RingKey(**each) for each in items])


@router.post("/{purpose}", status_code=201, summary="Make the first key of a purpose")
async def generate(hub: WithHub, actor: Actor, purpose: Purpose, asked: ChangeAsked) -> KeyMade:
    """409 when there is one."""
    key, audit = await _change(
        hub, actor, "generate", purpose, asked.reason, lambda store: make_first(store, purpose)
    )
    return KeyMade(**noted_of(key), file=key.source, audit=audit)


@router.post("/{purpose}/rotation", status_code=201, summary="Make a new version, used from now on")
async def rotate(hub: WithHub, actor: Actor, purpose: Purpose, asked: ChangeAsked) -> KeyMade:
    """Older versions stay and go on reading what they protect."""
    key, audit = await _change(hub, actor, "rotate", purpose, asked.reason, lambda store: store.add(purpose))
    return KeyMade(**noted_of(key), file=key.source, audit=audit)


@router.post("/{purpose}/{version}/destruction", summary="Destroy an old version for good, with a reason")
async def destroy(
    hub: WithHub, actor: Actor, purpose: Purpose, version: Version, asked: DestructionAsked
) -> Destruction:
    """Without `confirm` only says what can no longer be read then. 409 for the newest version."""
    doomed = await asyncio.to_thread(lambda: doom(hub.settings, _ring(hub), purpose, version))
    told = {**noted_of(doomed.key), "uses": doomed.uses, "meaning": doomed.meaning}
    if not asked.confirm:
        return Destruction(**told, destroyed=False)
    reason = " ".join(asked.reason.split())
    if not reason or len(reason) > REASON_LIMIT:
        raise InvalidPartError(
            "/body/reason", f"say why in 1 to {REASON_LIMIT} characters: it stays in the key's place"
        )
    _, audit = await _change(
        hub, actor, "destroy", doomed.key.name, reason, lambda store: store.destroy(purpose, version, reason)
    )
    return Destruction(**told, destroyed=True, audit=audit)
