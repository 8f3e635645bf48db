"""The control API: what operators and their programs ask of a running server, over a Unix socket."""
