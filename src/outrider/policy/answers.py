"""What a hook can say: go on, that is all in this phase, or no.

A hook that returns nothing goes on.
"""

import re
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from outrider.model.reply import Reply

_ENHANCED = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?:\s|$)")
# RFC 3463 §2

TEXT_OCTETS = 512
# RFC 5321 §4.5.3.1.5: the longest reply line; a line of a policy's text is at most this long
LINES_MAX = 50
# chosen: a page; what is longer belongs on a web page


class Go(Enum):
    """No objection."""

    CONTINUE = "continue"
    DONE = "done"


CONTINUE = Go.CONTINUE
"""The next script is asked."""

DONE = Go.DONE
"""The other scripts are not asked in this phase."""


@dataclass(frozen=True)
class Refuse:
    """The command or message is refused.

    Args:
        code: 400 to 599; 421 also ends the session.
        text: What the peer reads, which may begin with an enhanced code, as `5.7.1 Not today`.

    Raises:
        ValueError: The code refuses nothing, or the text is not one that a reply can hold.
        TypeError: The code is no whole number, or the text is none.
    """

    code: int
    text: str
    is_last: ClassVar[bool] = True

    def __post_init__(self) -> None:
        reply_of(self.code, self.text)

    @property
    def reply(self) -> Reply:
        """What the peer hears."""
        return reply_of(self.code, self.text)


@dataclass(frozen=True, slots=True)
class Code:
    """What a script written for Momentum says: a code, which holds unless a later script says another one.

    Args:
        code: 200 to 599; from 400 on it refuses.
        text: As in `Refuse`.
        is_last: The other scripts are not asked in this phase.

    Raises:
        ValueError: It refuses with a text that no reply can hold.
    """

    code: int
    text: str
    is_last: bool

    def __post_init__(self) -> None:
        self.reply  # noqa: B018 - raises where there is none

    @property
    def reply(self) -> Reply | None:
        """What the peer hears; None where nothing is refused."""
        return reply_of(self.code, self.text) if self.code >= 400 else None


Answer = Go | Refuse | Code | None


def reply_of(code: int, text: str) -> Reply:
    """A reply that refuses, of a script's code and text.

    Raises:
        ValueError: The code refuses nothing, or the text does not fit.
        TypeError: The code is no whole number, or the text is none.
    """
    if type(code) is not int or not isinstance(text, str):
        raise TypeError("a refusal is a whole number and a text, as Refuse(550, '5.7.1 Not today')")
    if not 400 <= code <= 599:
        raise ValueError(f"{code} refuses nothing: use 400 to 599")
    found = _ENHANCED.match(text)
    enhanced, rest = (found[1], text[found.end() :]) if found is not None else (None, text)
    if enhanced is not None and int(enhanced[0]) != code // 100:
        raise ValueError(f"the enhanced code {enhanced} is of another class than {code}")
    lines = tuple(line.strip() for line in rest.replace("\r\n", "\n").split("\n") if line.strip())
    if len(lines) > LINES_MAX:
        raise ValueError(f"the text of a reply has more than {LINES_MAX} lines")
    for line in lines:
        if not line.isprintable():
            raise ValueError("the text of a reply holds characters that do not print")
        if len(line.encode("utf-8")) > TEXT_OCTETS:
            raise ValueError(f"a line of a reply has more than {TEXT_OCTETS} octets")
    return Reply(code, enhanced or f"{code // 100}.7.0", lines or ("Refused by policy",))
