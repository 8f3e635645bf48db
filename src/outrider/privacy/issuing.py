"""Makes credentials: passwords become hashes, keys are drawn, shown once and kept as hashes.

In: a database, an `Author`, what the credential may do. Out: the stored record and, for a key, its text,
which exists nowhere else.

Theory: a key is 32 random octets with a prefix and a checksum (`privacy.credentials`), so a fast hash of it
is safe, a typo is found without a look-up, and scanners for leaked secrets know it when they see it.
"""

import asyncio
import secrets
from typing import Final, NamedTuple

from outrider.privacy.credentials import hash_key, make_key_text
from outrider.privacy.passwords import check_password, hash_password
from outrider.store.credentials import KEYS, USERS, add, set_key_hash, set_password_hash
from outrider.store.editor import Author
from outrider.store.engine import Database
from outrider.store.records import SCOPES, ApiKey, Rights, SmtpUser

_ID_OCTETS: Final = 5
# chosen: an id of ten digits is short to read aloud, and a clash is refused


class Issued(NamedTuple):
    """A new key and its text."""

    key: ApiKey
    text: str


async def issue_user(
    database: Database, author: Author, name: str, password: str, rights: Rights
) -> SmtpUser:
    """A new SMTP user.

    Raises:
        StoreError: The name is taken, the password is too short, or a right is wrong.
    """
    check_password(password)
    user = SmtpUser(name, await asyncio.to_thread(hash_password, password), rights)
    return await add(database, author, USERS, user)


async def change_password(database: Database, author: Author, name: str, password: str) -> SmtpUser:
    """Give a user another password.

    Raises:
        StoreError: There is no such user, or the password is too short.
    """
    check_password(password)
    return await set_password_hash(database, author, name, await asyncio.to_thread(hash_password, password))


def draw_key_id() -> str:
    """An id for whoever has none in mind."""
    return secrets.token_hex(_ID_OCTETS)


async def issue_key(
    database: Database,
    author: Author,
    rights: Rights,
    *,
    key_id: str = "",
    scopes: tuple[str, ...] = SCOPES,
) -> Issued:
    """A new key; an id is drawn where none is given.

    Raises:
        StoreError: The id is taken or is none, or a right or scope is wrong.
    """
    key_id = key_id or draw_key_id()
    text = make_key_text(key_id)
    return Issued(await add(database, author, KEYS, ApiKey(key_id, hash_key(text), scopes, rights)), text)


async def rotate_key(database: Database, author: Author, key_id: str) -> Issued:
    """Give a key another secret; the old one works no more within seconds.

    Raises:
        StoreError: There is no such key.
    """
    text = make_key_text(key_id)
    return Issued(await set_key_hash(database, author, key_id, hash_key(text)), text)
