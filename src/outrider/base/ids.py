"""Message ids: short, sortable by time, unique over processes and restarts.

A message id is 18 characters of lower-case Crockford base 32: 9 of milliseconds since 1970 (45 bits, good
until the year 3084), 5 that are random per process start (25 bits), 4 of a counter (20 bits).
Two processes would have to draw the same 25 random bits *and* be at the same count in the same millisecond
to collide.
"""

from typing import NewType

from outrider.base.clock import Clock

MessageId = NewType("MessageId", str)

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
ID_LENGTH = 18
_COUNTER_BITS = 20
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]


def _encode(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        digits.append(_ALPHABET[number & 31])
        number >>= 5
    return "".join(reversed(digits))


class IdSource:
    """Makes message ids for one process.

    Args:
        clock: Gives the milliseconds.
        random_bits: 25 bits drawn from the system's random source at process start (passed in).
    """

    __slots__ = ("_clock", "_counter", "_millis", "_prefix", "_process")

    def __init__(self, clock: Clock, random_bits: int) -> None:
        self._clock = clock
        self._process = _encode(random_bits & (1 << 25) - 1, 5)
        self._counter = 0
        self._millis = -1
        self._prefix = ""

    def next(self) -> MessageId:
        """The next id. Ids of one source sort by the millisecond in which they were made."""
        millis = int(self._clock.wall() * 1000)
        if millis != self._millis:
            self._millis = millis
            self._prefix = (
                f"{_ALPHABET[millis >> 40 & 31]}{_PAIRS[millis >> 30 & 1023]}{_PAIRS[millis >> 20 & 1023]}"
                f"{_PAIRS[millis >> 10 & 1023]}{_PAIRS[millis & 1023]}{self._process}"
            )
        count = self._counter = (self._counter + 1) & (1 << _COUNTER_BITS) - 1
        return MessageId(f"{self._prefix}{_PAIRS[count >> 10]}{_PAIRS[count & 1023]}")


def is_message_id(text: str) -> bool:
    """True for text of the form that `IdSource` makes."""
    return len(text) == ID_LENGTH and all(char in _ALPHABET for char in text)


def created_time(message_id: str) -> float:
    """Unix seconds at which the clock stood when the id was made; the text must be a message id."""
    millis = 0
    for char in message_id[:9]:
        millis = millis << 5 | _ALPHABET.index(char)
    return millis / 1000
