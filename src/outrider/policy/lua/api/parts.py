"""`msgpart`: the parts of a message, read, changed, put elsewhere.

In: a part that `msg:mime()` or a maker gave. Out: what it says, its neighbours, another tree.

Theory: a message's own parts change only after `msg:mime(false)`, as in Momentum; parts that stand nowhere
yet always do.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from outrider.policy.lua.api.content import (
    Searches,
    address_components,
    change_header,
    check_writes,
    header_values,
    part_of,
    put_text,
)
from outrider.policy.lua.api.host import Host, text_of, whole_of
from outrider.policy.lua.conversation import Conversation
from outrider.policy.lua.messages import Msg
from outrider.policy.lua.registry import ObjectClass
from outrider.wire.message.content import decoded, is_text, maybe_text, set_decoded
from outrider.wire.message.limits import with_crlf
from outrider.wire.message.tree import Part


class Parts:
    """The methods and fields of `msgpart`."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._searches = Searches(host)

    def _owner(self, part: Part) -> Msg | None:
        """The message under way, if this is a part of it."""
        current = self._host.current()
        msg = current.msg if isinstance(current, Conversation) else None
        if msg is None or msg.mail is None:
            return None
        root = part
        while root.parent is not None:
            root = root.parent
        return msg if root is msg.message.root else None

    def is_free(self, part: Part) -> bool:
        """It stands in no message that is under way."""
        return self._owner(part) is None

    def _check(self, part: Part) -> None:
        """Raises where this part may not be changed."""
        msg = self._owner(part)
        if msg is not None:
            check_writes(msg)
            if not msg.is_writable:
                raise ValueError("this part is read-only: take it from msg:mime(false)")

    def header(self, part: Part, name: Any, *change: Any) -> Any:
        if not change:
            return header_values(part.header, name)
        self._check(part)
        return change_header(part.header, name, *change)

    def address_header(self, part: Part, name: Any, component: Any = None) -> list[bytes]:
        return address_components(part.header.addresses(text_of(name, "a header's name")), component)

    def content_type(self, part: Part) -> dict[str, Any]:
        """What it is."""
        return {
            "mimetype": part.media_type,
            "charset": part.charset,
            "encoding": part.transfer_encoding,
            "is_attachment": bool(part.filename) or part.is_attachment,
            "filename": part.filename,
        }

    def text(self, part: Part, *change: Any) -> Any:
        """Its text, or nil; with a value, another."""
        if change and change[0] is not None:
            self._check(part)
            value, kind, charset, *_ = (*change, None, None)
            put_text(part, value, kind, charset)
            return None
        return maybe_text(part)

    def match(self, part: Part, pattern: Any, *, where: str) -> Any:
        return self._searches.match(part, pattern, where)

    def replace(self, part: Part, pattern: Any, replacement: Any, *, where: str) -> bool:
        self._check(part)
        return self._searches.replace(part, pattern, replacement, where)

    def add_first(self, part: Part, child: Any) -> bool:
        return part.add_first(self._moved(part, part_of(child, "a child")))

    def add_last(self, part: Part, child: Any) -> bool:
        return part.add_last(self._moved(part, part_of(child, "a child")))

    def insert_after(self, part: Part, other: Any) -> bool:
        beside = part_of(other, "the other part")
        return self._moved(beside, part).insert_after(beside)

    def insert_before(self, part: Part, other: Any) -> bool:
        beside = part_of(other, "the other part")
        return self._moved(beside, part).insert_before(beside)

    def _moved(self, place: Part, part: Part) -> Part:
        """`part`, which is put into or beside `place`: what it is taken out of changes too."""
        self._check(place)
        self._check(part)
        if part.parent is None and self.is_free(part):
            _settle_lines(part)
        return part

    def unlink(self, part: Part) -> None:
        self._check(part)
        part.unlink()

    def methods(self) -> dict[str, Callable[..., Any]]:
        """By the names that scripts use."""
        found: dict[str, Callable[..., Any]] = {
            "header": self.header,
            "address_header": self.address_header,
            "content_type": self.content_type,
            "text": self.text,
            "addFirstChild": self.add_first,
            "addLastChild": self.add_last,
            "insertAfter": self.insert_after,
            "insertBefore": self.insert_before,
            "unlink": self.unlink,
        }

        for where in ("raw", "body", "text"):
            found[f"{where}_match"] = partial(self.match, where=where)
            found[f"{where}_replace"] = partial(self.replace, where=where)
        return found

    def describe(self, methods: dict[str, Callable[..., Any]]) -> ObjectClass:
        """How scripts see parts."""
        return ObjectClass(
            "msys.core:_ec_message_part",
            methods,
            getters={
                "parts": lambda part: part.children if part.is_container else None,
                "thread": lambda part: part.following,
                "body_start": lambda _part: 0,
                "body_end": lambda part: len(part.body()),
            },
            setters={"body_start": _window_start, "body_end": _window_end},
        )


def _settle_lines(part: Part) -> None:
    """A text that a script made has the line ends of mail, also where they are encoded (RFC 2045 §6.8)."""
    octets = decoded(part) if is_text(part) else b""
    if b"\n" in octets and b"\0" not in octets:  # which UTF-16 and UTF-32 are full of
        lines = with_crlf(octets)
        if lines != octets:
            set_decoded(part, lines)


def _window_start(_part: Part, at: Any) -> None:
    if whole_of(at, "body_start") != 0:
        raise ValueError("body_start is 0: give makePart the body alone")


def _window_end(part: Part, at: Any) -> None:
    """Octets behind it are not the body's, counted as `makePart` was given them: not yet encoded."""
    end = whole_of(at, "body_end")
    if end < 0:
        raise ValueError("body_end is a number of octets")
    given = decoded(part)
    whole = (len(given), len(given.replace(b"\r\n", b"\n")), len(part.body()))
    if part.parent is not None and end not in whole:
        raise ValueError("body_end is set only on a part that stands nowhere yet")
    if part.parent is None and end < len(given):
        set_decoded(part, given[:end])
