"""Which fields a signature covers: the tag `h=`, and the fields of a message that it selects.

In: the names of a message's fields, and what is asked for. Out: a `Listing`.

Theory: a sender's messages have the same fields in the same order, so a listing is made once and kept, by the
names alone; what the fields hold plays no part. Messages of very many names get one of their own.

Standards: RFC 6376 §3.5 (`h=`), RFC 6376 §5.4 (what to sign), RFC 6376 §5.4.2 (fields that occur often).
"""

from functools import lru_cache
from typing import Final, NamedTuple

from outrider.base.errors import LocalProtocolError
from outrider.wire.dkim.message import Counts, Picks, pick
from outrider.wire.dkim.request import SignRequest

LINE_OCTETS: Final = 74
"""Chosen below the 78 of RFC 5322 §2.1.1, the tab before a folded line counted as eight columns by some."""

LISTED_OCTETS_MAX: Final = 4_096
"""Chosen: ten times what honest messages need, and half of what a verifier such as ours reads of a field."""

_KEPT_NAMES_MAX: Final = 64
# chosen: twice what mail of senders has; a listing that is kept is then some kilobytes


class UnsignableError(LocalProtocolError):
    """This message cannot be signed as it was asked for."""


class Listing(NamedTuple):
    """What a signature covers.

    Attributes:
        names: Those of `h=`, in lower case, each as often as it stands there.
        picks: The fields of the message that they select, in order.
        tag: The tag `h=`, folded, ended by CRLF.
    """

    names: tuple[bytes, ...]
    picks: Picks
    tag: bytes


def list_fields(counts: Counts, request: SignRequest, also: tuple[bytes, ...] = ()) -> Listing:
    """What is signed of a message.

    Args:
        counts: The names of its fields.
        request: What is asked for.
        also: Names that the request does not hold, to be signed as often as they occur.

    Raises:
        UnsignableError: There are too many.
    """
    make = _listing if len(counts) <= _KEPT_NAMES_MAX else _listing.__wrapped__
    return make(counts, request.fields, request.oversigned, also)


@lru_cache(maxsize=256)
def _listing(
    counts: Counts, fields: tuple[str, ...], oversigned: tuple[str, ...], also: tuple[bytes, ...]
) -> Listing:
    there = dict(counts)
    names: list[bytes] = []
    octets = 0
    wanted = dict.fromkeys((*fields, *oversigned, "from"))  # RFC 6376 §5.4: From must be signed
    times = [(name.encode("ascii"), name in oversigned) for name in wanted] + [(name, False) for name in also]
    for name, is_oversigned in times:
        count = there.get(name, 0) + is_oversigned
        names += [name] * count
        octets += (len(name) + 1) * count
    if octets > LISTED_OCTETS_MAX:
        raise UnsignableError(
            "the message repeats fields so often that no signature can list them", octets=octets
        )
    return Listing(tuple(names), pick(names, counts), _folded(names))


def _folded(names: list[bytes]) -> bytes:
    lines = []
    line = b"\th="
    for place, name in enumerate(names):
        piece = name + (b":" if place < len(names) - 1 else b";")
        if len(line) + len(piece) > LINE_OCTETS:
            lines.append(line)
            line = b"\t "
        line += piece
    return b"\r\n".join([*lines, line]) + b"\r\n"
