"""The one redaction point: what a sink may learn of an address, a peer or a text from outside.

Addresses and texts come in as they are and go out as the profile allows:

- `full`: everything, cleaned;
- `domain` (default): `*@example.com` in place of an address;
- `none`: `<redacted>` in place of an address, no domain, no client address.

Theory: remote replies often echo the address that they speak of, in many spellings. A text is first cleaned
(nothing that a terminal or a reader could take for something else), then cut into tokens; a token that holds
an `@` is an address. At last the local parts that the caller knows to be concerned are looked for, because
`User alice unknown` names alice without any `@`.

Invariant: a text of n characters costs O(n); what comes out is one printable line of at most `limit`
characters, whatever came in. Cutting happens after redaction, so that no half address is left over.

Not here: sealing, masking and customer ids, which are profiles of `privacy`.
"""

import re
from enum import StrEnum
from typing import Final
from unicodedata import category

from outrider.model.address import Address

REDACTED: Final = "<redacted>"
NULL_PATH: Final = "<>"

TEXT_LIMIT: Final = 512
# chosen: one reply line with its text is at most 512 octets (RFC 5321 §4.5.3.1.5)

_INPUT_LIMIT: Final = 16_384
# chosen: 32 reply lines of full length; what lies beyond would show only if redaction shrank all before it

_EMBEDDED_LENGTH: Final = 8
# chosen: a shorter local part is replaced only as a whole word, so that `info` does not eat `information`

_QUOTED_LOCAL_PART = r'"(?:[^"\\]|\\.){0,256}"(?=@)'  # bounded, so that a run of quotes stays linear
_TOKENS: Final = re.compile(_QUOTED_LOCAL_PART + r'|[^\s<>()\[\],;:"]+')
_DOMAIN: Final = re.compile(r"[\w.-]*")


class Profile(StrEnum):
    """How much a sink may show of an address."""

    FULL = "full"
    DOMAIN = "domain"
    NONE = "none"


def clean(text: str) -> str:
    """`text` as one printable line: white space is a space, invisible characters go, controls are U+FFFD."""
    if text.isprintable():
        return text
    return "".join(map(_clean_character, text))


def _clean_character(character: str) -> str:
    if character.isprintable():
        return character
    kind = category(character)
    if kind == "Cf":  # zero-width and bidi controls: nothing visible is lost with them
        return ""
    return " " if kind.startswith("Z") or character in "\t\n\r\x0b\x0c\x85" else "�"


class Redactor:
    """Applies one profile.

    Args:
        profile: What may be shown.
        limit: Longest text in characters that comes out.
    """

    __slots__ = ("_limit", "_profile")

    def __init__(self, profile: Profile = Profile.DOMAIN, limit: int = TEXT_LIMIT) -> None:
        self._profile = profile
        self._limit = limit

    @property
    def profile(self) -> Profile:
        return self._profile

    def address(self, address: Address | None) -> str:
        """An envelope address; None is the null reverse-path, which is nobody and shown as it is."""
        if address is None:
            return NULL_PATH
        if self._profile is Profile.DOMAIN:
            return "*@" + address.domain
        if self._profile is Profile.NONE:
            return REDACTED
        return clean(f"{address.local_part}@{address.domain}")

    def domain(self, domain: str) -> str:
        """A recipient's domain; empty where not even that may be shown."""
        return "" if self._profile is Profile.NONE else domain

    def client(self, client: str) -> str:
        """The IP address of a submitter; empty where not even that may be shown."""
        return "" if self._profile is Profile.NONE else client

    def path_text(self, text: str) -> str:
        """An address as text that was never parsed, such as the argument of a refused command."""
        if text in ("", NULL_PATH):
            return text
        if self._profile is Profile.FULL:
            return clean(text[:_INPUT_LIMIT])[: self._limit]
        shown = self.text(text)
        # Without an @ the whole is a local part or nonsense: both are not for a sink.
        return shown if "@" in text else REDACTED

    def text(self, text: str, *known: Address | None) -> str:
        """A text from outside.

        Args:
            text: Anything.
            known: Addresses that the text probably speaks of; their local parts are replaced too.
        """
        if len(text) > _INPUT_LIMIT:
            text = text[:_INPUT_LIMIT]
        if not text.isprintable():
            text = clean(text)
        if self._profile is Profile.FULL:
            return text[: self._limit]
        if "@" in text:
            text = self._without_addresses(text)
        for address in known:
            if address is not None:
                text = _without_local_part(text, address.local_part)
        return text[: self._limit]

    def _without_addresses(self, text: str) -> str:
        parts: list[str] = []
        position = 0
        for match in _TOKENS.finditer(text):
            token = match.group()
            is_quoted = token.startswith('"')
            if not is_quoted and "@" not in token:
                continue
            parts.append(text[position : match.start()])
            position = match.end()
            if is_quoted:  # the token behind it begins with the @ and says the rest
                continue
            parts.append(self._token(token))
        parts.append(text[position:])
        return "".join(parts)

    def _token(self, token: str) -> str:
        if self._profile is Profile.NONE:
            return REDACTED
        domain = _DOMAIN.match(token, token.rindex("@") + 1)
        found = domain.group() if domain else ""
        return "*@" + found


def _without_local_part(text: str, local_part: str) -> str:
    """`text` without `local_part`, in any case, quoted or not."""
    wanted = local_part.strip('"').lower()
    lowered = text.lower()
    if not wanted or wanted not in lowered:
        return text
    if len(lowered) != len(text):  # a character whose lower case is longer: positions would not fit
        text = lowered
    parts: list[str] = []
    position = start = 0
    while (found := lowered.find(wanted, start)) >= 0:
        end = found + len(wanted)
        start = end
        if len(wanted) < _EMBEDDED_LENGTH and not _is_word(lowered, found, end):
            continue
        parts.append(text[position:found])
        parts.append(REDACTED)
        position = end
    parts.append(text[position:])
    return "".join(parts)


def _is_word(text: str, start: int, end: int) -> bool:
    before = start > 0 and text[start - 1].isalnum()
    after = end < len(text) and text[end].isalnum()
    return not before and not after
