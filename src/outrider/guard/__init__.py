"""The last gate before the wire."""
