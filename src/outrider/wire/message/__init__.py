"""A message that can be read and changed in its parts, while everything else of it stays as it came."""
