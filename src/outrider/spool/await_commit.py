"""Waiting for a commit, for those who do one at a time; never on a message's way."""

import asyncio
from collections.abc import Sequence

from outrider.base.errors import SpoolError
from outrider.model.changes import Change, ContentRef
from outrider.model.ports import Log


def begin_commit(
    log: Log, changes: Sequence[Change], contents: Sequence[Sequence[bytes]] = ()
) -> asyncio.Future[ContentRef | None]:
    """Commit one frame; the future gets its place, or None when it will never be durable."""
    future: asyncio.Future[ContentRef | None] = asyncio.get_running_loop().create_future()

    def done(ref: ContentRef | None) -> None:
        if not future.done():
            future.set_result(ref)

    log.commit(changes, contents, done)
    return future


async def commit_and_wait(
    log: Log, changes: Sequence[Change], contents: Sequence[Sequence[bytes]] = ()
) -> ContentRef:
    """Write one frame and wait until it is durable.

    Cancelled, the frame may become durable or not.

    Raises:
        SpoolError: It is not durable and never will be.
    """
    ref = await begin_commit(log, changes, contents)
    if ref is None:
        raise SpoolError("the spool did not take a change set: see spool.write_failed in the log")
    return ref
