"""How long a test waits for what comes at once when all is well, and a server that waits as long."""

PATIENCE_SECONDS = 60.0
"""Chosen: far above what a machine needs that is slow or stands still for a while; a tenth of pytest's limit.

A wait of this kind ends early whenever the test passes, so its length costs nothing and decides nothing.
"""

UNHURRIED = "stress.lag_seconds = 3600"
"""For a listener to which strangers come: that the machine stands still is no reason to send them away."""
