"""Signing and checking of messages: DKIM (RFC 6376), ARC (RFC 8617), and the field that tells the results."""
