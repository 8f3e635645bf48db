"""When a failed entry is due again, and when it is given up. Pure, used by the workers too.

Theory: waits double from `retry_interval_seconds` to `max_retry_interval_seconds`, each spread by the
jitter so that what failed together does not come back together. Nothing becomes due after its expiration,
so that a sender hears of a failure when it is certain and not at the retry after it.

Standards: RFC 5321 §4.5.4.1 (retry at least 30 minutes apart after a few attempts; give up after 4 to 5
days).
"""

import random

from outrider.schedule.options import ShapingOptions

# Doubling more often than this exceeds any permitted maximum; it keeps the power from overflowing.
_DOUBLINGS_MAX = 40


def next_due(attempts: int, now_time: float, options: ShapingOptions, rng: random.Random) -> float:
    """Unix seconds of the next attempt.

    Args:
        attempts: Attempts made, the failed one included; at least 1.
        now_time: Unix seconds.
        options: Of the path.
        rng: Source of the jitter.
    """
    doublings = min(max(attempts, 1) - 1, _DOUBLINGS_MAX)
    longest = max(options.max_retry_interval_seconds, options.retry_interval_seconds)
    wait = min(options.retry_interval_seconds * 2.0**doublings, longest)
    jitter = options.retry_jitter
    if jitter:
        wait = min(wait * (1.0 + jitter * (2.0 * rng.random() - 1.0)), longest)
    return now_time + wait


def expires_time(received_time: float, options: ShapingOptions) -> float:
    """Unix seconds at which a message that was received at `received_time` is given up."""
    return received_time + options.message_expiration_seconds


def delay_notice_time(received_time: float, options: ShapingOptions) -> float | None:
    """Unix seconds from which a failed attempt tells the sender of the delay; None is never."""
    after = options.delay_notice_after_seconds
    return received_time + after if after else None
