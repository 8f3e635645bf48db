"""How deeply a message is nested, counted without parsing it where that is possible.

Theory: each level of nesting needs a boundary line or a `message/` type, so their number bounds the depth;
only a message with more of them than the limit allows is walked, iteratively, line by line.

Invariant: the cost is linear in the message, whatever is in it, and the stack is at most `limit + 1` deep.

Standards: RFC 2046 §5.1.1 (multipart), RFC 2046 §5.2.1 (message/rfc822).
"""

import re

_TYPE = re.compile(
    rb"^content-type[ \t]*:[ \t\r\n]*(multipart|message)/([^;\s]*)", re.IGNORECASE | re.MULTILINE
)
_BOUNDARY = re.compile(rb";\s*boundary\s*=\s*(?:\"([^\"\r\n]{1,200})\"|([^\s;\"]{1,200}))", re.IGNORECASE)

_SLICE_OCTETS = 1 << 20
# measured: 0.7 ms each; a copy of 25 MiB would hold the interpreter, also from a thread, for over 20 ms


def is_nested_deeper(wire: bytes, lower_header: bytes, limit: int) -> bool:
    """True when the message has more than `limit` levels of multipart and message parts."""
    if b"multipart/" not in lower_header and b"message/" not in lower_header:
        return False
    bound = wire.count(b"\n--") + _messages(wire)
    if bound <= limit:
        return False
    return _walk(wire, limit)


def _messages(wire: bytes) -> int:
    """How often `message/` is in it, whatever its case; slices overlap by one octet less than that."""
    overlap = len(b"message/") - 1
    return sum(
        wire[at : at + _SLICE_OCTETS + overlap].lower().count(b"message/")
        for at in range(0, len(wire), _SLICE_OCTETS)
    )


def _walk(wire: bytes, limit: int) -> bool:
    """Depth by open boundaries; a header block follows each boundary line and each message/ header."""
    stack: list[bytes] = []  # boundary of each open level; empty for message/ levels
    at = 0
    while True:
        end = wire.find(b"\r\n\r\n", at)
        header = wire[at : end + 2 if end >= 0 else len(wire)]
        found = _TYPE.search(header)
        at = end + 4 if end >= 0 else len(wire)
        if found is not None and found[1].lower() == b"message":
            stack.append(b"")
        elif found is not None:
            boundary = _BOUNDARY.search(header, found.end())
            stack.append(b"--" + (boundary[1] or boundary[2]) if boundary else b"")
        if len(stack) > limit:
            return True
        if found is None or found[1].lower() != b"message":
            at = _next_part(wire, at, stack)
        if at < 0 or at >= len(wire):
            return False


def _next_part(wire: bytes, at: int, stack: list[bytes]) -> int:
    """Start of the next part's header, with the levels it leaves taken off the stack; -1 at the end."""
    at -= 2
    while True:
        at = wire.find(b"\r\n--", at)
        if at < 0:
            return -1
        end = wire.find(b"\r\n", at + 2)
        line = wire[at + 2 : end].rstrip(b" \t")
        for depth in range(len(stack) - 1, -1, -1):
            if line == stack[depth] and line:
                del stack[depth + 1 :]
                return end + 2
            if line == stack[depth] + b"--" and stack[depth]:
                del stack[depth:]
                break
        at = end
