"""How many delivery reports may go to one sender's domain.

Theory: a token bucket for each domain. Whoever forges a victim's address as sender makes us write to the
victim; the bucket bounds that backscatter, and a bounce storm, without holding up a normal sender.

Invariant: over any span of `t` seconds a domain gets at most `burst + t * per_hour / 3600` reports, as long
as fewer than `domains_max` domains get reports at a time; memory is bounded by `domains_max`.
"""

from outrider.classify.options import DsnRateOptions


class DsnRate:
    """The buckets of one process. No clock inside: `now` is monotonic seconds."""

    __slots__ = ("_buckets", "_burst", "_domains_max", "_refused", "_tokens_a_second")

    def __init__(self, options: DsnRateOptions) -> None:
        self._burst = float(options.burst)
        self._tokens_a_second = options.per_hour / 3600
        self._domains_max = options.domains_max
        self._buckets: dict[str, tuple[float, float]] = {}
        self._refused = 0

    @property
    def refused(self) -> int:
        """Reports that were not sent so far."""
        return self._refused

    def allow(self, domain: str, now: float) -> bool:
        """Take one report for `domain`; False when it must not be sent."""
        tokens, then = self._buckets.pop(domain, (self._burst, now))
        tokens = min(self._burst, tokens + max(0.0, now - then) * self._tokens_a_second)
        allowed = tokens >= 1.0
        if allowed:
            tokens -= 1.0
        else:
            self._refused += 1
        self._buckets[domain] = (tokens, now)
        if len(self._buckets) > self._domains_max:
            del self._buckets[next(iter(self._buckets))]
        return allowed
