"""Outrider: an outbound messaging server."""
