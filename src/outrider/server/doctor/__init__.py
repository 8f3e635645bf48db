"""What `outrider doctor` looks at: each module examines one surrounding of the server."""
