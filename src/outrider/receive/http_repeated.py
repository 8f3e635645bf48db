"""Members of a JSON body that stand twice in one object, of which a decoder takes the last.

In: a JSON text that was decoded before, so that it is one. Out: a pointer to each of them.

Theory: two programs that read such a text may read two messages. Whether there is one is cheap to see where
the text is short: no name comes twice in the whole of it, or a parser that keeps nothing finds no object with
one. Else the text is walked through from quote to quote, because most octets of a long one are inside of
strings.

Invariant: a name is told of once if its object has it more than once, however it is escaped, and else never.

Standards: RFC 8259 §4 (names), RFC 8259 §7 (escapes), RFC 6901 §3 (pointers).
"""

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from outrider.base.long_octets import LONG_OCTETS
from outrider.receive.problems import pointer_of

_NAME_END: Final = re.compile(rb'"[ \t\r\n]*:').finditer
_IS_NAME: Final = re.compile(rb"[ \t\r\n]*:").match
_NO_STRUCTURE: Final = bytes(octet for octet in range(256) if octet not in b"{}[],")
"""Between two strings; numbers and words have none of it."""


def repeated(body: bytes | bytearray, most: int) -> list[str]:
    """Pointers to the first so many members that stand again in their object.

    Time grows with the number of quotes in it, and with its length as slowly as a search; a body longer than
    `LONG_OCTETS` is looked through in a way that lets other threads go on.
    """
    if len(body) <= LONG_OCTETS and (_has_no_name_twice(body) or not _is_any(body)):
        return []
    return list(islice(_walk(body), most))


def _has_no_name_twice(body: bytes | bytearray) -> bool:
    """Whether no name comes twice, wherever; what only looks like a name in a text counts as one."""
    seen: set[bytes] = set()
    for found in _NAME_END(body):
        end = found.start()
        name = bytes(body[body.rfind(b'"', 0, end) + 1 : end])
        if name in seen or b"\\" in name:
            return False
        seen.add(name)
    return True


def _is_any(body: bytes | bytearray) -> bool:
    found = False

    def look(pairs: list[tuple[str, Any]]) -> None:
        nonlocal found
        found = found or len(dict(pairs)) < len(pairs)

    json.loads(body, object_pairs_hook=look)
    return found


class _Level:
    """An open object or list: how often each name came, None in a list; the member or number it is at."""

    __slots__ = ("at", "names")

    def __init__(self, names: dict[bytes, int] | None) -> None:
        self.names = names
        self.at: str | int = 0


def _walk(body: bytes | bytearray) -> Iterator[str]:
    levels: list[_Level] = []
    at = 0
    while (start := body.find(b'"', at)) >= 0:
        for octet in body[at:start].translate(None, _NO_STRUCTURE):
            _step(levels, octet)
        end = _end_of(body, start + 1)
        at = end + 1
        level = levels[-1] if levels else _Level(None)
        if level.names is None or not _IS_NAME(body, at):
            continue
        name = _unescaped(body[start : end + 1])
        level.at = name.decode("utf-8", "replace")
        count = level.names[name] = level.names.get(name, 0) + 1
        if count == 2:
            yield pointer_of(*[each.at for each in levels])


def _step(levels: list[_Level], octet: int) -> None:
    if octet == b"{"[0]:
        levels.append(_Level({}))
    elif octet == b"["[0]:
        levels.append(_Level(None))
    elif octet != b","[0]:
        levels.pop()
    elif isinstance(number := levels[-1].at, int):
        levels[-1].at = number + 1


def _end_of(body: bytes | bytearray, start: int) -> int:
    """Where the string that begins there has its closing quote: one before which backslashes pair up."""
    at = start
    while True:
        at = body.find(b'"', at)
        before = at
        while before > start and body[before - 1] == b"\\"[0]:
            before -= 1
        if (at - before) % 2 == 0:
            return at
        at += 1


def _unescaped(quoted: bytes | bytearray) -> bytes:
    """A name as UTF-8, however it is written."""
    if b"\\" not in quoted:
        return bytes(quoted[1:-1])
    name: str = json.loads(quoted)
    return name.encode("utf-8", "surrogatepass")
