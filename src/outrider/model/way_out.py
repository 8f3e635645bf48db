"""What policy is asked on the way out, and what it says: one recipient of one attempt.

    slot → Leaving → policy → Content, or Stay → slot
    egress → Ended → policy → Ruling → egress

Theory: what policy decides is a value, so whoever sends and whoever records needs to know no script. Reading
`Attempted` beside it: that is what is written in the end.
"""

from collections.abc import Mapping

import msgspec

from outrider.model.changes import Stored
from outrider.model.dispatch import Granted
from outrider.model.flow import Content, Outcome, Path, Verdict
from outrider.model.reply import Reply


class Leaving(msgspec.Struct, frozen=True, gc=False):
    """Recipients of one message that are about to go on the wire, on a connection that is ready.

    Attributes:
        path: Whose queue they are from.
        stored: Their message.
        content: As it was stored.
        group: The recipients, in the order in which they would go.
        host: Exchanger's name.
        peer: `address:port` of the exchanger.
        source: Our address of the connection.
        tls: Protocol and cipher, or None.
    """

    path: Path
    stored: Stored
    content: Content
    group: tuple[Granted, ...]
    host: str
    peer: str
    source: str
    tls: str | None


class Stay(msgspec.Struct, frozen=True, gc=False):
    """Policy keeps one recipient from the wire.

    Attributes:
        reply: What is recorded in place of a host's reply, and what the sender hears where it is an end.
        seconds: Held back for so long: that is no attempt. None: it counts as one, and `reply` says what
            becomes of it.
        discard: Why it is never sent, and nobody is told; empty otherwise.
    """

    reply: Reply
    seconds: float | None = None
    discard: str = ""


Departure = Content | Stay
"""What becomes of one recipient before the wire: the content that it gets, or that it stays."""


class Ended(msgspec.Struct, frozen=True, gc=False):
    """What came of one attempt on one recipient.

    Attributes:
        path: Its queue.
        stored: Its message.
        index: Of its delivery in `stored`.
        attempts: How many were made, this one included.
        outcome: The reply.
        verdict: What `classify` says of it.
        kind: `bounced`, `expired` or `discarded` for a recipient that ends; empty after a reply.
    """

    path: Path
    stored: Stored
    index: int
    attempts: int
    outcome: Outcome
    verdict: Verdict
    kind: str = ""


class Ruling(msgspec.Struct, frozen=True, gc=False):
    """What policy makes of a reply.

    Attributes:
        verdict: What holds.
        seconds: When it is tried again, in so many seconds; None is as the back-off says.
        metadata: What is written with the event beside the recipient's own.
    """

    verdict: Verdict
    seconds: float | None = None
    metadata: Mapping[str, str] = {}
