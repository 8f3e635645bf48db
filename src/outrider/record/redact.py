"""The one redaction point: what a sink may learn of an address, a peer or a text from outside.

Addresses and texts come in as they are and go out as the profile allows:

- `full`: everything, cleaned;
- `masked`: `a***@example.com`, and the client's network instead of its address;
- `domain`: `*@example.com`;
- `customer-id`: `c.4711@example.com`, where the message named its recipient so, else as `domain`;
- `token`: `t1.<24 characters>@example.com`, the same for the same address (see `privacy.token`);
- `none`: `<redacted>` in place of an address, no domain, no client address.

Theory: remote replies often echo the address that they speak of, in many spellings. A text is first cleaned
(nothing that a terminal or a reader could take for something else), then cut into tokens; a token that holds
an `@` is an address. At last the local parts that the caller knows to be concerned are looked for, because
`User alice unknown` names alice without any `@`.

Invariant: a text of n characters costs O(n); what comes out is one printable line of at most `limit`
characters, whatever came in. Cutting happens after redaction, so that no half address is left over.

Not here: keys and how tokens are made (`privacy`).
"""

import ipaddress
import re
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final, Protocol, assert_never
from unicodedata import category, normalize

from outrider.base.errors import ConfigError
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


REMEMBERED_TOKENS: Final = 4_096
# chosen: the addresses of some seconds at full rate, some 1 MiB
TOKENS_OF_ONE_TEXT: Final = 4
# chosen: a command has one address; whoever writes more into it shall not choose how much we hash
MASK_FROM: Final = 3
# chosen: the first of two characters is half of the name
CUSTOMER_PREFIX: Final = "c."
"""What tells a customer's id from a local part."""

_CUSTOMER_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
_PLAIN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})")
# an address that is written plainly (RFC 5321 §4.1.2, Dot-string), within its lengths (RFC 5321 §4.5.3.1.1)


class Profile(StrEnum):
    """How much a sink may show of an address."""

    FULL = "full"
    MASKED = "masked"
    DOMAIN = "domain"
    CUSTOMER_ID = "customer-id"
    TOKEN = "token"  # noqa: S105 - a profile's name
    NONE = "none"


class TokenSource(Protocol):
    """Makes tokens of addresses; `privacy.token` has one."""

    def token(self, address: Address) -> str:
        """What stands for the local part: the same for equal addresses, under one key."""
        ...

    def refresh(self) -> bool:
        """Look for a newer key; True when tokens may differ from now on."""
        ...


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
    """Applies profiles.

    Args:
        profile: What may be shown.
        limit: Longest text in characters that comes out.
        tokens: Makes tokens; needed where a profile is `token`.
        recipient: Profile of recipients, where it differs.
        mail_from: Profile of senders, where it differs.
        client: Profile of submitters' network addresses, where it differs.
        text: Profile of texts from outside, where it differs.
    """

    __slots__ = ("_client", "_limit", "_mail_from", "_recipient", "_shown_tokens", "_text", "_tokens")

    def __init__(
        self,
        profile: Profile = Profile.DOMAIN,
        limit: int = TEXT_LIMIT,
        *,
        tokens: TokenSource | None = None,
        recipient: Profile | None = None,
        mail_from: Profile | None = None,
        client: Profile | None = None,
        text: Profile | None = None,
    ) -> None:
        self._recipient = recipient or profile
        self._mail_from = mail_from or profile
        self._client = client or profile
        self._text = text or profile
        self._limit = limit
        self._tokens = tokens
        self._shown_tokens: dict[Address, str] = {}
        if tokens is None and Profile.TOKEN in (self._recipient, self._mail_from, self._text):
            raise ConfigError("record.redaction is `token`, and there is no key for tokens")

    def refresh(self) -> None:
        """Use the newest key for tokens from now on; to be called now and then."""
        if self._tokens is not None and self._tokens.refresh():
            self._shown_tokens.clear()

    def address(self, address: Address | None, customer_id: str = "") -> str:
        """A recipient; None is nobody and shown as such."""
        if address is None:
            return NULL_PATH
        profile = self._recipient
        if profile is Profile.TOKEN:  # first: it is the default
            return self._token_of(address)
        if profile is Profile.CUSTOMER_ID and _CUSTOMER_ID.fullmatch(customer_id):
            return f"{CUSTOMER_PREFIX}{customer_id}@{address.domain}"
        return self._shown(address, profile)

    def sender(self, address: Address | None) -> str:
        """A reverse-path; None is the null one, which is nobody and shown as it is."""
        if address is None:
            return NULL_PATH
        if self._mail_from is Profile.TOKEN:
            return self._token_of(address)
        return self._shown(address, self._mail_from)

    def _token_of(self, address: Address) -> str:
        """`t1.…@example.com`, remembered: a message's addresses are shown at its reception and at its end."""
        known = self._shown_tokens
        shown = known.get(address)
        if shown is None:
            if len(known) >= REMEMBERED_TOKENS:
                known.clear()
            assert self._tokens is not None  # noqa: S101 - the constructor sees to it
            shown = known[address] = f"{self._tokens.token(address)}@{address.domain}"
        return shown

    def _shown(self, address: Address, profile: Profile) -> str:
        if profile is Profile.DOMAIN:
            return "*@" + address.domain
        match profile:
            case Profile.FULL:
                return clean(f"{address.local_part}@{address.domain}")
            case Profile.NONE:
                return REDACTED
            case Profile.MASKED:
                return f"{_masked(address.local_part)}@{address.domain}"
            case Profile.TOKEN:
                return self._token_of(address)
            case Profile.CUSTOMER_ID:
                return "*@" + address.domain
            case _:
                assert_never(profile)

    def domain(self, domain: str) -> str:
        """A recipient's domain; empty where not even that may be shown."""
        return "" if self._recipient is Profile.NONE else domain

    def client(self, client: str) -> str:
        """The IP address of a submitter; its network where it is masked, empty where nothing may be shown."""
        if self._client is Profile.NONE:
            return ""
        return _network(client) if self._client is Profile.MASKED else client

    def path_text(self, text: str) -> str:
        """An address as text that was never parsed, such as the argument of a refused command."""
        if text in ("", NULL_PATH):
            return text
        if self._text is Profile.FULL:
            return clean(text[:_INPUT_LIMIT])[: self._limit]
        # Without an @ the whole is a local part or nonsense: both are not for a sink.
        return self._redacted(text, (), are_tokens_wanted=True)[: self._limit] if "@" in text else REDACTED

    def text(self, text: str, *known: Address | None) -> str:
        """A text from outside.

        Args:
            text: Anything.
            known: Addresses that the text probably speaks of; their local parts are replaced too.
        """
        if self._text is Profile.FULL:
            return clean(text[:_INPUT_LIMIT])[: self._limit]
        return self._redacted(text, known)[: self._limit]

    def _redacted(
        self, text: str, known: Sequence[Address | None], *, are_tokens_wanted: bool = False
    ) -> str:
        if len(text) > _INPUT_LIMIT:
            text = text[:_INPUT_LIMIT]
        if not text.isprintable():
            text = clean(text)
        if "@" in text:
            text = self._without_addresses(text, known, are_tokens_wanted)
        for address in known:
            if address is not None:
                for form in _forms(address.local_part):
                    text = _without_local_part(text, form, self._stand_in, address)
        return text

    def _stand_in(self, address: Address) -> str:
        """What stands for a local part without its domain."""
        return self._token_of(address).partition("@")[0] if self._text is Profile.TOKEN else REDACTED

    def _without_addresses(self, text: str, known: Sequence[Address | None], are_tokens_wanted: bool) -> str:
        parts: list[str] = []
        position = tokens = 0
        for match in _TOKENS.finditer(text):
            token = match.group()
            is_quoted = token.startswith('"')
            if not is_quoted and "@" not in token:
                continue
            parts.append(text[position : match.start()])
            position = match.end()
            if is_quoted:  # the token behind it begins with the @ and says the rest
                continue
            shown = self._known(token, known)
            if shown is None and are_tokens_wanted and tokens < TOKENS_OF_ONE_TEXT:
                tokens += 1
                shown = self._foreign(token)
            parts.append(self._replaced(token) if shown is None else shown)
        parts.append(text[position:])
        return "".join(parts)

    def _known(self, token: str, known: Sequence[Address | None]) -> str | None:
        """The token of an address that is known; None when it is none of them, and for other profiles."""
        if self._text is not Profile.TOKEN:
            return None
        lowered = token.rstrip(".").lower()
        for address in known:
            if address is None:
                continue
            for form in _forms(address.local_part):
                end = f"{form}@{address.domain}"
                if lowered.endswith(end) and not _is_atom_end(lowered[: -len(end)]):
                    return self._token_of(address)
        return None

    def _foreign(self, token: str) -> str | None:
        """The token of an address in a command, so that it can be found; else None."""
        if self._text is not Profile.TOKEN or not _PLAIN.fullmatch(token):
            return None
        local_part, _, domain = token.partition("@")
        return self._token_of(Address(local_part, domain.lower()))

    def _replaced(self, token: str) -> str:
        if self._text is Profile.NONE:
            return REDACTED
        at = token.rindex("@")
        domain = _DOMAIN.match(token, at + 1)
        found = domain.group() if domain else ""
        local = _masked(token[:at]) if self._text is Profile.MASKED else "*"
        return f"{local}@{found}"


def _forms(local_part: str) -> Sequence[str]:
    """How a text may spell `local_part`, in lower case; what is not ASCII is composed, taken apart, folded.

    The text itself is not brought to a form: that costs its square where a hostile one piles up marks.
    """
    if local_part.isascii():
        return (local_part.lower(),)
    forms = [local_part.lower()]
    for form in ("NFC", "NFD", "NFKC", "NFKD"):  # all that Unicode has (UAX #15)
        forms += (normalize(form, each) for each in (local_part.lower(), local_part.casefold()))
    return tuple(dict.fromkeys(forms))


def _masked(local_part: str) -> str:
    """The first character where there are enough others; the number of stars says nothing."""
    bare = local_part.strip('"')
    first = bare[0] if len(bare) >= MASK_FROM and bare[0].isalnum() else ""
    return first + "***"


def _network(client: str) -> str:
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return ""
    return str(ipaddress.ip_network((address, 24 if address.version == 4 else 48), strict=False))


def _is_atom_end(before: str) -> bool:
    """True when a local part that follows `before` is only the end of a longer one."""
    return before[-1:].isalnum() or before[-1:] in set("._+-")


def _without_local_part(
    text: str, local_part: str, stand_in: Callable[[Address], str], address: Address
) -> str:
    """`text` without `local_part`, which is in lower case, in any case, quoted or not."""
    wanted = local_part.strip('"')
    lowered = text.lower()
    if not wanted or wanted not in lowered:
        return text
    if len(lowered) != len(text):  # a character whose lower case is longer: positions would not fit
        text = lowered
    instead = stand_in(address)
    parts: list[str] = []
    position = start = 0
    while (found := lowered.find(wanted, start)) >= 0:
        end = found + len(wanted)
        start = end
        if len(wanted) < _EMBEDDED_LENGTH and not _is_word(lowered, found, end):
            continue
        parts.append(text[position:found])
        parts.append(instead)
        position = end
    parts.append(text[position:])
    return "".join(parts)


def _is_word(text: str, start: int, end: int) -> bool:
    before = start > 0 and text[start - 1].isalnum()
    after = end < len(text) and text[end].isalnum()
    return not before and not after
