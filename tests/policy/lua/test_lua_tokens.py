"""Tokens of Lua."""

from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.policy.errors import ScriptError
from outrider.policy.lua.tokens import Kind, count_lines, join, tokenize


def kinds(text: str) -> list[tuple[str, str]]:
    return [(token.kind.value, token.text.decode()) for token in tokenize(text.encode(), "s.lua")[:-1]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.b", ["a", ".", "b"]),
        ("a..b", ["a", "..", "b"]),
        ("1..2", ["1..2"]),
        ("...", ["..."]),
        ("0xep+1", ["0xep+1"]),
        ("0xe+1", ["0xe", "+", "1"]),
        ("3e-2", ["3e-2"]),
        (".5", [".5"]),
        ("a<<b>=c", ["a", "<<", "b", ">=", "c"]),
        ("a^^b^c", ["a", "^^", "b", "^", "c"]),
        ("a~=b!=~c", ["a", "~=", "b", "!=", "~", "c"]),
        ("a\\b", ["a", "\\", "b"]),
        ("a[b]", ["a", "[", "b", "]"]),
        ("[[a]]", ["[[a]]"]),
        ("[==[a]]]=]]==]", ["[==[a]]]=]]==]"]),
        ("--[==[ a\n]] ]==]b", ["b"]),
        ("--[=x\nb", ["b"]),
        ("-- | != \\\nb", ["b"]),
        ("'a\\'b'", ["'a\\'b'"]),
        ("'a\\\nb'", ["'a\\\nb'"]),
        ("'[[' .. ']]'", ["'[['", "..", "']]'"]),
        ("#!/usr/bin/lua\nb", ["b"]),
        ("\ufeffb", ["b"]),
        ("äöü = 1", ["äöü", "=", "1"]),
        ("::x::", ["::", "x", "::"]),
    ],
)
def test_tokens(text: str, expected: list[str]) -> None:
    assert [token for _, token in kinds(text)] == expected


def test_kinds() -> None:
    assert kinds("local x = 'a' .. [[b]] + 1") == [
        ("keyword", "local"),
        ("name", "x"),
        ("operator", "="),
        ("string", "'a'"),
        ("operator", ".."),
        ("long string", "[[b]]"),
        ("operator", "+"),
        ("number", "1"),
    ]


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("a\nb = 'x\n'", 2, "string does not end"),
        ('a = "', 1, "string does not end"),
        ("\n\na = [==[ ]=] ", 3, "long string does not end"),
        ("\r\n--[[ a", 2, "comment does not end"),
        ("\n\ra = [=", 2, "begins nothing"),
        ("a @ b", 1, "unexpected character '@'"),
        ("a ! b", 1, "unexpected character '!'"),
        ("\x1bLJ", 0, "compiled"),
    ],
)
def test_what_is_no_token_is_refused_with_its_line(text: str, line: int, reason: str) -> None:
    with pytest.raises(ScriptError, match=reason) as caught:
        tokenize(text.encode(), "s.lua")
    assert (caught.value.script, caught.value.line, caught.value.phase) == ("s.lua", line, "load")


PIECES = st.sampled_from(
    [
        "a",
        "1",
        "0x1F",
        "'s'",
        '"\\""',
        "[[l\n]]",
        "--c\n",
        "--[[c\n]]",
        " ",
        "\n",
        "\r\n",
        "\r",
        "--[==[",
        "é",
    ]
) | st.sampled_from(
    ["+", "!=", "~", "|", "<<", "[", "]", "..", "...", ".", "'", "\\", "=", "@", "#", "^^", "[="]
)


@given(st.lists(PIECES, max_size=40).map("".join))
def test_joined_tokens_are_the_script(text: str) -> None:
    source = text.encode()
    try:
        tokens = tokenize(source, "s.lua")
    except ScriptError:
        return
    assert join(tokens) == source
    assert tokens[-1].kind is Kind.END
    assert tokens[-1].line == 1 + count_lines(source)


@given(st.binary(max_size=200))
def test_any_octets_are_tokens_or_refused(source: bytes) -> None:
    try:
        tokens = tokenize(source, "s.lua")
    except ScriptError:
        return
    assert join(tokens) == source


@pytest.mark.parametrize(
    ("piece", "reason"),
    [
        (b"[=", "long string does not end"),
        (b"--[[", "comment does not end"),
        (b"--[=", None),
        (b"'", None),
        (b'"\\', "string does not end"),
        (b"[[", "long string does not end"),
        (b"(", None),
        (b"a|", None),
        (b"0x", None),
        (b"\r\n", None),
        (b"--[==\n", None),
        (b"[[]]", None),
    ],
)
def test_a_long_script_is_read_once(piece: bytes, reason: str | None) -> None:
    """A reader that looked back would need hours for this."""
    with pytest.raises(ScriptError, match=reason) if reason else nullcontext():
        tokenize(piece * 60_000, "s.lua")
