"""How long a test waits for what comes at once when all is well."""

PATIENCE_SECONDS = 60.0
"""Chosen: far above what a machine needs that is slow or stands still for a while; a fifth of pytest's limit.

A wait of this kind ends early whenever the test passes, so its length costs nothing and decides nothing.
"""
