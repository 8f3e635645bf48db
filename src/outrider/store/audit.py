"""The audit log: who changed what, when and why; and the proof that nobody changed that afterwards.

In: an engine. Out: rows, or what a check of the chain found. `store.editor` appends.

Theory: each row holds the hash of the one before, and its own hash covers that and every field, its number
included. So a row that was changed has another hash than it says; one that was removed leaves a gap in the
numbers; rows that changed places have wrong numbers or hashes. The newest row is held by `audit_head`.
Whoever can write the database can also rewrite the whole chain: against that the head's number and hash are
to be kept elsewhere from time to time, and given to `verify` later. (Triggers refuse changes by mistake.)

Not here: signatures and outside witnesses of the head.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from outrider.base.errors import OutriderError, StoreError
from outrider.store import schema
from outrider.store.editor import NO_HASH, Author, changing, hash_of
from outrider.store.engine import reading
from outrider.store.records import AuditRow

_SLICE: Final = 1_000
# chosen: rows read at once, some 500 octets each

_HEAD: Final = re.compile(r"(\d{1,18}):([0-9a-f]{64})")


class Head(NamedTuple):
    """The newest row of the log: what to write down elsewhere as a witness."""

    number: int
    hash: str

    def __str__(self) -> str:
        return f"{self.number}:{self.hash}"


class Check(NamedTuple):
    """What a check of the chain found.

    Attributes:
        rows: Rows that are right, from the first on.
        head: What the log says its newest row is.
        fault: What is wrong with the next one; empty when nothing is.
    """

    rows: int
    head: Head
    fault: str


def parse_head(text: str) -> Head:
    """A head as `str` made it.

    Raises:
        StoreError: It is none.
    """
    found = _HEAD.fullmatch(text)
    if found is None:
        raise StoreError("a witness is NUMBER:HASH, as `outrider audit verify` prints it")
    return Head(int(found[1]), found[2])


async def read_head(connection: AsyncConnection) -> Head:
    """The head; its number rises with each change."""
    head = schema.audit_head
    found = (await connection.execute(sa.select(head.c.number, head.c.hash))).one_or_none()
    return Head(0, NO_HASH) if found is None else Head(found[0], found[1])


async def find_head(engine: AsyncEngine) -> Head:
    """`read_head` in a transaction of its own."""
    async with reading(engine) as connection:
        return await read_head(connection)


async def list_audit(
    engine: AsyncEngine,
    *,
    limit: int = 100,
    before: int | None = None,
    tenant: str | None = None,
    actor: str | None = None,
    action: str | None = None,
    subject: str | None = None,
) -> list[AuditRow]:
    """The newest rows, newest first.

    Args:
        engine: The database.
        limit: At most so many.
        before: Only rows with lower numbers: the cursor of the next page.
        tenant: Only of this tenant.
        actor: Only by this actor.
        action: Only this action, or all that begin with it and a dot.
        subject: Only on this subject.
    """
    audit = schema.audit
    query = sa.select(audit).order_by(audit.c.number.desc()).limit(limit)
    if before is not None:
        query = query.where(audit.c.number < before)
    for column, wanted in ((audit.c.tenant, tenant), (audit.c.actor, actor), (audit.c.subject, subject)):
        if wanted is not None:
            query = query.where(column == wanted)
    if action is not None:
        below = audit.c.action.startswith(action + ".", autoescape=True)
        query = query.where(sa.or_(audit.c.action == action, below))
    async with reading(engine) as connection:
        return [AuditRow(*row) for row in await connection.execute(query)]


async def note(
    engine: AsyncEngine, author: Author, action: str, subject: str, tenant: str = "", **details: Any
) -> AuditRow:
    """Record something that changes no table of this database, such as a purge of the queue.

    Raises:
        UnavailableError: The database does not answer; then what is to be recorded must not be done.
    """
    async with changing(engine, author) as change:
        return await change.note(action, subject, tenant, **details)


@dataclass(slots=True)
class Noted:
    """A change that is being made.

    Attributes:
        number: Of the row that was written before it.
        facts: What the row after it shall tell beside the result; no secrets.
    """

    number: int
    facts: dict[str, Any] = field(default_factory=dict)


@asynccontextmanager
async def noting(
    engine: AsyncEngine, author: Author, action: str, subject: str, tenant: str = "", **details: Any
) -> AsyncIterator[Noted]:
    """Around a change outside this database: a row before it, and one with its result after it.

    So nothing is done that nobody can be asked about, and a row without its result tells of a change in the
    middle of which its process, or the database, died.

    Raises:
        UnavailableError: The database does not answer. When it did not before the change, nothing was done.
    """
    noted = Noted((await note(engine, author, action, subject, tenant, **details)).number)

    async def conclude(result: str) -> None:
        told = {"of": noted.number, "result": result, **noted.facts}
        await note(engine, author, f"{action}.result", subject, tenant, **told)

    try:
        yield noted
    except OutriderError as error:
        await conclude(error.message)
        raise
    await conclude("done")


async def _rows(connection: AsyncConnection) -> AsyncIterator[AuditRow]:
    audit = schema.audit
    last = None
    while True:
        query = sa.select(audit).order_by(audit.c.number).limit(_SLICE)
        if last is not None:
            query = query.where(audit.c.number > last)
        slice_ = [AuditRow(*row) for row in await connection.execute(query)]
        for row in slice_:
            yield row
        if len(slice_) < _SLICE:
            return
        last = slice_[-1].number


async def verify(engine: AsyncEngine, witness: Head | None = None) -> Check:
    """Check the whole chain, and that it goes through `witness`, a head that was kept elsewhere."""
    previous, rows = NO_HASH, 0
    async with reading(engine) as connection:
        head = await read_head(connection)
        async for row in _rows(connection):
            fault = _fault(row, rows + 1, previous)
            if not fault and witness is not None and row.number == witness.number:
                fault = "" if row.hash == witness.hash else f"row {row.number} is not the one of the witness"
            if fault:
                return Check(rows, head, fault)
            previous, rows = row.hash, rows + 1
    if (rows, previous) != head:
        return Check(rows, head, f"the log ends with row {rows}, but its newest row is number {head.number}")
    if witness is not None and witness.number > rows:
        return Check(rows, head, f"the log ends with row {rows}, but the witness saw row {witness.number}")
    return Check(rows, head, "")


def _fault(row: AuditRow, expected: int, previous: str) -> str:
    if row.number != expected:
        return f"row {expected} is missing: row {row.number} comes in its place"
    if row.previous != previous:
        return f"row {row.number} does not follow the row before it: one of them was exchanged or removed"
    if row.hash != hash_of(row):
        return f"row {row.number} was changed: its hash is not that of its fields"
    return ""
