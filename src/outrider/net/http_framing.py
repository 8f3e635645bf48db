"""What is wrong with the head of a request that its parser lets pass.

In: version, target and fields. Out: the refusal, or None.

Theory: llhttp, which uvicorn uses, frames what it understands and hands over the rest: a transfer coding that
it does not know makes a body without end, and of a request without Host nobody can say what it was for.
Whoever stands before us may read such a request otherwise than we do, so it is refused and the connection
ends. A wish for another protocol is no fault: it may be passed over, and is taken out for that.

Standards: RFC 9112 §3.2 (Host, target), RFC 9112 §6.1 (Transfer-Encoding), RFC 9110 §7.2 (Host),
RFC 9110 §15.6.6 (505), RFC 9110 §7.8 (Upgrade).
"""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

_HOST: Final = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?"
).fullmatch
# RFC 9110 §7.2: uri-host and perhaps a port; empty where the target has no authority
_OF_UPGRADE: Final = frozenset({b"upgrade", b"http2-settings"})
# RFC 9110 §7.8; the second goes with h2c


class HeadFault(NamedTuple):
    """Why a request is not taken: status, code and words of its problem."""

    status: int
    code: str
    detail: str


_VERSION: Final = HeadFault(505, "http_version", "This server speaks HTTP/1.1.")
_OLD: Final = HeadFault(400, "bad_request", "This is not a valid HTTP request.")
_TARGET: Final = HeadFault(400, "bad_target", "The target of a request has no fragment.")
_HOST_ONCE: Final = HeadFault(400, "bad_host", "Exactly one field Host with a host is needed.")
_OLD_CODING: Final = HeadFault(400, "bad_framing", "HTTP/1.0 knows no Transfer-Encoding.")
_NOT_LAST: Final = HeadFault(400, "bad_framing", "The last transfer coding of a request is chunked.")
_UNKNOWN_CODING: Final = HeadFault(501, "unknown_coding", "Of transfer codings only chunked is understood.")


def maybe_head_fault(version: str, target: bytes, fields: Sequence[tuple[bytes, bytes]]) -> HeadFault | None:
    """The fault of a head, or None; names are lower case, values of Transfer-Encoding as they came."""
    if version not in {"1.0", "1.1"}:
        return _OLD if version < "1" else _VERSION
    if b"#" in target:
        return _TARGET
    hosts = codings = 0
    coding = b""
    for name, value in fields:
        if name == b"host":
            hosts += 1
            if not _HOST(value):
                return _HOST_ONCE
        elif name == b"transfer-encoding":
            codings += 1
            coding = value
    if hosts > 1 or (not hosts and version == "1.1"):
        return _HOST_ONCE
    return _coding_fault(version, coding.lower(), codings) if codings else None


def _coding_fault(version: str, last: bytes, count: int) -> HeadFault | None:
    if version == "1.0":
        return _OLD_CODING
    if last == b"chunked" and count == 1:
        return None
    return _UNKNOWN_CODING if last.rpartition(b",")[2].lstrip(b" \t") == b"chunked" else _NOT_LAST


def head_without_upgrade(
    method: bytes, target: bytes, version: str, fields: Sequence[tuple[bytes, bytes]]
) -> bytes:
    """A head whose names are lower case, as it was without the wish to change the protocol."""
    lines = [b"%b %b HTTP/%b" % (method, target, version.encode("ascii"))]
    for name, value in fields:
        if name == b"connection":
            options = [option.strip(b" \t") for option in value.split(b",")]
            others = b", ".join([each for each in options if each.lower() not in _OF_UPGRADE])
            lines.append(b"connection: " + others)
        elif name not in _OF_UPGRADE:
            lines.append(b"%b: %b" % (name, value))
    return b"\r\n".join([*lines, b"", b""])
