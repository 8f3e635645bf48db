"""What the reader of a content takes: how long messages and lines are, and what becomes of bare CR and LF."""

import msgspec

MESSAGE_OCTETS = 26_214_400
"""Chosen, because 25 MiB is what the large mailbox providers take and therefore what anybody can send."""

LINE_LIMIT_OCTETS = 65_536
"""Chosen, because programs write whole HTML documents into one line; RFC 5321 §4.5.3.1.6 obliges to 1000."""


class ContentLimits(msgspec.Struct, frozen=True):
    """What a reader takes.

    Attributes:
        message_octets: Longest content, dots unstuffed or not (the wire form counts).
        line_octets: Longest line as it comes, without its line end; at least LINE_OCTETS of the scan.
        normalise: Turn bare CR and LF into CRLF and drop NUL instead of refusing the message.
    """

    message_octets: int = MESSAGE_OCTETS
    line_octets: int = LINE_LIMIT_OCTETS
    normalise: bool = False


DEFAULT_LIMITS = ContentLimits()
