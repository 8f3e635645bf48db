"""What the queue remembers of an attempt that failed: its reply, without the addresses that replies echo.

In: the facts of an attempt. Out: a `LastReply`, for the queue's index, which holds no address.

Theory: a remote reply may name its recipient in any spelling. A word with an `@` in it is an address; the
local part of the recipient is looked for besides, as in `User alice unknown`. Events are redacted by
`record.redact` and its profiles; this is for what the server keeps for itself, and has no profile.

Invariant: neither an `@` nor the recipient's local part as a word is in the text; it costs O(n).
"""

import re
from typing import Final

from outrider.model.address import Address
from outrider.model.changes import Attempted, LastReply
from outrider.model.reply import Reply

TEXT_LIMIT: Final = 300
# chosen: codes and two lines of text; what decides stands at the beginning of a reply
_INPUT_LIMIT: Final = 2_048
# chosen: four reply lines of full length (RFC 5321 §4.5.3.1.5)
ADDRESS: Final = "<address>"
_WORD: Final = re.compile(r"[^\s<>()\[\],;:]*@[^\s<>()\[\],;:]*")


def last_reply_of(attempted: Attempted) -> LastReply:
    """What is to be remembered of this attempt."""
    outcome = attempted.outcome
    text = without_addresses(outcome.reply, attempted.recipient)
    return LastReply(text, outcome.host, outcome.ours, attempted.attempted_time)


def without_addresses(reply: Reply, recipient: Address) -> str:
    """The text of a reply to `recipient`, with its codes."""
    text = " ".join(str(reply)[:_INPUT_LIMIT].split())
    text = (
        "".join(each if each.isprintable() else "\ufffd" for each in text) if not text.isprintable() else text
    )
    if "@" in text:
        text = _WORD.sub(ADDRESS, text).replace(f"<{ADDRESS}>", ADDRESS)
    local_part = recipient.local_part.strip('"')
    if local_part and local_part.lower() in text.lower():
        name = rf"(?<!\w){re.escape(local_part)}(?!\w)"
        text = re.sub(name, ADDRESS, text, flags=re.IGNORECASE)
    return text[:TEXT_LIMIT]
