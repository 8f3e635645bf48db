"""Functions of Lua 5.1 that find their extra arguments in a table `arg`, as those of Lua 5.0 did.

In: the tokens of a script. Out: where such a table is to be made, which LuaJIT does not do.

Theory: a function that takes `...` and does not use it has a local `arg`, with the number of values in
`arg.n`. Here it is made where the function, or one within it that takes none itself, mentions the name.

Standards: Lua 5.1 reference manual, section 7.1 (changes in the language); LUA_COMPAT_VARARG of luaconf.h.
"""

from dataclasses import dataclass
from typing import Final

from outrider.policy.lua.tokens import Kind, Token

MAKES_ARG: Final = b"local arg=__dialect_arg(...);"

_BLOCKS: Final = frozenset((b"do", b"if", b"repeat"))
_FIELD_SIGNS: Final = frozenset((b".", b":"))


@dataclass(slots=True)
class _Function:
    """One that is open: where its body begins, whether it takes `...`, and what is in it."""

    body: int
    takes_more: bool
    names_arg: bool = False
    uses_dots: bool = False


def bodies_with_arg(tokens: list[Token]) -> list[int]:
    """Numbers of the tokens that begin the bodies of functions in which `arg` is such a table."""
    if not any(token.text == b"arg" for token in tokens):
        return []
    found: list[int] = []
    open_blocks: list[_Function | None] = []
    at = 0
    while at < len(tokens):
        token = tokens[at]
        text = token.text
        if token.kind is Kind.KEYWORD and text == b"function":
            end = at
            while end < len(tokens) - 1 and tokens[end].text != b")":
                end += 1
            takes_more = any(each.text == b"..." for each in tokens[at:end])
            open_blocks.append(_Function(end + 1, takes_more))
            at = end
        elif token.kind is Kind.KEYWORD and text in _BLOCKS:
            open_blocks.append(None)
        elif token.kind is Kind.KEYWORD and text in (b"end", b"until") and open_blocks:
            closed = open_blocks.pop()
            if closed is not None and closed.takes_more and closed.names_arg and not closed.uses_dots:
                found.append(closed.body)
        else:
            _mention(token, tokens[at - 1].text, open_blocks)
        at += 1
    return found


def _mention(token: Token, before: bytes, open_blocks: list[_Function | None]) -> None:
    """A token of a body: `...` is the innermost function's, `arg` that of the next one that takes more."""
    if token.kind is Kind.OPERATOR and token.text == b"...":
        for each in reversed(open_blocks):
            if each is not None:
                each.uses_dots = True
                return
    if token.kind is Kind.NAME and token.text == b"arg" and before not in _FIELD_SIGNS:
        for each in reversed(open_blocks):
            if each is not None and each.takes_more:
                each.names_arg = True
                return
