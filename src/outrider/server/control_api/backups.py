"""Route of copies: what `outrider backup` makes, made by the server's own user."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, Field, SecretStr, model_validator

from outrider.privacy.passphrase import PassphraseError, check_passphrase
from outrider.server.backup.make import Made, made_facts, make_backup
from outrider.server.backup.manifest import BackupError
from outrider.server.control_api.hub import Actor, WithHub, act
from outrider.server.control_api.models import ChangeAsked
from outrider.server.control_api.problems import InvalidPartError
from outrider.server.requests import RefusedError

router = APIRouter(prefix="/v1", tags=["backup"])

PATH_CHARACTERS = 4_096
# linux/include/uapi/linux/limits.h: PATH_MAX


def _absolute(path: Path) -> Path:
    if not path.is_absolute() or len(str(path)) > PATH_CHARACTERS or "\0" in str(path):
        raise ValueError("an absolute path on the server is needed")
    return path


class BackupAsked(ChangeAsked):
    """Where to, and whether with keys."""

    into: Annotated[Path, AfterValidator(_absolute)] = Field(
        description="Folder of the copies on the server, which its user can write; each is a folder in it."
    )
    passphrase: SecretStr | None = Field(None, description="Keys and private keys are sealed under it.")
    without_keys: bool = Field(False, description="Leave out keys, private keys and passwords.")
    link: bool = Field(True, description="Share closed segments with the spool where possible.")
    keep: int = Field(0, ge=0, description="Remove older copies of this server beyond so many; 0 keeps all.")

    @model_validator(mode="after")
    def _says_what_of_keys(self) -> "BackupAsked":
        if (self.passphrase is None) is not self.without_keys:
            raise ValueError("give either a passphrase, or without_keys: keys are copied under one only")
        return self


class BackupMade(BaseModel):
    """A copy."""

    path: str
    files: int
    octets: int
    secrets: int = Field(description="Secret files sealed in it.")
    linked: int = Field(description="Segments that share their octets with the spool.")
    database: str = Field(description="`sqlite`, `none`, or `elsewhere`: copy it there.")
    removed: list[str] = Field(description="Older copies that were removed.")
    missing_keys: list[str] = Field(
        description="Keys that encrypted parts of its queue, and that are not in it: keep them elsewhere."
    )
    audit: int


@router.post("/backups", status_code=201, summary="Copy configuration, keys, control database and spool")
async def backup(hub: WithHub, actor: Actor, asked: BackupAsked) -> BackupMade:
    """Mail goes on meanwhile. 409 while another copy is made; the answer comes when it is on disk."""
    passphrase = None if asked.passphrase is None else asked.passphrase.get_secret_value()
    if passphrase is not None:
        try:
            check_passphrase(passphrase)
        except PassphraseError as error:
            raise InvalidPartError("/body/passphrase", error.message) from error
    if hub.copying.locked():
        raise RefusedError("a copy is being made already; ask again when it is done", "conflict")
    async with hub.copying:
        files = (await hub.sources()).files

        def copy() -> Made:
            return make_backup(
                hub.settings,
                files,
                asked.into,
                hub.clock,
                passphrase=passphrase,
                link=asked.link,
                keep=asked.keep,
            )

        async def work() -> dict[str, Any]:
            made = made_facts(await asyncio.to_thread(copy))
            noted = {name: made[name] for name in ("path", "octets", "secrets", "removed", "missing_keys")}
            return {"changed": 1, "made": made, "facts": noted}

        what = act(actor, "backup.make", str(asked.into), asked.reason, with_keys=not asked.without_keys)
        try:
            result, audit = await hub.change(what, work, matched=1)
        except BackupError as error:
            raise RefusedError(error.message, "conflict") from error
    return BackupMade(**result["made"], audit=audit)
