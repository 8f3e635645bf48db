"""The outside world: DNS, connections, TLS, HTTP serving."""
