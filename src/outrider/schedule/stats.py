"""What people order for paths and what they are shown of them: plain values."""

from dataclasses import dataclass

from outrider.model.flow import Path


@dataclass(frozen=True, slots=True)
class Suspension:
    """An order to keep the mail of some paths.

    Attributes:
        channel: Channel pattern.
        binding: Binding pattern.
        site: Site pattern.
        until_at: Monotonic seconds; infinite until it is lifted.
        reason: For people.
        actor: Who gave it.
    """

    channel: str
    binding: str
    site: str
    until_at: float
    reason: str
    actor: str


@dataclass(frozen=True, slots=True)
class PathStats:
    """What a status page shows of a path; `next_at` is monotonic seconds or None."""

    path: Path
    waiting: int
    deferred: int
    granted: int
    connections: int
    connecting: int
    idle: int
    failures: int
    state: str
    more_on_disk: bool
    next_at: float | None
