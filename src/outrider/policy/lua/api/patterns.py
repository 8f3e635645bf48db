r"""PCRE patterns, run by Python's `re`.

In: a pattern as PCRE reads it, and a subject of octets. Out: matches, new texts.

Theory: `re` has what scripts use of PCRE, atomic groups and possessive repeats too; what is only written in
another way is rewritten on the pattern's own tokens. A pattern gone wild is ended by the clock of processor
time (`policy.budget`): `re` looks for signals while it matches, so the clock's signal ends it, and with it
the hook, which cannot catch that.

Invariant: a pattern is either rewritten to the same meaning or refused; nothing is guessed.

Not here: recursion, verbs, callouts, `\K`, `\G`, `\X`, Unicode properties. They are refused by name.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, TypeVar

from outrider.policy.budget import CpuBudget

T = TypeVar("T")

PATTERN_OCTETS_MAX: Final = 16_384
# chosen: a long list of words
_COMPILED: Final = 1_000
# chosen: far more than scripts have
_SPLITS_MAX: Final = 100_000
# chosen: what fits into a table
REPLACED_OCTETS_MAX: Final = 32 << 20
"""Of a new text; chosen: more than a call may grow by."""

_ESCAPES: Final = {
    b"h": rb"[ \t]",
    b"H": rb"[^ \t]",
    b"v": rb"[\n\x0b\f\r]",
    b"V": rb"[^\n\x0b\f\r]",
    b"R": rb"(?>\r\n|[\n\x0b\f\r])",
    b"N": rb"[^\n]",
    b"Z": rb"(?=\n?\Z)",
    b"z": rb"\Z",
    b"e": rb"\x1b",
}
_IN_SET: Final = {
    b"h": rb" \t",
    b"v": rb"\n\x0b\f\r",
    b"e": rb"\x1b",
    b"R": b"R",
    b"z": b"z",
    b"Z": b"Z",
    b"b": rb"\x08",
}
_BEGIN_OF_LINE: Final = rb"(?:\A|^(?!\Z))"
# `^` of (?m): PCRE finds no line behind the line feed that ends a subject
_LITERAL_BRACE: Final = re.compile(rb"\{,[0-9]*\}")
# a repeat without its least number is text in PCRE
_REFUSED: Final = frozenset((b"K", b"G", b"X", b"C", b"p", b"P", b"u", b"U", b"l", b"L", b"Q", b"E"))
_LETTERS: Final = frozenset(b"ijmoqyIJMOTY")
# escapes that mean the letter itself in PCRE and are errors in re
_POSIX: Final = {
    b"alpha": b"A-Za-z",
    b"digit": b"0-9",
    b"alnum": b"A-Za-z0-9",
    b"upper": b"A-Z",
    b"lower": b"a-z",
    b"space": rb"\s",
    b"blank": rb" \t",
    b"punct": rb"!-/:-@\[-`{-~",
    b"xdigit": b"A-Fa-f0-9",
    b"word": rb"\w",
    b"cntrl": rb"\x00-\x1f\x7f",
    b"print": b" -~",
    b"graph": b"!-~",
}
_NAME: Final = rb"[A-Za-z_][A-Za-z0-9_]{0,31}"
_GROUP: Final = re.compile(rb"\?(?:P?<(%b)>|'(%b)')" % (_NAME, _NAME))
_FLAGS: Final = re.compile(rb"\?([a-zA-Z]*)(?:-([a-zA-Z]*))?([:)])")
_BACK: Final = re.compile(rb"k(?:<(%b)>|\{(%b)\}|'(%b)')|g\{?(-?[0-9]+)\}?" % (_NAME, _NAME, _NAME))
_HEX: Final = re.compile(rb"x(?:\{([0-9A-Fa-f]{1,6})\}|([0-9A-Fa-f]{0,2}))")
_OCTAL: Final = re.compile(rb"[0-7]{1,3}")
# in a set, where no digit refers to a group
_CONTROL: Final = re.compile(rb"c([ -~])")
_CLASSES: Final = frozenset((b"d", b"D", b"w", b"W", b"s", b"S", b"h", b"v"))
# escapes in a set that are more than one character; a hyphen beside them is itself
_BEHIND: Final = {b"(?<=": (b"(?>(?<=", b")|(?<="), b"(?<!": (b"(?:(?<!", b")(?<!")}
# how a look-behind begins, and what stands between its alternatives: in PCRE each has a length of its own
_POSIX_SET: Final = re.compile(rb"\[:(\^?)([a-z]+):\]")
_REPLACED: Final = re.compile(rb"\$(?:\$|&|([0-9]{1,2})|\{([0-9]{1,2})\}|\{(%b)\}|(%b))" % (_NAME, _NAME))


class PatternError(ValueError):
    """A pattern that cannot be used. `place` is the octet it fails at."""

    def __init__(self, reason: str, place: int = 0) -> None:
        super().__init__(reason)
        self.place = place


class _Rewriter:
    """One pattern on its way to `re`."""

    def __init__(self, pattern: bytes) -> None:
        self._pattern = pattern
        self._at = 0
        self._out: list[bytes] = []
        self._levels: list[list[bytes]] = [[]]  # flag groups that are open at each level
        self._between = [b"|"]  # what stands between the alternatives of each level
        self._groups = 0
        self._is_extended = False  # (?x) for all of it: # begins a comment
        self._by_lines = [False]  # (?m) at each level

    def rewrite(self) -> bytes:
        pattern = self._pattern
        while self._at < len(pattern):
            sign = pattern[self._at : self._at + 1]
            if sign == b"\\":
                self._escape()
            elif sign == b"[":
                self._set()
            elif sign == b"(":
                self._open()
            elif sign == b"#" and self._is_extended:
                end = pattern.find(b"\n", self._at)
                self._at = len(pattern) if end < 0 else end
            else:
                self._at += 1
                self._plain(sign)
        self._out += [b")" for _ in self._levels[0]]
        return b"".join(self._out)

    def _plain(self, sign: bytes) -> None:
        level = self._levels[-1]
        if sign == b")":
            self._out += [b")" for _ in level]
            if len(self._levels) > 1:
                self._levels.pop()
                self._by_lines.pop()
                if self._between.pop() != b"|":
                    sign = b"))"
        elif sign == b"|":
            self._out += [b")" for _ in level]
            self._out.append(self._between[-1])
            self._out += level
            return
        elif sign == b"^" and self._by_lines[-1]:
            sign = _BEGIN_OF_LINE
        elif sign == b"{" and _LITERAL_BRACE.match(self._pattern, self._at - 1):
            sign = b"\\{"
        self._out.append(sign)

    def _escape(self) -> None:
        pattern, at = self._pattern, self._at
        letter = pattern[at + 1 : at + 2]
        if not letter:
            raise PatternError("\\ at end of pattern", at)
        if letter == b"Q":
            end = pattern.find(b"\\E", at + 2)
            end = len(pattern) if end < 0 else end
            self._out.append(re.escape(pattern[at + 2 : end]))
            self._at = end + 2
        elif coded := self._code(at):
            octet, self._at = coded
            self._out.append(octet)
        elif found := _BACK.match(pattern, at + 1):
            name = found[1] or found[2] or found[3]
            number = int(found[4]) if not name else 0
            number = self._groups + 1 + number if number < 0 else number
            self._out.append(b"(?P=%b)" % name if name else b"(?:\\%d)" % number)
            self._at = found.end()
        else:
            self._out.append(self._letter(letter, at, _ESCAPES))
            self._at += 2

    def _code(self, at: int) -> tuple[bytes, int] | None:
        """An octet that is given by its number, and where that ends; None if none is."""
        if found := _HEX.match(self._pattern, at + 1):
            value = int(found[1] or found[2] or b"0", 16)
        elif found := _CONTROL.match(self._pattern, at + 1):
            value = found[1].upper()[0] ^ 0x40
        else:
            return None
        return _octet(value, at), found.end()

    def _letter(self, letter: bytes, at: int, known: dict[bytes, bytes]) -> bytes:
        if letter in known:
            return known[letter]
        if letter in _REFUSED:
            raise PatternError(f"\\{letter.decode('latin-1')} is not supported", at)
        return letter if letter[0] in _LETTERS else b"\\" + letter

    def _set(self) -> None:
        """A set in brackets, with POSIX classes."""
        pattern, begun = self._pattern, self._at
        at = begun + 1
        self._out.append(b"[")
        if pattern[at : at + 1] == b"^":
            self._out.append(b"^")
            at += 1
        member, is_class, at = self._member(at, begun)  # a bracket that comes first is itself
        self._out.append(member)
        can_begin = not is_class
        while pattern[at : at + 1] != b"]":
            is_hyphen = pattern[at : at + 1] == b"-"
            member, is_class, at = self._member(at, begun)
            if is_hyphen and can_begin and pattern[at : at + 1] != b"]":
                last, is_class, at = self._member(at, begun)
                self._out.append((member if is_class else b"-") + last)
                can_begin = False
                continue
            self._out.append(member)
            can_begin = not is_class
        self._out.append(b"]")
        self._at = at + 1

    def _member(self, at: int, begun: int) -> tuple[bytes, bool, int]:
        """What stands in a set at a place, whether it is a class of characters, and where it ends."""
        pattern = self._pattern
        sign, letter = pattern[at : at + 1], pattern[at + 1 : at + 2]
        if not sign or (sign == b"\\" and not letter):
            raise PatternError("missing terminating ] for character class", begun)
        if found := _POSIX_SET.match(pattern, at):
            if found[1] or found[2] not in _POSIX:
                raise PatternError("this POSIX class is not supported", at)
            return _POSIX[found[2]], True, found.end()
        if sign != b"\\":
            return (b"\\" + sign if sign in b"[]&~|^-" else sign), False, at + 1
        if found := _OCTAL.match(pattern, at + 1):
            return _octet(int(found[0], 8), at), False, found.end()
        coded = self._code(at)
        if coded is not None:
            return coded[0], False, coded[1]
        return self._letter(letter, at, _IN_SET), letter in _CLASSES, at + 2

    def _open(self) -> None:
        """What begins with a parenthesis."""
        pattern, at = self._pattern, self._at
        if pattern[at + 1 : at + 2] == b"*":
            raise PatternError("verbs are not supported", at)
        if pattern[at + 1 : at + 2] != b"?":
            self._groups += 1
            self._begin(b"(", at + 1)
        elif pattern[at + 2 : at + 3] == b"#":
            end = pattern.find(b")", at)
            if end < 0:
                raise PatternError("missing ) after comment", at)
            self._at = end + 1
        elif found := _GROUP.match(pattern, at + 1):
            self._groups += 1
            self._begin(b"(?P<%b>" % (found[1] or found[2]), found.end())
        elif found := _FLAGS.match(pattern, at + 1):
            self._flags(found, at)
        else:
            self._other(at)

    def _flags(self, found: re.Match[bytes], at: int) -> None:
        on, off, end = found[1], found[2] or b"", found[3]
        if not set(on + off) <= set(b"imsx") or set(on) & set(off):
            raise PatternError("these flags are not supported", at)
        if b"x" in on and b"#" in self._pattern and not self._is_start(at):
            raise PatternError("(?x) with comments is supported at the start of a pattern only", at)
        group = b"(?%b%b:" % (on, b"-" + off if off else b"")
        by_lines = b"m" in on or (self._by_lines[-1] and b"m" not in off)
        if end == b":":
            self._begin(group, found.end())
            self._by_lines[-1] = by_lines
            return
        self._at = found.end()
        self._by_lines[-1] = by_lines
        if not off and self._is_start(at):
            self._out.append(b"(?%b)" % on if on else b"")
            self._is_extended = b"x" in on
            return
        self._out.append(group)
        self._levels[-1].append(group)

    def _is_start(self, at: int) -> bool:
        """Nothing stands before it: flags there are the whole pattern's."""
        return at == 0

    def _other(self, at: int) -> None:
        rest = self._pattern[at + 2 : at + 4]
        for known in (b"=", b"!", b"<=", b"<!", b">"):
            if rest.startswith(known):
                self._begin(b"(?" + known, at + 2 + len(known))
                return
        back = re.compile(rb"\?P=(%b)\)" % _NAME).match(self._pattern, at + 1)
        if back:
            self._out.append(b"(" + back[0])
            self._at = back.end()
            return
        raise PatternError("this kind of group is not supported", at)

    def _begin(self, group: bytes, at: int) -> None:
        begin, between = _BEHIND.get(group, (group, b"|"))
        self._out.append(begin)
        self._between.append(between)
        self._levels.append([])
        self._by_lines.append(self._by_lines[-1])
        self._at = at


def _octet(value: int, at: int) -> bytes:
    if value > 0xFF:
        raise PatternError("characters above \\x{ff} are not supported: subjects are octets", at)
    return b"\\x%02x" % value


@lru_cache(_COMPILED)
def compile_pattern(pattern: bytes) -> re.Pattern[bytes]:
    """A pattern of PCRE.

    Raises:
        PatternError: It is none, or has what is not supported.
    """
    if len(pattern) > PATTERN_OCTETS_MAX:
        raise PatternError(f"a pattern has at most {PATTERN_OCTETS_MAX} octets")
    try:
        return re.compile(_Rewriter(pattern).rewrite())
    except (re.error, OverflowError, RecursionError) as error:
        raise PatternError(str(error)) from None


def bounded(budget: CpuBudget | None, work: Callable[[], T]) -> T:
    """What `work` gives, ended when it uses up its processor time; see the module."""
    if budget is None or budget.is_running:
        return work()
    budget.begin()
    try:
        return work()
    finally:
        budget.is_running = False


def matches_of(found: re.Match[bytes]) -> dict[Any, bytes]:
    """A match as scripts see it: 0 is the whole, then groups by number, and by name."""
    table: dict[Any, bytes] = {0: found[0]}
    table.update((place, text or b"") for place, text in enumerate(found.groups(), 1))
    table.update((name.encode(), text or b"") for name, text in found.groupdict().items())
    return table


def expand(found: re.Match[bytes], replacement: bytes) -> bytes:
    """A replacement with `$1`, `${1}`, `${name}` and `$&` filled in; `$$` is a dollar."""

    def one(mark: re.Match[bytes]) -> bytes:
        if mark[0] == b"$$":
            return b"$"
        if mark[0] == b"$&":
            return found[0]
        number, name = mark[1] or mark[2], mark[3] or mark[4]
        try:
            return (found[int(number)] if number else found[name.decode()]) or b""
        except IndexError:
            return mark[0] if name else b""

    return _REPLACED.sub(one, replacement)


def replace(pattern: re.Pattern[bytes], subject: bytes, replacement: bytes) -> tuple[bytes, int]:
    """A new text, and how often the pattern was found. Raises ValueError: it would be too long."""
    is_plain = b"$" not in replacement
    size = len(subject)

    def one(found: re.Match[bytes]) -> bytes:
        nonlocal size
        new = replacement if is_plain else expand(found, replacement)
        size += len(new) - (found.end() - found.start())
        if size > REPLACED_OCTETS_MAX:
            raise ValueError(f"replacing would make more than {REPLACED_OCTETS_MAX} octets")
        return new

    return pattern.subn(one, subject)


def split(pattern: re.Pattern[bytes], subject: bytes) -> list[bytes]:
    """What stands between the matches."""
    parts, last = [], 0
    for found in pattern.finditer(subject):
        if found.end() == found.start():
            continue
        parts.append(subject[last : found.start()])
        last = found.end()
        if len(parts) >= _SPLITS_MAX:
            break
    parts.append(subject[last:])
    return parts
