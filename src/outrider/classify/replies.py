"""Outcomes that the queue decides without a peer: one documented constant for each.

Each goes into an `Outcome` with phase QUEUE and `ours`; a sender may read the text in a delivery report.

Standards: RFC 3463 §3 (status codes).
"""

from outrider.model.reply import Reply

EXPIRED = Reply(554, "5.4.7", ("The message could not be delivered in the time allowed",))
# RFC 3463 §3.5 X.4.7. The last transient reply stands beside it in the report.

STILL_TRYING = Reply(451, "4.4.7", ("The message could not be delivered yet; we keep trying",))
# RFC 3463 §3.5 X.4.7, in delay notices of entries that were never attempted.

TOO_MANY_HOPS = Reply(554, "5.4.6", ("The message has passed through too many servers",))
# RFC 5321 §6.3 loop detection.

PURGED = Reply(554, "5.7.0", ("The message was removed from the queue by an administrator",))
# RFC 3463 §3.8 X.7.0.

DISCARDED = Reply(554, "5.7.1", ("The message was discarded by policy",))
# RFC 3463 §3.8 X.7.1.

CONTENT_DAMAGED = Reply(554, "5.3.0", ("The stored message is damaged and cannot be sent",))
# RFC 3463 §3.4 X.3.0: a frame of the spool that failed its checksum.
