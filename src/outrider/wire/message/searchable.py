"""A header section in a form in which fields are found by a search alone, wherever that is done.

In: a section. Out: its fields, a line each, and the same in lower case behind a line feed; or None, where a
look-up takes more than a search.

Theory: as in `header`: a NUL, which no message holds, marks the folds. The values of a name are then what
stands between a line feed, the name in lower case and a colon, and the next CRLF, without the marks.

Invariant: what is found is what `Header.get_octets` gives.

Standards: RFC 5322 §2.2.3 (folding), RFC 5322 §4.5 (space before the colon), RFC 2047 §2 (encoded words).
"""

from typing import Final

SECTION_OCTETS: Final = 16_384
# chosen: far above usual sections; a copy of it takes a microsecond


def searchable(section: bytes) -> tuple[bytes, bytes] | None:
    """The fields as written and in lower case; see the module.

    None for what is beyond ASCII or may hold encoded words or space before a colon, for what is long, and for
    what is no section of whole lines.
    """
    if len(section) > SECTION_OCTETS or not section.isascii() or section[-2:] != b"\r\n":
        return None
    if section.find(b"=?") >= 0 or section.find(b"\0") >= 0:
        return None
    fields = section.replace(b"\r\n ", b"\0 ").replace(b"\r\n\t", b"\0\t")
    lower = b"\n" + fields.lower()
    if lower.find(b" :") >= 0 or lower.find(b"\t:") >= 0:
        return None
    return fields, lower
