"""What is recorded in place of a host's reply where policy kept a recipient from the wire.

Here are only those texts that no script brings; a refusal has the script's own.
"""

from outrider.model.reply import Reply

HELD_BACK = Reply(451, "4.7.1", ("Held back by policy",))
"""RFC 3463 §3.8 X.7.1: a script wants it to go later, and says no more."""

SCRIPT_FAILED = Reply(451, "4.3.0", ("Policy failed before sending; the server log has the details",))
"""RFC 3463 §3.4 X.3.0: a script failed, so the message stays and is tried again."""

DISCARDED = Reply(550, "5.7.0", ("Discarded by policy",))
"""RFC 3463 §3.8 X.7.0: what stands in the event; nobody hears it."""
