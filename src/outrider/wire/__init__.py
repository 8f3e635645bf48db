"""Sans-IO formats and protocol machines: octets in, events out; no socket, clock or randomness."""
