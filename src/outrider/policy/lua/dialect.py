r"""Momentum's Lua, rewritten into what LuaJIT loads. No line moves, so errors name the script's own lines.

In: a script as octets. Out: the same with those of its tokens replaced that LuaJIT does not know, or reads
otherwise. A script without any comes out as it went in.

Theory: `a | b` becomes `__dialect_or(a , b)`: the operator turns into a comma, a call opens before the
first token of the left operand and closes after the last one of the right. To know the operands,
expressions are read by operator precedence, with a stack of open brackets and blocks instead of a grammar:
each token is looked at once. What is wrong about a script beyond that is LuaJIT's to say.

Decisions, one for each difference that is known:

- `!=` is `~=`.
- `& | ^^ << >> ~ \` call functions (see `operators.lua`) that know their metamethods. They group as in
  Momentum's own runtime (see `MOMENTUM`), or as in Lua 5.3; where that matters for an expression, the
  translation says so in `doubts`.
- An integer with a leading zero is octal, as `0644` for a file's mode; with an 8 or 9 in it, it stays as it
  is. `tonumber` reads strings alike; a string in arithmetic is decimal.
- An unknown escape in a quoted string keeps its character: `\@` is `@`, and so is `\z` a `z`. `\u` with 4,
  6 or 8 hexadecimal digits is that character in UTF-8. What LuaJIT knows besides (`\x41`, `\u{41}`) stays.
- A function that takes `...` and uses `arg` instead has that table; see `varargs`.
- A quoted string over two lines, and a call whose bracket begins a line, are refused: they are page
  wrapping in manuals, and accepting them would give other meanings to scripts that lack a quote or a
  semicolon.

Standards: Lua 5.3 reference manual, section 3.4.8 (precedence).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from outrider.policy.errors import ScriptError
from outrider.policy.lua.tokens import Kind, Token, tokenize
from outrider.policy.lua.varargs import MAKES_ARG, bodies_with_arg

Precedence = dict[bytes, tuple[int, int]]
"""Left and right priority of binary operators: an operator takes what stands right of it while the left
priority of the next one is above its own right one."""

_COMPARISONS: Precedence = dict.fromkeys((b"<", b">", b"<=", b">=", b"~=", b"!=", b"=="), (3, 3))
_SHARED: Precedence = {b"or": (1, 1), b"and": (2, 2), **_COMPARISONS}

LUA53: Final[Precedence] = {
    **_SHARED,
    b"|": (4, 4),
    b"^^": (5, 5),
    b"&": (6, 6),
    b"<<": (7, 7),
    b">>": (7, 7),
    b"..": (9, 8),
    **dict.fromkeys((b"+", b"-"), (10, 10)),
    **dict.fromkeys((b"*", b"/", b"%", b"\\"), (11, 11)),
    b"^": (14, 13),
}
# Lua 5.3 reference manual, section 3.4.8; the numbers are its parser's. `^^` stands where 5.3 has its `~`.

MOMENTUM: Final[Precedence] = {
    **_SHARED,
    b"..": (5, 4),
    **dict.fromkeys((b"+", b"-", b"|", b"^^", b"&"), (10, 10)),
    **dict.fromkeys((b"*", b"/", b"%", b"\\", b"<<", b">>"), (11, 11)),
    b"^": (14, 13),
}
# The published source of its runtime, `priority` in lparser.c of thrlua: as addition and multiplication.

PRECEDENCES: Final = {"momentum": MOMENTUM, "lua53": LUA53}
"""By the names that the configuration has for them."""

_UNARY: Final = 12
_UNARY_OPERATORS: Final = frozenset((b"-", b"#", b"not", b"~"))
_CALLS: Final = {
    b"|": b"__dialect_or(",
    b"&": b"__dialect_and(",
    b"^^": b"__dialect_xor(",
    b"<<": b"__dialect_shl(",
    b">>": b"__dialect_shr(",
    b"\\": b"__dialect_intdiv(",
    b"~": b"__dialect_not(",
}
_CLOSERS: Final = {b")": b"(", b"]": b"[", b"}": b"{"}
_BLOCKS: Final = frozenset((b"function", b"do", b"if", b"repeat"))
_CONSTANTS: Final = frozenset((b"nil", b"true", b"false", b"..."))

_OCTAL = re.compile(rb"0[0-7]+")
_ESCAPE = re.compile(rb"\\(u[0-9A-Fa-f]{1,8}|\r\n|\n\r|.)", re.DOTALL)
_KEPT_ESCAPES: Final = frozenset(b"abfnrtvx\\\"'\r\n0123456789u")
_UNICODE_DIGITS: Final = (4, 6, 8)
_UNICODE_MAX: Final = 0x1FFFFF
# what four octets of UTF-8 hold


@dataclass(frozen=True, slots=True)
class Translation:
    """A script that LuaJIT loads.

    Attributes:
        text: It.
        doubts: Lines, from 1, with an expression that the other precedence groups otherwise.
    """

    text: bytes
    doubts: tuple[int, ...] = ()


@dataclass(slots=True)
class _Pending:
    """An operator whose right operand is being read: its token, its priority, what it is."""

    at: int
    right: int
    text: bytes
    is_unary: bool


@dataclass(slots=True)
class _Frame:
    """An open bracket or block, and the expression that is being read within.

    `has_operand` says whether the last token ended an operand, `can_be_called` whether a bracket or string
    after it belongs to it.
    """

    opener: bytes
    at: int
    is_suffix: bool = False
    operands: list[tuple[int, int]] = field(default_factory=list)
    pending: list[_Pending] = field(default_factory=list)
    has_operand: bool = False
    can_be_called: bool = False


@dataclass(slots=True)
class _Edits:
    """What to put where, by number of the token."""

    before: dict[int, list[bytes]] = field(default_factory=dict)
    after: dict[int, int] = field(default_factory=dict)
    instead: dict[int, bytes] = field(default_factory=dict)
    spans: dict[int, tuple[int, int]] = field(default_factory=dict)


class _Reader:
    """Finds the operands of the dialect's operators; see the module."""

    def __init__(self, tokens: list[Token], script: str, precedence: Precedence) -> None:
        self._tokens = tokens
        self._script = script
        self._precedence = precedence
        self._frames = [_Frame(b"", 0)]
        self.edits = _Edits()

    def read(self) -> _Edits:
        at = 0
        while at < len(self._tokens):
            frame = self._frames[-1]
            at = self._after_operand(at, frame) if frame.has_operand else self._before_operand(at, frame)
        return self.edits

    def _fail(self, reason: str, at: int) -> ScriptError:
        return ScriptError(reason, script=self._script, line=self._tokens[at].line, phase="load")

    def _after_operand(self, at: int, frame: _Frame) -> int:
        """A token behind an operand: it goes on with it, joins it to the next, or ends the expression."""
        token = self._tokens[at]
        text = token.text
        if token.kind in (Kind.OPERATOR, Kind.KEYWORD) and text in self._precedence:
            left, right = self._precedence[text]
            self._reduce(frame, left)
            frame.pending.append(_Pending(at, right, text, is_unary=False))
            frame.has_operand = False
            return at + 1
        if token.kind is Kind.OPERATOR and text == b"~":
            raise self._fail("'~' stands between two operands; exclusive or is written '^^'", at)
        if frame.can_be_called:
            if token.kind in (Kind.STRING, Kind.LONG_STRING):
                return self._grow(frame, at)
            if token.kind is Kind.OPERATOR and text in (b"(", b"[", b"{"):
                self._frames.append(_Frame(text, at, is_suffix=True))
                return at + 1
            if token.kind is Kind.OPERATOR and text in (b".", b":"):
                return self._grow(frame, min(at + 1, len(self._tokens) - 2))
        self._finish(frame)
        return at

    def _grow(self, frame: _Frame, last: int) -> int:
        frame.operands[-1] = (frame.operands[-1][0], last)
        return last + 1

    def _before_operand(self, at: int, frame: _Frame) -> int:
        """A token where an operand, a statement or a closing bracket may stand."""
        token = self._tokens[at]
        text = token.text
        match token.kind:
            case Kind.NAME:
                self._operand(frame, at, at, can_be_called=True)
            case Kind.NUMBER | Kind.STRING | Kind.LONG_STRING:
                self._operand(frame, at, at)
            case Kind.END:
                self._finish(frame)
            case _ if text in _CONSTANTS:
                self._operand(frame, at, at)
            case _ if text in _UNARY_OPERATORS:
                frame.pending.append(_Pending(at, _UNARY, text, is_unary=True))
            case _ if text in (b"(", b"[", b"{", b"function"):
                self._frames.append(_Frame(text, at))
            case _:
                self._statement(frame, at, text)
        return at + 1

    def _statement(self, frame: _Frame, at: int, text: bytes) -> None:
        """What ends the expression before it, if there is one."""
        if text in _CALLS:
            raise self._fail(f"an operand is missing before {text.decode()!r}", at)
        self._finish(frame)
        if text in _BLOCKS:
            self._frames.append(_Frame(text, at))
        elif text in _CLOSERS or text in (b"end", b"until"):
            self._close(at, text)

    def _close(self, at: int, text: bytes) -> None:
        frame = self._frames[-1]
        fits = (
            frame.opener == _CLOSERS[text]
            if text in _CLOSERS
            else (frame.opener == b"repeat") == (text == b"until") and frame.opener in _BLOCKS
        )
        if not fits:
            opened = self._tokens[frame.at]
            what = f"; {opened.text.decode()!r} of line {opened.line} is open" if frame.opener else ""
            raise self._fail(f"{text.decode()!r} closes nothing{what}", at)
        self._frames.pop()
        outer = self._frames[-1]
        if frame.is_suffix:
            self._grow(outer, at)
        elif frame.opener in (b"(", b"[", b"{", b"function"):
            self._operand(outer, frame.at, at, can_be_called=frame.opener == b"(")

    @staticmethod
    def _operand(frame: _Frame, first: int, last: int, *, can_be_called: bool = False) -> None:
        frame.operands.append((first, last))
        frame.has_operand = True
        frame.can_be_called = can_be_called

    def _finish(self, frame: _Frame) -> None:
        """The expression is over."""
        if frame.has_operand:
            self._reduce(frame, 0)
        else:
            for pending in frame.pending:
                if pending.text in _CALLS:
                    raise self._fail(f"an operand is missing after {pending.text.decode()!r}", pending.at)
        frame.operands.clear()
        frame.pending.clear()
        frame.has_operand = False

    def _reduce(self, frame: _Frame, left: int) -> None:
        """Join operands by the operators that bind them before one of priority `left` does."""
        while frame.pending and frame.pending[-1].right >= left:
            pending = frame.pending.pop()
            last = frame.operands.pop()[1]
            start = pending.at if pending.is_unary else frame.operands.pop()[0]
            frame.operands.append((start, last))
            if pending.text in _CALLS and not (pending.is_unary and pending.text != b"~"):
                self._rewrite(pending, start, last)

    def _rewrite(self, pending: _Pending, start: int, last: int) -> None:
        edits = self.edits
        call = _CALLS[pending.text]
        if pending.is_unary:
            edits.instead[pending.at] = call
        else:
            edits.instead[pending.at] = b","
            edits.before.setdefault(start, []).append(call)
        edits.after[last] = edits.after.get(last, 0) + 1
        edits.spans[pending.at] = (start, last)


def _encode(digits: bytes) -> bytes | None:
    """Decimal escapes of a character's UTF-8 (RFC 3629 §3); None if these digits are no character."""
    if len(digits) not in _UNICODE_DIGITS or (point := int(digits, 16)) > _UNICODE_MAX:
        return None
    if point < 0x80:
        octets = [point]
    elif point < 0x800:
        octets = [0xC0 | point >> 6, 0x80 | point & 0x3F]
    elif point < 0x10000:
        octets = [0xE0 | point >> 12, 0x80 | point >> 6 & 0x3F, 0x80 | point & 0x3F]
    else:
        octets = [
            0xF0 | point >> 18,
            0x80 | point >> 12 & 0x3F,
            0x80 | point >> 6 & 0x3F,
            0x80 | point & 0x3F,
        ]
    return b"".join(b"\\%03d" % octet for octet in octets)


def _escape(match: re.Match[bytes]) -> bytes:
    text = match[1]
    if text[:1] == b"u" and len(text) > 1:
        return _encode(text[1:]) or match[0]
    return match[0] if text[0] in _KEPT_ESCAPES else text


def _replace(token: Token) -> bytes:
    """A token's text in LuaJIT's Lua, operators aside."""
    text = token.text
    if token.kind is Kind.STRING and b"\\" in text:
        return _ESCAPE.sub(_escape, text)
    if token.kind is Kind.NUMBER and _OCTAL.fullmatch(text):
        return b"%d" % int(text, 8)
    return b"~=" if text == b"!=" and token.kind is Kind.OPERATOR else text


def _doubts(tokens: list[Token], script: str, edits: _Edits, precedence: Precedence) -> tuple[int, ...]:
    other = _Reader(tokens, script, precedence).read()
    lines = {tokens[at].line for at, span in edits.spans.items() if other.spans.get(at) != span}
    return tuple(sorted(lines))


def translate(source: bytes, script: str, precedence: Precedence = MOMENTUM) -> Translation:
    """A script in the dialect as LuaJIT loads it.

    Args:
        source: The script.
        script: Its name, for errors.
        precedence: How the added operators group.

    Raises:
        ScriptError: What it holds is no token, or an operator of the dialect lacks an operand.
    """
    tokens = tokenize(source, script)
    uses_operators = any(token.kind is Kind.OPERATOR and token.text in _CALLS for token in tokens)
    bodies = bodies_with_arg(tokens)
    if not uses_operators:
        edits = _Edits()
        edits.before.update((body, [MAKES_ARG]) for body in bodies)
        return Translation(_put(tokens, edits, _replace))
    edits = _Reader(tokens, script, precedence).read()
    for body in bodies:
        edits.before.setdefault(body, []).append(MAKES_ARG)
    other = MOMENTUM if precedence is LUA53 else LUA53
    return Translation(_put(tokens, edits, _replace), _doubts(tokens, script, edits, other))


def _put(tokens: list[Token], edits: _Edits, replace: Callable[[Token], bytes]) -> bytes:
    parts: list[bytes] = []
    for at, token in enumerate(tokens):
        parts.append(token.gap)
        parts.extend(reversed(edits.before.get(at, ())))
        parts.append(edits.instead.get(at) or replace(token))
        parts.append(b")" * edits.after.get(at, 0))
    return b"".join(parts)
