"""Commands: arguments in, one layer called, text or JSON out."""
