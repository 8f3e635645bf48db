"""What names, domains and networks may look like in the control database.

In: texts from a command line or a request. Out: their one form, or a `StoreError` that says what is wrong.
"""

import ipaddress
import re
from collections.abc import Iterable
from typing import Final

from outrider.base.errors import AddressError, StoreError
from outrider.model.mailbox import parse_domain

NAME_CHARACTERS: Final = 63
"""Chosen, as long as a DNS label."""

LOGIN_OCTETS: Final = 255
"""RFC 4616 §2 allows more in AUTH PLAIN; chosen, as in the users file."""

_NAME: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{NAME_CHARACTERS - 1}}}")
END_SECONDS_MAX: Final = 253_402_300_799
# 9999-12-31T23:59:59Z: RFC 3339 §5.6 writes years in four digits


def check_name(text: str, what: str) -> str:
    """The name of a tenant, a stream or a key.

    Raises:
        StoreError: It is none.
    """
    if _NAME.fullmatch(text) is None:
        raise StoreError(
            f"{what} {text!r}: letters, digits, dots, hyphens and underscores, at most {NAME_CHARACTERS}, "
            "the first a letter or digit"
        )
    return text


def check_login(text: str) -> str:
    """The name of an SMTP user.

    Raises:
        StoreError: It is none.
    """
    if not text or not text.isprintable() or len(text.encode()) > LOGIN_OCTETS:
        raise StoreError(f"a login is printable text of 1 to {LOGIN_OCTETS} octets")
    return text


def check_domain(text: str) -> str:
    """A domain in A-labels.

    Raises:
        StoreError: It is none.
    """
    try:
        return parse_domain(text)
    except AddressError as error:
        raise StoreError(f"domain {text!r}: {error.message}") from error


def check_sender_domain(text: str) -> str:
    """`*`, a domain, or `.domain` for its subdomains, in A-labels.

    Raises:
        AddressError: It is none of them.
    """
    if text == "*":
        return text
    if text.startswith("."):
        return "." + parse_domain(text[1:])
    return parse_domain(text)


def check_sender_domains(texts: Iterable[str]) -> tuple[str, ...]:
    """Sorted, each once.

    Raises:
        StoreError: One of them is none.
    """
    try:
        return tuple(sorted(set(map(check_sender_domain, texts))))
    except AddressError as error:
        raise StoreError(f"sender domain: {error.message}") from error


def check_networks(texts: Iterable[str]) -> tuple[str, ...]:
    """Networks in CIDR notation, sorted, each once; an address alone is a network of one.

    Raises:
        StoreError: One of them is none.
    """
    found = set()
    for text in texts:
        try:
            found.add(str(ipaddress.ip_network(text)))
        except ValueError as error:
            raise StoreError(f"network {text!r}: {error}") from error
    return tuple(sorted(found))


def check_end(unix_seconds: float | None) -> float | None:
    """When a credential ends, or that it never does.

    Raises:
        StoreError: No calendar of ours shows it.
    """
    if unix_seconds is not None and not 0 < unix_seconds <= END_SECONDS_MAX:
        raise StoreError("an end lies between 1970-01-01 and 9999-12-31, in UTC")
    return unix_seconds
