"""What happened, written down: events, metrics and the server's own log. The only way to a sink."""
