"""Names of what a message has, by which the configuration fills parameters of queries.

In: a name. Out: what it means, or a `ValueError` that says which there are. `values` reads them.
"""

import difflib
import re
from collections.abc import Mapping
from typing import Final

AUTHOR: Final = "from_domain"
HEADER: Final = "header:"
CONTEXT: Final = "context:"

VALUES: Final[Mapping[str, str]] = {
    AUTHOR: "the domain of the first address of From",
    "mail_from": "the reverse-path; empty for the null one",
    "mail_from_domain": "its domain",
    "rcpt_to": "the recipient's address",
    "rcpt_domain": "its domain",
    "routing_domain": "the domain whose exchangers take it",
    "tenant": "the tenant that it is sent for",
    "stream": "its stream",
    "user": "the login or key of the client",
    "listener": "the listener that took it",
    "client": "the client's IP address",
    "helo": "what the client calls itself",
    f"{HEADER}NAME": "the first field of that name, decoded",
    f"{CONTEXT}KEY": "a note of the message, else of its connection",
}
"""Every name with its meaning."""

_FIELD_NAME: Final = re.compile(r"[!-9;-~]{1,76}")
# RFC 5322 §2.2
_NOTE: Final = re.compile(r"[!-~]{1,255}")
# as long as names of notes may be


def parse_value(name: str) -> tuple[str, str]:
    """What a name means: one of `VALUES` and nothing, or `header:` or `context:` and what follows.

    Raises:
        ValueError: It means nothing; says which names there are.
    """
    kind, colon, rest = name.partition(":")
    kind += colon
    if (kind == HEADER and _FIELD_NAME.fullmatch(rest)) or (kind == CONTEXT and _NOTE.fullmatch(rest)):
        return kind, rest
    if name in VALUES:
        return name, ""
    close = difflib.get_close_matches(name, [*VALUES], 1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(VALUES)}"
    raise ValueError(f"{name!r} is nothing that a message has; {hint}")


def check_parameters(parameters: dict[str, str]) -> dict[str, str]:
    """The same, when each value is something that a message has.

    Raises:
        ValueError: One is not.
    """
    for name, value in parameters.items():
        try:
            parse_value(value)
        except ValueError as error:
            raise ValueError(f"parameter {name}: {error}") from None
    return parameters
