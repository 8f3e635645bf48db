"""Path queues, due times, shaping limits and fairness: what may go out now, and where. No clock, no I/O."""
