"""Removes texts of signing keys that no message of the queue names any more; a task of the control process.

In: what the dispatcher knows of the oldest message. Out: fewer files.

Theory: a key's file is at most an hour older than any message that names it (`SigningKeys.write`), and a
message is in the queue, whatever holds it there, from its reception on, which its id tells. So what is older
than the oldest message is named by none; no message has to be read for that. Where the queue is not wholly
known, as after a start, nothing is removed.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from outrider.base.clock import Clock
from outrider.base.errors import OutriderError
from outrider.base.log import Log
from outrider.privacy.signing_keys import SigningKeys, prunable_before

PRUNE_EVERY_SECONDS: Final = 6 * 3_600.0
# chosen: files are some 2 KiB, and keys come and go in days
FIRST_SECONDS: Final = 300.0
# chosen: a start is over then

Ask = Callable[[str], Awaitable[Any]]


async def prune_once(keys: SigningKeys, ask: Ask, clock: Clock) -> int:
    """Remove what no message names; how many it were.

    Args:
        keys: Where the texts are.
        ask: Asks the dispatcher.
        clock: Time.

    Raises:
        UnavailableError: The dispatcher does not answer.
        ConfigError: The directory cannot be changed.
    """
    found = await ask("queue.oldest")
    if not found["is_known"]:
        return 0
    before = prunable_before(clock.wall(), found["received_time"])
    return await asyncio.to_thread(keys.prune, before)


async def keep_pruning(keys: SigningKeys, ask: Ask, clock: Clock, log: Log) -> None:
    """Prune now and then, until cancelled."""
    seconds = FIRST_SECONDS
    while True:
        await asyncio.sleep(seconds)
        seconds = PRUNE_EVERY_SECONDS
        try:
            removed = await prune_once(keys, ask, clock)
        except OutriderError as error:
            log.warning("signing.not_pruned", error=error.message)
        else:
            if removed:
                log.info("signing.pruned", keys=removed)
