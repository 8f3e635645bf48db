"""Sans-IO formats and protocol machines: octets in, events and octets out; no socket, no clock, no randomness."""
