"""Tokens of Lua 5.1 and of what Momentum's runtime adds to it.

In: a script as octets. Out: its tokens, each with the blanks and comments before it, so that the script can
be put together again octet by octet.

Theory: one expression for blanks and comments, one for tokens, matched in turn; neither looks back over
what it has read, so the time is linear in the script's length, whatever is in it. A token that does not end
ends the reading at once.

Invariant: gaps and texts of all tokens, joined, are the script.

Standards: Lua 5.1 reference manual, section 2.1 (lexical conventions); numbers and names
as LuaJIT reads them.
"""

import re
from enum import Enum
from typing import Final, NamedTuple

from outrider.policy.errors import ScriptError


class Kind(Enum):
    """What a token is."""

    NAME = "name"
    KEYWORD = "keyword"
    NUMBER = "number"
    STRING = "string"
    LONG_STRING = "long string"
    OPERATOR = "operator"
    END = "end"


class Token(NamedTuple):
    """One token.

    Attributes:
        kind: See `Kind`; the last token of each script is an END without text.
        text: As it stands in the script.
        gap: Blanks and comments before it.
        line: Where it begins, from 1.
    """

    kind: Kind
    text: bytes
    gap: bytes
    line: int


KEYWORDS: Final = frozenset(
    b"and break do else elseif end false for function goto if in local nil not or repeat return then true "
    b"until while".split()
)
"""Lua 5.1 reference manual, section 2.1, and LuaJIT's `goto`, which it accepts as a name too."""

_GAP = re.compile(
    rb"(?:[ \t\r\n\v\f]+|--\[(=*)\[.*?\]\1\]|--(?!\[=*\[)[^\r\n]*)*",
    re.DOTALL,
)
_HEADER = re.compile(rb"(?:\xef\xbb\xbf)?(?:#[^\r\n]*)?")
# What an editor puts before a text, and the line that names an interpreter: both skipped by LuaJIT.
_TOKEN = re.compile(
    rb"""(?P<name>[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)
    |(?P<number>0[xX](?:[pP][+-]|[0-9A-Za-z_.\x80-\xff])*|\.?[0-9](?:[eE][+-]|[0-9A-Za-z_.\x80-\xff])*)
    |(?P<string>"(?:[^"\\\r\n]|\\(?:\r\n|\n\r|.))*"|'(?:[^'\\\r\n]|\\(?:\r\n|\n\r|.))*')
    |(?P<long>\[(?P<level>=*)\[.*?\](?P=level)\])
    |(?P<operator>\.\.\.|\.\.|==|~=|!=|<=|>=|<<|>>|\^\^|::|[-+*/%^\#<>=(){};:,.&|~\\\]]|\[(?!=*\[)(?!=))""",
    re.DOTALL | re.VERBOSE,
)
_FFI_SUFFIXES: Final = b"iIlL"
# LuaJIT's numbers that are objects of its ffi library, as 1LL and 1i; no hexadecimal digit is one of these
_NEWLINE = re.compile(rb"\r\n|\n\r|\n|\r")

_KINDS: Final = {
    "name": Kind.NAME,
    "number": Kind.NUMBER,
    "string": Kind.STRING,
    "long": Kind.LONG_STRING,
    "operator": Kind.OPERATOR,
}


def count_lines(text: bytes) -> int:
    """Ends of lines in it, as Lua counts them: CR LF and LF CR are one."""
    if b"\n" not in text and b"\r" not in text:
        return 0
    return len(_NEWLINE.findall(text))


def _fault(source: bytes, at: int) -> str:
    """Why no token begins here."""
    rest = source[at : at + 60]
    if rest.startswith(b"--"):
        return "this comment does not end"
    if rest[:1] in (b'"', b"'"):
        return "this string does not end on its line; text over several lines is written [[like this]]"
    if rest.startswith(b"["):
        return "this long string does not end" if re.match(rb"\[=*\[", rest) else "'[=' begins nothing"
    return f"unexpected character {rest[:1].decode('latin-1')!r}"


def tokenize(source: bytes, script: str) -> list[Token]:
    """The tokens of a script, an END last.

    Args:
        source: The script.
        script: Its name, for errors.

    Raises:
        ScriptError: Something in it is no token, or does not end; the line is where it begins.
    """
    if source.startswith(b"\x1b"):
        raise ScriptError(
            "this is compiled code; only the text of a script is loaded", script=script, phase="load"
        )
    tokens: list[Token] = []
    header = _HEADER.match(source)
    start = 0
    at = 0 if header is None else header.end()
    line = 1
    while True:
        blanks = _GAP.match(source, at)
        at = at if blanks is None else blanks.end()
        gap = source[start:at]
        line += count_lines(gap)
        if at == len(source):
            tokens.append(Token(Kind.END, b"", gap, line))
            return tokens
        match = None if source.startswith(b"--", at) else _TOKEN.match(source, at)
        if match is None or match.lastgroup is None:
            raise ScriptError(_fault(source, at), script=script, line=line, phase="load")
        text = match.group()
        kind = _KINDS[_group(match)]
        if kind is Kind.NAME and text in KEYWORDS:
            kind = Kind.KEYWORD
        if kind is Kind.NUMBER and text[-1] in _FFI_SUFFIXES:
            number = text.decode("latin-1")
            raise ScriptError(f"malformed number near {number!r}", script=script, line=line, phase="load")
        tokens.append(Token(kind, text, gap, line))
        if kind in (Kind.STRING, Kind.LONG_STRING):
            line += count_lines(text)
        start = at = match.end()


def _group(match: re.Match[bytes]) -> str:
    """Which alternative matched; a long string's level is a group of its own."""
    return "long" if match.lastgroup == "level" else str(match.lastgroup)


def join(tokens: list[Token]) -> bytes:
    """The script again."""
    return b"".join(part for token in tokens for part in (token.gap, token.text))
