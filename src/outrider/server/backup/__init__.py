"""Copies of everything that a server must not lose, and the way back."""
