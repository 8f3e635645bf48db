"""The durable queue: logs of atomic frames, the index over them, and its checkpoint."""
