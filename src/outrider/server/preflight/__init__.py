"""Looks at a sending domain before its mail is sent: what receivers will find in DNS."""
