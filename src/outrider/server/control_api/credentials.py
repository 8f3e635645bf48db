"""Routes of SMTP users and API keys.

A password comes in a request body and a new key goes out in an answer, each once: neither is kept, and no
row of the audit log, event or line of a log holds one. Both kinds live by the same rules
(`store.credentials`), so what is asked of either is done by the same functions here.
"""

import asyncio
from typing import Any, Literal, TypeVar

from fastapi import APIRouter, Response
from pydantic import AwareDatetime, BaseModel, Field, SecretStr

from outrider.base.errors import ConfigError
from outrider.privacy import importing, issuing
from outrider.privacy.credentials import parse_credentials
from outrider.server.control_api.hub import Actor, Caller, Hub, WithHub, act, with_reason
from outrider.server.control_api.models import IDS_MAX, REASON_CHARACTERS, ChangeAsked, Name, Reason
from outrider.server.control_api.problems import InvalidPartError
from outrider.store import credentials
from outrider.store.credentials import KEYS, USERS, Kind
from outrider.store.records import SCOPES, ApiKey, Rights, SmtpUser, shown

router = APIRouter(prefix="/v1", tags=["credentials"])

Record = TypeVar("Record", SmtpUser, ApiKey)
Scope = Literal["inject", "status"]
FILE_CHARACTERS = 900_000
# chosen: a body has at most app.BODY_OCTETS; some thousands of users


class _RightsAsked(ChangeAsked):
    """What a credential may do; what is not given has its default, or stays as it is."""

    domains: list[Name] | None = Field(
        None,
        max_length=IDS_MAX,
        description="Domains for MAIL FROM and From; `.example.com` is all below it, `*` any; [] those of "
        "the tenant.",
    )
    streams: list[Name] | None = Field(
        None, max_length=IDS_MAX, description="Streams that messages may name; [] any of the tenant."
    )
    stream: str | None = Field(None, max_length=255, description="Stream of messages that name none.")
    networks: list[Name] | None = Field(
        None, max_length=IDS_MAX, description="Networks that it may be used from; [] any."
    )
    is_sandbox: bool | None = Field(None, description="Messages are accepted and recorded, never sent.")
    description: str | None = Field(None, max_length=REASON_CHARACTERS, description="For people.")
    expires_time: AwareDatetime | None = Field(
        None, description="It does not work from then on; RFC 3339 with an offset."
    )

    def given(self) -> dict[str, Any]:
        """By the names of `Rights`; what was left out is not in it."""
        given = {name: getattr(self, name) for name in _RightsAsked.model_fields if name != "reason"}
        if self.expires_time is not None:
            given["expires_time"] = self.expires_time.timestamp()
        return {name: value for name, value in given.items() if value is not None}


class _Made(_RightsAsked):
    tenant: Name = Field("default", description="Whose it is; it stays with it.")

    def rights(self) -> Rights:
        """What the new credential may do."""
        lists = {name: tuple(value) for name, value in self.given().items() if isinstance(value, list)}
        return Rights(self.tenant, **{**self.given(), **lists})


class UserAsked(_Made):
    """A new SMTP user."""

    name: Name = Field(description="Login, as clients give it in AUTH.")
    password: SecretStr = Field(description="At least 8 characters; kept as Argon2id.")


class KeyAsked(_Made):
    """A new API key."""

    id: str = Field("", max_length=63, description="Letters, digits, dots, hyphens; drawn when left out.")
    scopes: list[Scope] = Field(list(SCOPES), description="What it is for.")


class UserChange(_RightsAsked):
    """What to change of a user; null and what is left out stay."""

    is_enabled: bool | None = Field(None, description="False refuses it until it is enabled; needs a reason.")
    never_expires: bool = Field(False, description="It has no end any more.")

    def changes(self) -> dict[str, Any]:
        """As `credentials.set_rights` takes them."""
        asked = {**self.given(), "is_enabled": self.is_enabled}
        return credentials.changes_of(asked, never_expires=self.never_expires)


class KeyChange(UserChange):
    """What to change of a key; null and what is left out stay, and so does the key itself."""

    scopes: list[Scope] | None = Field(None, description="All its scopes from now on.")

    def changes(self) -> dict[str, Any]:
        """As `credentials.set_rights` takes them."""
        asked = {**self.given(), "is_enabled": self.is_enabled, "scopes": self.scopes}
        return credentials.changes_of(asked, never_expires=self.never_expires)


class PasswordAsked(ChangeAsked):
    """Another password."""

    password: SecretStr


class _Credential(BaseModel):
    tenant: str
    description: str
    domains: list[str]
    streams: list[str]
    stream: str
    networks: list[str]
    is_sandbox: bool
    is_enabled: bool
    expires_time: str | None
    created_time: str | None


class UserShown(_Credential):
    """An SMTP user, without anything of its password."""

    name: str


class KeyShown(_Credential):
    """An API key, without anything of its text."""

    id: str
    scopes: list[str]


class Users(BaseModel):
    """SMTP users, by name."""

    items: list[UserShown]


class Keys(BaseModel):
    """API keys, by id."""

    items: list[KeyShown]


class KeyIssued(KeyShown):
    """A key with its text, which is shown this once and kept nowhere."""

    key: str


class UsersFile(ChangeAsked):
    """A users file, as `server.users_file` names one; it holds hashes."""

    file: str = Field(max_length=FILE_CHARACTERS, description="Its whole text.")


class Taken(BaseModel):
    """How many were taken over."""

    users: int
    keys: int
    tenants: int = Field(description="New ones; they trust their domains, as the file did.")


def _issued(issued: issuing.Issued, response: Response) -> KeyIssued:
    response.headers["cache-control"] = "no-store"
    return KeyIssued(**shown(issued.key), key=issued.text)


async def _set(
    hub: Hub, actor: Caller, kind: Kind[Record], name: str, asked: UserChange | KeyChange
) -> dict[str, Any]:
    if asked.is_enabled is False:
        with_reason(asked.reason, f"disabling a {kind.what}")
    changes = asked.changes()
    verb = {True: "enable", False: "disable", None: "change"}[asked.is_enabled]
    return shown(
        await hub.store(
            act(actor, f"{kind.what}.{verb}", name, asked.reason),
            lambda author: credentials.set_rights(hub.engine, author, kind, name, **changes),
        )
    )


async def _remove(hub: Hub, actor: Caller, kind: Kind[Record], name: str, reason: str) -> None:
    with_reason(reason, f"removing a {kind.what}")
    await hub.store(
        act(actor, f"{kind.what}.remove", name, reason),
        lambda author: credentials.remove(hub.engine, author, kind, name),
    )


@router.get("/users", summary="SMTP users, of all tenants or of one")
async def list_users(hub: WithHub, tenant: str | None = None) -> Users:
    """Without anything of their passwords."""
    found = await credentials.list_all(hub.engine, USERS, tenant)
    return Users(items=[UserShown(**shown(user)) for user in found])


@router.post("/users", status_code=201, summary="Add an SMTP user with a password")
async def add_user(hub: WithHub, actor: Actor, asked: UserAsked) -> UserShown:
    """It works within two seconds. 409 when the name is taken."""
    password, rights = asked.password.get_secret_value(), asked.rights()
    user = await hub.store(
        act(actor, "user.add", asked.name, asked.reason, asked.tenant),
        lambda author: issuing.issue_user(hub.engine, author, asked.name, password, rights),
    )
    return UserShown(**shown(user))


@router.post("/users/import", summary="Take over the users and keys of a users file, all or none")
async def import_users(hub: WithHub, actor: Actor, asked: UsersFile) -> Taken:
    """Passwords and keys stay what they are. 422 tells every fault of the file."""
    try:
        found = await asyncio.to_thread(parse_credentials, asked.file, "file")
    except ConfigError as error:
        raise InvalidPartError("/body/file", error.message, error.faults) from error
    taken = await hub.store(
        act(actor, "user.import", f"{len(found.users)} users and {len(found.keys)} keys", asked.reason),
        lambda author: importing.import_credentials(hub.engine, author, found),
    )
    return Taken(**taken._asdict())


# logins may hold slashes, so a name is all of the path that is left


@router.post("/users/{name:path}/password", summary="Give a user another password")
async def change_password(hub: WithHub, actor: Actor, name: str, asked: PasswordAsked) -> UserShown:
    """The old one works no more; open sessions end within seconds."""
    password = asked.password.get_secret_value()
    user = await hub.store(
        act(actor, "user.password", name, asked.reason),
        lambda author: issuing.change_password(hub.engine, author, name, password),
    )
    return UserShown(**shown(user))


@router.get("/users/{name:path}", summary="What a user may do")
async def show_user(hub: WithHub, name: str) -> UserShown:
    """404 when there is none of that name."""
    return UserShown(**shown(await credentials.find(hub.engine, USERS, name)))


@router.patch("/users/{name:path}", summary="Change what a user may do; block it, let it in again")
async def set_user(hub: WithHub, actor: Actor, name: str, asked: UserChange) -> UserShown:
    """Its open sessions end within seconds. Blocking needs a reason."""
    return UserShown(**await _set(hub, actor, USERS, name, asked))


@router.delete("/users/{name:path}", status_code=204, summary="Remove a user, with a reason")
async def remove_user(hub: WithHub, actor: Actor, name: str, reason: Reason = "") -> None:
    """It cannot be had back."""
    await _remove(hub, actor, USERS, name, reason)


@router.get("/keys", summary="API keys, of all tenants or of one")
async def list_keys(hub: WithHub, tenant: str | None = None) -> Keys:
    """Without anything of their texts."""
    found = await credentials.list_all(hub.engine, KEYS, tenant)
    return Keys(items=[KeyShown(**shown(key)) for key in found])


@router.post("/keys", status_code=201, summary="Make an API key; the answer shows it, this once")
async def add_key(hub: WithHub, actor: Actor, asked: KeyAsked, response: Response) -> KeyIssued:
    """Only its hash is kept. 409 when the id is taken."""
    rights, scopes = asked.rights(), tuple(asked.scopes)
    key_id = asked.id or issuing.draw_key_id()
    issued = await hub.store(
        act(actor, "key.add", key_id, asked.reason, asked.tenant),
        lambda author: issuing.issue_key(hub.engine, author, rights, key_id=key_id, scopes=scopes),
    )
    return _issued(issued, response)


@router.get("/keys/{name}", summary="What a key may do")
async def show_key(hub: WithHub, name: str) -> KeyShown:
    """404 when there is none of that id."""
    return KeyShown(**shown(await credentials.find(hub.engine, KEYS, name)))


@router.patch("/keys/{name}", summary="Change what a key may do; block it, let it in again")
async def set_key(hub: WithHub, actor: Actor, name: str, asked: KeyChange) -> KeyShown:
    """It holds within two seconds. Blocking needs a reason."""
    return KeyShown(**await _set(hub, actor, KEYS, name, asked))


@router.post("/keys/{name}/rotation", summary="Give a key another secret; the answer shows it, this once")
async def rotate_key(
    hub: WithHub, actor: Actor, name: str, asked: ChangeAsked, response: Response
) -> KeyIssued:
    """The old one works no more within two seconds."""
    issued = await hub.store(
        act(actor, "key.rotate", name, asked.reason),
        lambda author: issuing.rotate_key(hub.engine, author, name),
    )
    return _issued(issued, response)


@router.delete("/keys/{name}", status_code=204, summary="Revoke a key for good, with a reason")
async def remove_key(hub: WithHub, actor: Actor, name: str, reason: Reason = "") -> None:
    """It cannot be had back; a new one can be made."""
    await _remove(hub, actor, KEYS, name, reason)
