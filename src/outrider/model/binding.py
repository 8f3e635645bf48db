"""Names of bindings: what is the same for all who speak of them."""

from typing import Final

DEFAULT: Final = "default"
"""The binding that is always there."""

NONE: Final = "none"
"""What is written where mail has no binding; nothing may be called so."""

NAME_PATTERN: Final = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$"
"""Chosen: nothing that a path (`smtp/news/mx.example`) or a scope (`group::binding::site`) is divided by."""

NAME_CHARACTERS: Final = 100
"""Chosen: a column of a report."""


def check_name(name: str) -> str:
    """A name that a binding or a group may have. Raises ValueError."""
    if name == NONE:
        raise ValueError(f"{NONE!r} means no binding; choose another name")
    return name
