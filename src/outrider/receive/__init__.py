"""Taking mail in: SMTP listeners and HTTP injection; bytes become a `Submission` handed to the intake."""
