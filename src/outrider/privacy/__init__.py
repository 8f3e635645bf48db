"""Secrets and personal data: passwords and keys; later the key ring, sealed addresses and suppression."""
