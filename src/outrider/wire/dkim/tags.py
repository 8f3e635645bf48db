"""Tag lists: `v=1; a=rsa-sha256; d=example.test`, as signatures and key records write them.

In: text from anybody. Out: the tags by name, in order, values without white space around them, or a
`TagError`. Work is linear; nothing is taken twice.

Standards: RFC 6376 §3.2 (tag lists), RFC 6376 §2.11 (quoted-printable of tags).
"""

import re
from typing import Final

from outrider.base.errors import RemoteProtocolError

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_WHITE: Final = " \t\r\n"
_DROP_WHITE: Final = str.maketrans("", "", _WHITE)
_CONTROL: Final = re.compile(r"[\0-\x08\x0b\x0c\x0e-\x1f\x7f]")
# RFC 6376 §3.2: of these no VALCHAR is one, nor white space
_QUOTED: Final = re.compile(rb"=([0-9A-Fa-f]{2})")
# RFC 6376 §2.11: HEXDIG, which RFC 5234 §2.3 takes in either case
_UNSAFE: Final = re.compile(rb"[^!-:<>-~]")
# RFC 6376 §2.11: everything but printable ASCII without `;` and `=`


class TagError(RemoteProtocolError):
    """Text that is no tag list, or one without a tag that must be there."""


def parse_tags(text: str) -> dict[str, str]:
    """The tags of a list.

    Raises:
        TagError: It is none, or a tag occurs twice.
    """
    control = _CONTROL.search(text)
    if control is not None:
        raise TagError(f"a tag list holds no U+{ord(control[0]):04X}")
    tags: dict[str, str] = {}
    parts = text.split(";")
    if not parts[-1].strip(_WHITE):
        parts.pop()  # RFC 6376 §3.2 allows a semicolon at the end
    for part in parts:
        name, equals, value = part.partition("=")
        name = name.strip(_WHITE)
        if not equals or not _NAME.fullmatch(name):
            raise TagError(f"{part.strip(_WHITE)[:40]!r} is no tag")
        if name in tags:
            raise TagError(f"tag {name}= occurs twice")
        tags[name] = value.strip(_WHITE)
    return tags


def without_white_space(value: str) -> str:
    """A value whose folding means nothing, such as Base64 (RFC 6376 §3.5)."""
    return value.translate(_DROP_WHITE)


def quoted(text: str) -> str:
    """`text` in the quoted-printable of tags (RFC 6376 §2.11)."""
    return _UNSAFE.sub(lambda found: b"=%02X" % found[0][0], text.encode()).decode("ascii")


def unquoted(value: str) -> str:
    """What a quoted value says; octets that are no UTF-8 become U+FFFD."""
    octets = without_white_space(value).encode("utf-8", "replace")
    return _QUOTED.sub(lambda found: bytes((int(found[1], 16),)), octets).decode("utf-8", "replace")
