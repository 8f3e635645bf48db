"""Answers `Authenticator` from the control database, and from the users file for whoever is not in it.

Theory: a session asks once, and a key is asked for with each request, so what was found is kept as long as
the database does not change: each second one number is read, that of the audit log's newest row, which rises
with every change. When it has risen, the kept answers are dropped, and every principal that some session
still holds is looked up again; where its facts differ it becomes invalid. So a revocation acts within seconds
in every worker, and a message asks nobody.

While the database is away, what was kept goes on to work for `stale_seconds`; whoever was not known hears
that we cannot tell. A password that was right is remembered as a keyed digest that covers the stored hash
too, so a new password ends it.

Invariant: the answer and the work for an unknown user are those for a wrong password; nothing kept in memory
contains a secret.

Standards: RFC 4954 §6 (one answer for all failures), RFC 2104 §2 (HMAC).
"""

import asyncio
import hmac
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar
from weakref import WeakSet

from outrider.base.clock import Clock
from outrider.base.errors import OutriderError, UnavailableError
from outrider.base.log import Log
from outrider.model.ports import Authenticator, Principal
from outrider.privacy.authenticator import REMEMBER_SECONDS, REMEMBERED
from outrider.privacy.credentials import hash_key, key_id_of
from outrider.privacy.passwords import Passwords
from outrider.privacy.principals import StorePrincipal, facts_of
from outrider.store.audit import find_head
from outrider.store.credentials import KEYS, USERS, Kind
from outrider.store.engine import Database
from outrider.store.lookup import look_up
from outrider.store.records import ApiKey, SmtpUser
from outrider.store.tenants import disabled_tenants

LOOK_SECONDS: Final = 1.0
"""Chosen, because a look costs 0.7 ms (measured) and a revocation is to act within seconds."""

KEPT: Final = 10_000
"""Chosen: answers kept at a time, about 2 KiB each."""

_TRIES: Final = 3
# chosen: a look-up is repeated when the database changed meanwhile; it does not change that often

_Record = TypeVar("_Record", SmtpUser, ApiKey)
_Cache = OrderedDict[str, StorePrincipal]


class StoreAuthenticator:
    """See the module.

    Args:
        database: The control database.
        prepare: Brings it to this program's schema; awaited before the first question.
        stale_seconds: How long answers are used that could not be checked against the database.
        fallback: Asked for whoever is not in the database; None is nobody.
        passwords: Does the slow work.
        clock: Time.
        log: Server log.
        secret: Key of the remembered digests, random per process.
    """

    def __init__(
        self,
        database: Database,
        prepare: Callable[[Database], Awaitable[object]],
        *,
        stale_seconds: float,
        fallback: Authenticator | None,
        passwords: Passwords,
        clock: Clock,
        log: Log,
        secret: bytes,
    ) -> None:
        self._database = database
        self._prepare = prepare
        self._stale_seconds = stale_seconds
        self._fallback = fallback
        self._passwords = passwords
        self._clock = clock
        self._log = log
        self._secret = secret
        self._users: _Cache = OrderedDict()
        self._keys: _Cache = OrderedDict()
        self._shut: frozenset[str] = frozenset()
        self._issued: WeakSet[StorePrincipal] = WeakSet()
        self._remembered: OrderedDict[bytes, float] = OrderedDict()
        self._is_prepared = False
        self._preparing = asyncio.Lock()
        self._number = -1
        self._seen_at = float("-inf")
        self._epoch = 0
        self._is_away = False

    # model.ports.Authenticator

    async def password(self, user: str, password: str, client: str = "") -> Principal | None:
        """The user, when the password is right and may be used from `client`."""
        known = await self._find(USERS, self._users, user)
        if known is None:
            if self._fallback is not None:
                return self._open(await self._fallback.password(user, password, client))
            await self._passwords.verify_soon(None, password)
            return None
        stored = known.facts.secret_hash
        text = f"{len(user)}:{user}{len(password)}:{password}{stored}"
        digest = hmac.digest(self._secret, text.encode("utf-8", "surrogatepass"), "sha256")
        if self._remembered.get(digest, -1.0) <= self._clock.now():
            if not await self._passwords.verify_soon(stored, password):
                return None
            self._remember(digest)
        return self._usable(known, client)

    async def api_key(self, key: str, client: str = "") -> Principal | None:
        """The key's principal, when the key is right and may be used from `client`."""
        key_id = key_id_of(key)
        if key_id is None:  # a typo is found without a look-up
            return None
        known = await self._find(KEYS, self._keys, key_id)
        if known is None:
            return None if self._fallback is None else self._open(await self._fallback.api_key(key, client))
        if not hmac.compare_digest(hash_key(key), known.facts.secret_hash):
            return None
        return self._usable(known, client)

    def is_shut(self, tenant: str) -> bool:
        """True for a disabled tenant, within seconds; one that only the configuration names is never."""
        return tenant in self._shut

    def _open(self, found: Principal | None) -> Principal | None:
        """Whom the users file knows, unless the database disables the tenant."""
        if found is None or found.tenant not in self._shut:
            return found
        self._log.warning("privacy.credential_refused", principal=found.name, reason="disabled")
        return None

    def _usable(self, known: StorePrincipal, client: str) -> StorePrincipal | None:
        why = known.refusal(client, self._clock.wall())
        if not why and known.is_valid:
            return known
        # to the client it is as if the secret were wrong; the operator wants to know
        self._log.warning("privacy.credential_refused", principal=known.name, reason=why or "changed")
        return None

    def _remember(self, digest: bytes) -> None:
        self._remembered[digest] = self._clock.now() + REMEMBER_SECONDS
        self._remembered.move_to_end(digest)
        while len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)

    # looking up

    async def _find(self, kind: Kind[_Record], cache: _Cache, name: str) -> StorePrincipal | None:
        kept = cache.get(name)
        if kept is not None and self._clock.now() - self._seen_at <= self._stale_seconds:
            cache.move_to_end(name)
            return kept
        await self._ready()
        for _ in range(_TRIES):
            epoch = self._epoch
            found = (await look_up(self._database, kind, [name])).get(name)
            if found is None:
                return None
            if epoch == self._epoch:
                principal = StorePrincipal(facts_of(found))
                self._issued.add(principal)
                cache[name] = principal
                if len(cache) > KEPT:
                    cache.popitem(last=False)
                return principal
        raise UnavailableError("the control database changes faster than it can be read; try again")

    async def _ready(self) -> None:
        if self._is_prepared:
            return
        async with self._preparing:
            if not self._is_prepared:
                await self._prepare(self._database)
                self._is_prepared = True

    # staying up to date

    async def run(self) -> None:
        """Look each second whether anything has changed; until cancelled, which closes the database."""
        try:
            while True:
                await self.refresh()
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            await self._database.dispose()

    async def refresh(self) -> None:
        """One look; what has changed or run out is invalid afterwards."""
        try:
            await self._ready()
            number = (await find_head(self._database)).number
            if number != self._number:
                await self._changed()
                self._number = number
        except OutriderError as error:
            if not self._is_away:
                self._log.error("privacy.store_away", error=error.message)
            self._is_away = True
        else:
            self._seen_at = self._clock.now()
            if self._is_away:
                self._log.info("privacy.store_back")
            self._is_away = False
        self._let_go()

    async def _changed(self) -> None:
        """Drop what is kept, and find out which principals are no longer what they were."""
        self._epoch += 1
        self._shut = await disabled_tenants(self._database)
        self._users.clear()
        self._keys.clear()
        held = [principal for principal in self._issued if principal.is_valid]
        await self._compare(USERS, [one for one in held if not one.facts.is_key])
        await self._compare(KEYS, [one for one in held if one.facts.is_key])
        self._epoch += 1

    async def _compare(self, kind: Kind[_Record], held: list[StorePrincipal]) -> None:
        found = await look_up(self._database, kind, {one.facts.id for one in held})
        for principal in held:
            known = found.get(principal.facts.id)
            if known is None or facts_of(known) != principal.facts:
                principal.is_valid = False

    def _let_go(self) -> None:
        wall = self._clock.wall()
        for principal in self._issued:
            if principal.facts.expires_time is not None and principal.is_expired(wall):
                principal.is_valid = False
