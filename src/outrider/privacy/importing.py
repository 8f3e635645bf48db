"""Takes the users and keys of a credentials file into the control database.

In: the file's `Credentials`. Out: the same users and keys in the database, with the same hashes, so that
nobody has to change a password; how many of what were taken.

Theory: what the file allowed goes on to work. A tenant that is new there trusts its domains, as the file did;
in a tenant that is there and verifies domains, the file's domains are taken for verified on the operator's
word.

Invariant: all or nothing, in one change.
"""

from typing import NamedTuple

from outrider.base.errors import StoreError
from outrider.privacy.credentials import Credentials, Key, User
from outrider.store import credentials, domains, tenants
from outrider.store.editor import Author, Change, changing
from outrider.store.engine import Database
from outrider.store.records import SCOPES, ApiKey, Rights, SmtpUser, Tenant


class Taken(NamedTuple):
    """How many were taken."""

    users: int
    keys: int
    tenants: int


async def import_credentials(database: Database, author: Author, found: Credentials) -> Taken:
    """Take all of a file.

    Raises:
        StoreError: There is nothing in it, a name is taken, or something in it cannot be kept.
    """
    listed: dict[str, set[str]] = {}
    entries: list[User | Key] = [*found.users.values(), *found.keys.values()]
    if not entries:
        raise StoreError("the file holds no users and no keys", "absent")
    for entry in entries:
        listed.setdefault(entry.tenant, set()).update(entry.sender_domains)
    new = 0
    async with changing(database, author) as change:
        for name, names in sorted(listed.items()):
            new += await _take_tenant(change, name, names)
        for user in found.users.values():
            rights = _rights(user.tenant, user.sender_domains)
            record = SmtpUser(user.name, user.password_hash, rights)
            await credentials.create(change, credentials.USERS, record, "imported")
        for key in found.keys.values():
            rights = _rights(key.tenant, key.sender_domains)
            await credentials.create(
                change, credentials.KEYS, ApiKey(key.id, key.hash, SCOPES, rights), "imported"
            )
    return Taken(len(found.users), len(found.keys), new)


def _rights(tenant: str, names: frozenset[str]) -> Rights:
    if not names:
        raise StoreError(
            "the file has a user or key without sender domains, which may use only the null sender; the "
            "database has no such thing: give it a domain first"
        )
    return Rights(tenant, domains=tuple(names))


async def _take_tenant(change: Change, name: str, names: set[str]) -> int:
    tenant: Tenant | None = None
    try:
        tenant = await tenants.read_tenant(change.connection, name)
    except StoreError:
        await tenants.create_tenant(change, name, "", verifies_domains=False)
    if tenant is not None and tenant.verifies_domains and "*" in names:
        raise StoreError(
            f"the file lets somebody of tenant {name!r} use any domain, and that tenant verifies domains; "
            f"`outrider tenant set {name} --trust-domains` first, or name the domains in the file",
            "conflict",
        )
    for domain in sorted({each.removeprefix(".") for each in names} - {"*"}):
        try:
            known = await domains.read_domain(change.connection, name, domain)
        except StoreError:
            await domains.create_domain(change, name, domain, verified_by=domains.BY_OPERATOR)
            continue
        if known.verified_time is None:
            await domains.take_on_word(change, known)
    return int(tenant is None)
