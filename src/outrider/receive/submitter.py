"""What a submitter may write into a header: itself as the author, and one of its streams.

In: the grant of a session or request, and header sections. Out: refusals, and the stream that a message named
with `X-Outrider-Stream`, which is removed.

Theory: a principal that is bound to domains is bound in what the reader sees too, so there may be only one
From, and every domain in it must be one of its own. What cannot be read with certainty is refused,
because two readers of an odd field may see two authors. The same author is read once: a session's messages
mostly have one.

Invariant: a content that passes for a bound principal shows no author outside its domains, whatever comments,
quotes, folds or routes the field holds; nothing in a header is ever decoded to find an address.

Standards: RFC 5322 §3.6.2 (From), RFC 5322 §3.4 (addresses), RFC 5322 §3.2.2 (comments), RFC 6409 §6.1.
"""

import re
from typing import Final, NamedTuple

from msgspec.structs import replace

from outrider.base.errors import AddressError
from outrider.model.flow import Content
from outrider.model.mailbox import parse_domain
from outrider.model.ports import Principal
from outrider.model.reply import Reply
from outrider.receive.access import ANY, domain_allowed
from outrider.wire.smtp import replies

STREAM_FIELD: Final = b"x-outrider-stream"

_AUTHOR_OCTETS: Final = 8_192
# chosen: some hundred addresses; a From of more is not read

_REMEMBERED: Final = 64
# chosen: authors of one session; a campaign has one, an application a few

_FROM: Final = re.compile(rb"(?:^|(?<=\n))from[ \t]*:")
_STREAM: Final = re.compile(rb"(?:^|(?<=\n))x-outrider-stream[ \t]*:")
_STREAM_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_ANGLED: Final = re.compile(r"([^<>]*)<([^<>]*)>\s*")
_IN_PHRASE: Final = re.compile(r"@([^\s@<>]+)")


class _UnreadableError(Exception):
    """A From that does not say with certainty who the author is."""


class Named(NamedTuple):
    """A message that named its stream: the stream, and its content without the field."""

    stream: str
    content: Content


class Submitter:
    """The rules of one grant; made when the grant changes.

    Args:
        principal: Who authenticated, or None for a client in a trusted network.
        listener_stream: Stream of the listener.
        listener_streams: Streams that clients without a principal may name.
    """

    __slots__ = ("_domains", "_pending", "_read", "_streams", "is_bound", "stream")

    def __init__(
        self, principal: Principal | None, listener_stream: str, listener_streams: frozenset[str] = ANY
    ) -> None:
        self._domains = ANY if principal is None else principal.sender_domains
        self._pending: frozenset[str] = frozenset() if principal is None else principal.pending_domains
        self._streams = listener_streams if principal is None else principal.streams
        self._read: dict[bytes, Reply | None] = {}
        self.is_bound = "*" not in self._domains
        stream = listener_stream if principal is None else principal.stream or listener_stream
        if principal is not None and not self.may_use(stream):
            stream = min(self._streams, default=stream)
        self.stream = stream

    def may_use(self, stream: str) -> bool:
        """True when a message may name the stream."""
        if "*" in self._streams:
            return _STREAM_NAME.fullmatch(stream) is not None
        return stream in self._streams

    def refuse_stream(self, stream: str) -> Reply | None:
        """The refusal of a stream that a message or request names, or None."""
        if _STREAM_NAME.fullmatch(stream) is None:
            return replies.STREAM_UNREADABLE
        return None if self.may_use(stream) else replies.stream_denied(stream)

    def refuse_author(self, header: bytes, lower: bytes) -> Reply | None:
        """The refusal of a header section, with its lower-case copy, for its From; None for the unbound."""
        if not self.is_bound:
            return None
        start = 0 if lower.startswith(b"from:") else lower.find(b"\nfrom:") + 1
        if lower.count(b"\nfrom") + lower.startswith(b"from") == 1 and (start or lower.startswith(b"from:")):
            end = header.find(b"\r\n", start)
            if end >= 0 and header[end + 2 : end + 3] not in (b" ", b"\t"):  # the usual: one, on one line
                return self._author(header[start + 5 : end])
        found = list(_FROM.finditer(lower))
        if not found:  # nobody is shown, so nobody else is
            return None
        if len(found) > 1:
            return replies.AUTHOR_UNREADABLE
        return self._author(header[found[0].end() : field_end(header, found[0].end())])

    def _author(self, value: bytes) -> Reply | None:
        if value in self._read:
            return self._read[value]
        if len(self._read) >= _REMEMBERED:
            self._read.clear()
        self._read[value] = reply = self._refuse_domains(value)
        return reply

    def _refuse_domains(self, value: bytes) -> Reply | None:
        if len(value) > _AUTHOR_OCTETS:
            return replies.AUTHOR_UNREADABLE
        try:
            domains = author_domains(value.decode("utf-8", "replace"))
        except _UnreadableError:
            return replies.AUTHOR_UNREADABLE
        for domain in domains:
            if not domain_allowed(domain, self._domains):
                is_pending = domain_allowed(domain, self._pending)
                return replies.domain_unverified(domain) if is_pending else replies.author_denied(domain)
        return None

    def take_stream(self, content: Content, header: bytes, lower: bytes) -> Named | Reply:
        """The stream that a header section names, and the content without that field; or the refusal.

        To be called when `STREAM_FIELD` is in `lower`; it may be there as something else than a field's name.
        """
        found = list(_STREAM.finditer(lower))
        if not found:
            return Named(self.stream, content)
        if len(found) > 1:
            return replies.STREAM_UNREADABLE
        start, end = found[0].start(), field_end(header, found[0].end())
        name = header[found[0].end() : end].strip().decode("ascii", "replace")
        refusal = self.refuse_stream(name)
        if refusal is not None:
            return refusal
        wire = content.wire[:start] + content.wire[end:]
        return Named(name, replace(content, wire=wire, header_octets=content.header_octets - (end - start)))


def field_end(header: bytes, position: int) -> int:
    """Behind the line end of the field that `position` is in, with its folded lines."""
    while True:
        end = header.find(b"\r\n", position)
        if end < 0:
            return len(header)
        position = end + 2
        if header[position : position + 1] not in (b" ", b"\t"):
            return position


def author_domains(value: str) -> list[str]:
    """The domains, in A-labels, of all addresses that a reader may see in a From.

    Raises:
        _UnreadableError: It is not surely a list of mailboxes.
    """
    domains: list[str] = []
    for part in _plain(value).split(","):
        angled = _ANGLED.fullmatch(part)
        spec = part.strip() if angled is None else angled[2].strip()
        local, at, domain = spec.rpartition("@")
        if not at or not local or re.search(r"[\s@<>;:]", local + domain):
            raise _UnreadableError
        domains.append(_domain(domain))
        if angled is not None:
            # `x@a <y@b>` is no phrase, but some readers show the first and some the second
            domains += map(_domain, _IN_PHRASE.findall(angled[1]))
    return domains


def _domain(text: str) -> str:
    try:
        return parse_domain(text)
    except AddressError as error:
        raise _UnreadableError from error


def _plain(value: str) -> str:
    """The value without comments and folds, each quoted string as one quote, which no domain may hold.

    Raises:
        _UnreadableError: A quote, comment or escape does not end, or there is a stray one.
    """
    out: list[str] = []
    depth = 0
    is_quoted = is_escaped = False
    for character in value:
        if is_escaped:
            is_escaped = False
        elif character == "\\" and (depth or is_quoted):
            is_escaped = True
        elif is_quoted:
            is_quoted = character != '"'
        elif character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
            if depth < 0:
                raise _UnreadableError
            out.append(" ")
        elif not depth and character == '"':
            is_quoted = True
            out.append('"')
        elif not depth:
            out.append(" " if character in "\r\n" else character)
    if depth or is_quoted or is_escaped or "\\" in out:
        raise _UnreadableError
    return "".join(out)
