"""The fields of a header section, by name, each as it came and in relaxed form.

In: octets of whole lines, dots *not* stuffed. Out: lists of fields by their name in lower case.

Theory: a signature takes most fields of a message in relaxed form, so each is made with the field itself. The
compiled form (`wire.smtp._scan`) does all in one pass; both pass the same tests.

Invariant: a line that is no field (no colon, a name of other characters than printable ASCII) and what
continues it belong to no field, and are never signed.

Standards: RFC 5322 §2.2 (fields), RFC 5322 §2.2.3 (folding), RFC 6376 §3.4.2 (relaxed header).
"""

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from outrider.wire.dkim.canonical import relaxed_field
from outrider.wire.smtp.scan import maybe_compiled

_FIELD: Final = re.compile(rb"(?m)^(([!-9;-~]+)[ \t]*:([^\r\n]*(?:\r\n[ \t][^\r\n]*)*))")
# RFC 5322 §2.2, with the white space before the colon that RFC 5322 §4.5.8 still reads


class Field(NamedTuple):
    """One header field.

    Attributes:
        raw: As it came, without its last CRLF.
        name: Its name as it came.
        value: What follows the colon, folded as it came, without its last CRLF.
        relaxed: Its canonical form of that name, with its CRLF.
    """

    raw: bytes
    name: bytes
    value: bytes
    relaxed: bytes


ByName = dict[bytes, list[tuple[bytes, bytes, bytes, bytes]]]
"""Fields as plain tuples, in the order of the message, by name in lower case."""


def fields_pure(header: bytes) -> ByName:
    """See the module."""
    found: ByName = {}
    for raw, name, value in _FIELD.findall(header):
        lower = name.lower()
        field = (raw, name, value, relaxed_field(lower, value))
        if lower in found:
            found[lower].append(field)
        else:
            found[lower] = [field]
    return found


fields_of: Callable[[bytes], ByName] = maybe_compiled("fields") or fields_pure
"""The compiled form where it is built, else `fields_pure`."""
