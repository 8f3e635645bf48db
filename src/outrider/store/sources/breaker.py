"""Leaves a source alone that does not answer. No I/O and no clock: times come in.

Theory: while a source is down, each question would wait for its whole time, and mail with it. After some
failures in a row the breaker opens: questions fail at once. After a while one question is let through (it is
half open); its answer closes the breaker or keeps it open.

Invariant: while it is not closed, at most one question is under way that was let through after it opened.
"""


class Breaker:
    """One source's.

    Args:
        failures: After so many in a row it opens.
        open_seconds: For so long.
    """

    __slots__ = ("_failed", "_failures", "_is_probing", "_open_seconds", "_until")

    def __init__(self, failures: int, open_seconds: float) -> None:
        self._failures = failures
        self._open_seconds = open_seconds
        self._failed = 0
        self._until: float | None = None
        self._is_probing = False

    @property
    def is_open(self) -> bool:
        """Questions are refused, except for the one that probes."""
        return self._until is not None

    def wait_seconds(self, now: float) -> float:
        """How long until a question is let through; 0 when one is now."""
        if self._until is None:
            return 0.0
        return max(self._until - now, 0.0)

    def admits(self, now: float) -> bool:
        """True lets the question through; then `answered`, `failed` or `abandoned` must follow.

        One that is let through while the breaker is open is its probe.
        """
        if self._until is None:
            return True
        if self._is_probing or now < self._until:
            return False
        self._is_probing = True
        return True

    def answered(self) -> bool:
        """The source answered; True when that closed the breaker."""
        was_open = self.is_open
        self._failed = 0
        self._until = None
        self._is_probing = False
        return was_open

    def failed(self, now: float, *, was_probe: bool = False) -> bool:
        """The source did not answer; True when that opened the breaker."""
        was_open = self.is_open
        self._failed += 1
        if was_probe:
            self._is_probing = False
        if was_open or self._failed >= self._failures:
            self._until = now + self._open_seconds
        return self.is_open and not was_open

    def abandoned(self, *, was_probe: bool = False) -> None:
        """Who asked went away before the answer, or did not ask at all; nothing was learned."""
        if was_probe:
            self._is_probing = False
