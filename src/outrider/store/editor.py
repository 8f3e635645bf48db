"""Changes to the control database: each in one transaction with its row in the audit log.

In: an engine and an `Author` (who, why, the time). Out: `Change`, inside which statements are executed and
`note` says what they were.

Theory: the first statement of a change locks the one row of `audit_head`, so changes happen one after the
other in the whole cluster, each row follows the one before it, and a reader who compares the head's number
with the one it saw last knows whether anything has changed. Administration is rare; this costs it nothing.

Invariant: nothing is committed that no audit row tells of.
"""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from outrider.base.clock import Clock, format_utc
from outrider.base.errors import StoreError
from outrider.store import schema
from outrider.store.engine import writing
from outrider.store.records import AuditRow

TEXT_CHARACTERS_MAX = 1_000
"""Chosen: a reason is a sentence, not a document."""

NO_HASH = "0" * 64
"""What stands before the first row."""


@dataclass(frozen=True, slots=True)
class Author:
    """Who changes something.

    Attributes:
        actor: `cli:NAME`, `api:NAME`, `signal` or `server`.
        clock: Gives the time of the change.
        reason: Why, in the actor's words.
        user_id: Id of the user of the machine who asked, as the kernel says; None where it was nobody.
    """

    actor: str
    clock: Clock
    reason: str = ""
    user_id: int | None = None


def hash_of(row: AuditRow) -> str:
    """The hash that `row` must have: SHA-256 (FIPS 180-4 §6.2) over all its fields and the hash before."""
    fields = [
        row.number,
        row.time,
        row.actor,
        row.action,
        row.subject,
        row.tenant,
        row.reason,
        row.details,
        row.previous,
    ]
    return hashlib.sha256(msgspec.json.encode(fields)).hexdigest()


class Change:
    """One transaction; `begin` once, then statements by `connection`, and `note` for each thing changed."""

    def __init__(self, connection: AsyncConnection, author: Author) -> None:
        self.connection = connection
        self.author = author
        self.now = author.clock.wall()
        self.noted = 0
        self._number = 0
        self._previous = NO_HASH

    async def begin(self) -> None:
        """Lock the end of the chain."""
        head = schema.audit_head
        found = await self.connection.execute(sa.select(head.c.number, head.c.hash).with_for_update())
        self._number, self._previous = found.one()

    async def note(self, action: str, subject: str, tenant: str = "", **details: Any) -> AuditRow:
        """Append a row to the audit log; `details` hold no secrets."""
        reason = self.author.reason
        if len(reason) > TEXT_CHARACTERS_MAX:
            raise StoreError(f"a reason has at most {TEXT_CHARACTERS_MAX} characters")
        row = AuditRow(
            self._number + 1,
            format_utc(self.now),
            self.author.actor,
            action,
            subject,
            tenant,
            reason,
            msgspec.json.encode(self._with_user(details), order="sorted").decode(),
            self._previous,
            "",
        )
        row = msgspec.structs.replace(row, hash=hash_of(row))
        await self.connection.execute(sa.insert(schema.audit).values(msgspec.structs.asdict(row)))
        await self.connection.execute(sa.update(schema.audit_head).values(number=row.number, hash=row.hash))
        self._number, self._previous = row.number, row.hash
        self.noted += 1
        return row

    def _with_user(self, details: dict[str, Any]) -> dict[str, Any]:
        """With the user's id: a name may be given to another one later, or lead to nobody."""
        user_id = self.author.user_id
        return details if user_id is None else {**details, "user_id": user_id}


@asynccontextmanager
async def changing(engine: AsyncEngine, author: Author) -> AsyncIterator[Change]:
    """A change: committed at the end of the block with its audit rows, undone when it raises.

    Raises:
        UnavailableError: The database does not answer.
        StoreError: What was written contradicts what is there.
    """
    async with writing(engine) as connection:
        change = Change(connection, author)
        await change.begin()
        yield change
        if not change.noted:
            raise AssertionError("a change of the control database was not noted in the audit log")
