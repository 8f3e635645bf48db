"""The grammar of a mailbox: text in, one `Address` out, or `AddressError`.

Theory: what this module returns is the only form of an address in the house, so routing, policy and logs
cannot disagree about its domain. The domain becomes lower-case A-labels (UTS 46 mapping for U-labels); the
local part keeps its meaning and gets the least quoting (`"joe"@x` is `joe@x`), as RFC 5321 §4.1.2 asks of a
sender. `%` and `!` are ordinary characters of a local part: nothing here, or later, looks inside it.

Invariant: the domain of the result is LDH labels of at most 63 octets, or an address literal; no part of the
result holds a control character; `parse_mailbox(str(a)) == a`.

Standards: RFC 5321 §4.1.2 (paths), RFC 5321 §4.1.3 (address literals), RFC 5321 §4.5.3.1 (lengths),
RFC 6531 §3.3 (UTF-8), RFC 5891 §4 (IDNA), RFC 3696 §2 (no numeric top-level label).
Not here: source routes (wire.smtp.commands), display names (headers).
"""

import ipaddress
import re

import idna

from outrider.base.errors import AddressError
from outrider.model.address import Address

LOCAL_PART_OCTETS = 64
"""RFC 5321 §4.5.3.1.1."""

DOMAIN_OCTETS = 255
"""RFC 5321 §4.5.3.1.2."""

MAILBOX_OCTETS = 254
"""RFC 5321 §4.5.3.1.3 allows a path of 256 octets with its angle brackets."""

LABEL_OCTETS = 63
"""RFC 1035 §2.3.4."""

_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
_ATEXT_UTF8 = r"(?:[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]|[^\x00-\x9f\ud800-\udfff\u2028\u2029\ufeff])"
_LABEL = r"[A-Za-z0-9]+(?:-+[A-Za-z0-9]+)*"

# The common mailbox. (Not with possessive repetitions: CPython 3.11.2 takes `a.` for a dot-string with them.)
_PLAIN_PATH = re.compile(rf"<({_ATEXT}+(?:\.{_ATEXT}+)*)@([A-Za-z0-9]+(?:[.-][A-Za-z0-9]+)*)>").fullmatch
_DOT_STRING = re.compile(rf"{_ATEXT_UTF8}+(?:\.{_ATEXT_UTF8}+)*").fullmatch
_LDH_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*").fullmatch
# qtextSMTP and quoted-pairSMTP of RFC 5321 §4.1.2, with UTF8-non-ascii of RFC 6531 §3.3.
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\[ -~]|[^\x00-\x9f\ud800-\udfff\u2028\u2029\ufeff])*)"').fullmatch
_QUOTED_PAIR = re.compile(r"\\(.)")
_NEEDS_BACKSLASH = re.compile(r'(["\\])')


def parse_mailbox(text: str, *, smtputf8: bool) -> Address:
    """The mailbox that `text` (no angle brackets, no source route) names.

    Args:
        text: `local-part@domain`.
        smtputf8: True where the sender asked for SMTPUTF8, so that text beyond ASCII is allowed.

    Raises:
        AddressError: The message names the faulty part and never quotes the address.
    """
    return maybe_plain_path(f"<{text}>") or _parse_any(text, smtputf8)


def maybe_plain_path(text: str) -> Address | None:
    """The mailbox in angle brackets, where it is of the plainest form; None leaves it to the grammar."""
    match = _PLAIN_PATH(text)
    if match is not None:
        local, domain = match.groups()
        # A last label that ends in a digit is left to the whole grammar, which knows when it is a number.
        is_short = len(local) <= LOCAL_PART_OCTETS and len(domain) <= LABEL_OCTETS
        if is_short and domain[-1].isalpha():
            return Address(local, domain.lower())
    return None


def _parse_any(text: str, smtputf8: bool) -> Address:
    if len(text) > LOCAL_PART_OCTETS + 1 + DOMAIN_OCTETS:
        raise AddressError("the address is too long", limit=MAILBOX_OCTETS)
    if not smtputf8 and not text.isascii():
        raise AddressError("the address needs SMTPUTF8")
    # The domain holds neither "@" nor a quote, so the last "@" is the separator whatever stands before it.
    local, at, domain = text.rpartition("@")
    if not at:
        raise AddressError("the address has no domain")
    address = Address(_parse_local_part(local), parse_domain(domain))
    octets = len(address.local_part.encode()) + 1 + len(address.domain)
    if octets > MAILBOX_OCTETS:
        raise AddressError("the address is too long", limit=MAILBOX_OCTETS)
    return address


def _parse_local_part(text: str) -> str:
    if not text:
        raise AddressError("the local part is empty")
    if _DOT_STRING(text):
        local = text
    else:
        quoted = _QUOTED(text)
        if quoted is None:
            raise AddressError("the local part is neither a dot-string nor a quoted string")
        local = _least_quoted(_QUOTED_PAIR.sub(r"\1", quoted[1]))
    if len(local.encode()) > LOCAL_PART_OCTETS:
        raise AddressError("the local part is too long", limit=LOCAL_PART_OCTETS)
    return local


def _least_quoted(content: str) -> str:
    if _DOT_STRING(content):
        return content
    return '"' + _NEEDS_BACKSLASH.sub(r"\\\1", content) + '"'


def parse_domain(text: str) -> str:
    """The domain that `text` names: lower-case A-labels, or an address literal in its canonical form.

    Raises:
        AddressError: It is neither.
    """
    if not text:
        raise AddressError("the domain is empty")
    if len(text) > DOMAIN_OCTETS:
        raise AddressError("the domain is too long", limit=DOMAIN_OCTETS)
    if text[0] == "[":
        return _parse_literal(text)
    domain = text.lower() if text.isascii() else ""
    if not domain or "xn--" in domain:
        domain = _to_a_labels(text)
    if not _LDH_DOMAIN(domain):
        raise AddressError("the domain is not made of letters, digits and inner hyphens")
    labels = domain.split(".")
    if max(map(len, labels)) > LABEL_OCTETS:
        raise AddressError("a label of the domain is too long", limit=LABEL_OCTETS)
    if labels[-1].isdigit():
        raise AddressError("the domain ends in a number; an address literal stands in brackets")
    if len(domain) > DOMAIN_OCTETS:
        raise AddressError("the domain is too long", limit=DOMAIN_OCTETS)
    return domain


def _to_a_labels(text: str) -> str:
    try:
        encoded: bytes = idna.encode(text, uts46=True, std3_rules=True)
    except (UnicodeError, IndexError, ValueError) as error:
        raise AddressError("the domain is not a valid internationalised name") from error
    return encoded.decode("ascii").lower()


def _parse_literal(text: str) -> str:
    if text[-1] != "]":
        raise AddressError("the address literal is not closed")
    inner = text[1:-1]
    tag, colon, number = inner.partition(":")
    try:
        if not colon:
            return f"[{ipaddress.IPv4Address(inner)}]"
        if tag.lower() == "ipv6" and "%" not in number:
            return f"[IPv6:{ipaddress.IPv6Address(number)}]"
    except ValueError as error:
        raise AddressError("the address literal holds no valid IP address") from error
    raise AddressError("the address literal has an unknown tag")


def unicode_domain(domain: str) -> str:
    """The domain that `parse_domain` returned with U-labels for A-labels; a label that has none stays."""
    if "xn--" not in domain:
        return domain
    labels = []
    for label in domain.split("."):
        try:
            labels.append(idna.decode(label) if label.startswith("xn--") else label)
        except UnicodeError:
            labels.append(label)
    return ".".join(labels)
