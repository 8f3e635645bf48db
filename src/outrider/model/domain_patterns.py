"""Patterns of domains and sites as people write them.

In: `example.com`, `*.example.com` or `*`. Out: the same in the form in which they are compared: domains as
lower-case A-labels, because that is what an address's domain is (`model.mailbox`); sites in lower case.
"""

from outrider.base.errors import AddressError


def parse_domain_pattern(text: str) -> str:
    """The pattern that `text` writes.

    Raises:
        ValueError: It is none; says what to write.
    """
    if text == "*":
        return text
    star = "*." if text.startswith("*.") else ""
    bare = text.removeprefix(star)
    if not bare or "*" in bare or bare != bare.strip(". \t") or "@" in bare:
        raise ValueError(f"{text!r}: write a domain, *.domain for all below it, or * for every domain")
    return star + (bare.lower() if bare.isascii() else _a_labels(bare))


def parse_site_pattern(text: str) -> str:
    """The pattern of sites that `text` writes.

    Raises:
        ValueError: It would never match.
    """
    if "*" in text.removeprefix("*.") and text != "*":
        raise ValueError("a star stands alone or begins the pattern, as in *.example.test")
    return text.lower()


def _a_labels(text: str) -> str:
    from outrider.model.mailbox import parse_domain  # it brings the tables of IDNA, which few need

    try:
        return parse_domain(text)
    except AddressError as error:
        raise ValueError(f"{text!r}: {error.message}") from error
