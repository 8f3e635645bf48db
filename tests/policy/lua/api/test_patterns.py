"""PCRE patterns: what is rewritten, what is refused, and what ends a pattern gone wild."""

import signal
from collections.abc import Iterator

import pytest

from outrider.policy.budget import CpuBudget, SpentError
from outrider.policy.errors import BudgetError, ScriptError
from outrider.policy.lua.api.patterns import (
    PatternError,
    bounded,
    compile_pattern,
    expand,
    matches_of,
    replace,
    split,
)
from tests.policy.lua.api.service_stage import Make


@pytest.mark.parametrize(
    ("pattern", "subject", "found"),
    [
        (rb"(?P<a>x)", b"-x", b"x"),
        (rb"(?<name>[a-z]+)@", b"1ann@", b"ann@"),
        (rb"(?'q'a)\k<q>\k{q}\k'q'", b"aaaa", b"aaaa"),
        (rb"(a)(b)\g1\g{2}\g{-1}", b"ababb", b"ababb"),
        (rb"(a)\g{1}0", b"aa0", b"aa0"),
        (rb"\Qa.b*\E+", b"a.b**", b"a.b**"),
        (rb"\Qa.b", b"a.b", b"a.b"),
        (rb"\h+\H", b"a \tb", b" \tb"),
        (rb"a\Rb", b"a\r\nb", b"a\r\nb"),
        (rb"\x{41}[\x{42}-\x{43}]", b"AC", b"AC"),
        (rb"[[:alpha:]_]+", b"1ab_2", b"ab_"),
        (rb"[[:digit:][:punct:]]+", b"a1!-b", b"1!-"),
        (rb"[]a]+", b"x]a]", b"]a]"),
        (rb"[^]]+", b"]ab]", b"ab"),
        (rb"[a&&b|~[]+", b"x&|~[", b"&|~["),
        (rb"^[\w-\.]+@[\w-]+$", b"a-b.c@d-e", b"a-b.c@d-e"),
        (rb"[a-\d]+", b"b-5a", b"-5a"),
        (rb"[\d-x]+", b"w-5x", b"-5x"),
        (rb"[\w-a-z]+", b"+-A", b"-A"),
        (rb"[a-[:digit:]]+", b"a-5", b"a-5"),
        (rb"[[:alpha:]-z]+", b"a-", b"a-"),
        (rb"[b-d-z]+", b"ac-z", b"c-z"),
        (rb"[]a-]+", b"a]-", b"a]-"),
        (rb"[^-a]", b"-ab", b"b"),
        (rb"[a\-z]+", b"b-", b"-"),
        (rb"[+--]+", b"*+,-.", b"+,-"),
        (rb"[--/]+", b",-./0", b"-./"),
        (rb"[\001-\037]+", b" \x05\x1f ", b"\x05\x1f"),
        (rb"[\x1-\x1f]+", b" \x01\x1f ", b"\x01\x1f"),
        (rb"\x4\xg", b"\x04\x00g", b"\x04\x00g"),
        (rb"\cA\c[[\ca]", b"\x01\x1b\x01", b"\x01\x1b\x01"),
        (rb"(?<=a|xb)c", b"bc xbc", b"c"),
        (rb"(?<=a|xb)c", b"bc", None),
        (rb"(?<!a|xb)c", b"ac xbc", None),
        (rb"(?<!a|xb)c", b"bc", b"c"),
        (rb"(?<=(?i)a|xb)c|d", b"XBc", b"c"),
        (rb"((?<=a|xb)c|d)+", b"xbcd", b"cd"),
        (rb"(?i)AbC", b"xabc", b"abc"),
        (rb"a(?i)b", b"aB", b"aB"),
        (rb"a(?i)b", b"AB", None),
        (rb"(a(?i)b|c)d", b"Cd", b"Cd"),
        (rb"(a(?i)b|c)d", b"CD", None),
        (rb"a(?i)b|c", b"C", b"C"),
        (rb"(?i:A)b", b"ab", b"ab"),
        (rb"(?s).+", b"a\nb", b"a\nb"),
        (rb"(?m)^b$", b"a\nb\nc", b"b"),
        (rb"b{,3}", b"bbb b{,3}", b"b{,3}"),
        (rb"[{,3}]+", b"b{,3}", b"{,3}"),
        (rb"a\v+\V", b"a\x0b\fb", b"a\x0b\fb"),
        (rb"a[\v]b", b"a\rb", b"a\rb"),
        (rb"(?x) a b # c ( [", b"ab", b"ab"),
        (b"(?x)a # (\nb", b"ab", b"ab"),
        (rb"a(?x) b c", b"abc", b"abc"),
        (rb"(?i-s).", b"\n", None),
        (rb"a(?#comment)b", b"ab", b"ab"),
        (rb"(?>a+)b", b"aab", b"aab"),
        (rb"(?>a+)ab", b"aab", None),
        (rb"a++b", b"aab", b"aab"),
        (rb"(?=a)a(?!b)(?<=a)(?<!b).", b"ab ac", b"ac"),
        (rb"a\z", b"a\n", None),
        (rb"a\Z", b"a\n", b"a"),
        (rb"a$", b"a\n", b"a"),
        (rb"\Aa", b"ba", None),
        (rb"\e\.\@\-", b"\x1b.@-", b"\x1b.@-"),
        (rb"\i", b"i", b"i"),
        (rb"\bword\b", b"a word.", b"word"),
        (rb"[\b]", b"\x08", b"\x08"),
        (rb"\w+\d\s", b"ab1 ", b"ab1 "),
        (b"\xc3\xa4+", b"x\xc3\xa4", b"\xc3\xa4"),
        (rb"(?P=x)|(?P<x>a)", b"a", b"a"),
        (rb"", b"abc", b""),
    ],
)
def test_patterns_mean_what_they_do_in_pcre(pattern: bytes, subject: bytes, found: bytes | None) -> None:
    if b"(?P=x)|" in pattern:  # a group before its definition is an error of re
        with pytest.raises(PatternError):
            compile_pattern(pattern)
        return
    match = compile_pattern(pattern).search(subject)
    assert (None if match is None else match[0]) == found


@pytest.mark.parametrize(
    ("pattern", "subject", "new"),
    [
        (rb"(?m)^", b"a\nb\n", b"> a\n> b\n"),
        (rb"(?m)^", b"a\nb", b"> a\n> b"),
        (rb"(?m)^", b"", b"> "),
        (rb"(?m)^", b"\n", b"> \n"),
        (rb"^", b"a\nb\n", b"> a\nb\n"),
        (rb"(?m:^)", b"a\n", b"> a\n"),
        (rb"((?m)^)", b"a\n", b"> a\n"),
        (rb"(?:(?m)x)|^", b"a\nb\n", b"> a\nb\n"),
        (rb"(?m)(?-m:^)", b"a\nb\n", b"> a\nb\n"),
        (rb"(?m)[^a]", b"ab", b"a> "),
        (rb"(?m)\^", b"a^", b"a> "),
    ],
)
def test_a_line_begins_where_one_is(pattern: bytes, subject: bytes, new: bytes) -> None:
    """pcrepattern(3): not behind the line feed that ends the subject."""
    assert replace(compile_pattern(pattern), subject, b"> ")[0] == new


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (rb"(a", "unterminated"),
        (rb"a)", "unbalanced"),
        (rb"[a", "missing terminating"),
        (rb"[a-", "missing terminating"),
        (b"[a\\", "missing terminating"),
        (rb"[^]", "missing terminating"),
        (rb"[z-a]", "bad character range"),
        (rb"[|--]", "bad character range"),
        (rb"[\777]", "octets"),
        (rb"a\Kb", "not supported"),
        (rb"\Ga", "not supported"),
        (rb"\p{L}", "not supported"),
        (rb"\X", "not supported"),
        (rb"(?R)", "not supported"),
        (rb"(?1)", "not supported"),
        (rb"(?&name)", "not supported"),
        (rb"(?|a|b)", "not supported"),
        (rb"(*FAIL)", "verbs"),
        (rb"(?U)a", "flags"),
        (rb"(?#a", "missing \\)"),
        (rb"\x{100}", "octets"),
        (rb"[[:^alpha:]]", "POSIX"),
        (rb"a**", "multiple repeat"),
        (b"\\", "at end of pattern"),
        (b"a" * 20_000, "at most"),
        (rb"a(?x)b # c", "at the start"),
    ],
)
def test_what_is_none_or_not_known_is_refused(pattern: bytes, reason: str) -> None:
    with pytest.raises(PatternError, match=reason):
        compile_pattern(pattern)


def test_matches_replacements_and_splits() -> None:
    found = compile_pattern(rb"(?<user>\w+)@(\w+)(x)?").search(b"to ann@one")
    assert found is not None
    assert matches_of(found) == {0: b"ann@one", 1: b"ann", 2: b"one", 3: b"", b"user": b"ann"}
    assert expand(found, rb"$2 ${1} ${user} $user $$ $& $9 $none") == b"one ann ann ann $ ann@one  $none"
    assert replace(compile_pattern(b"b"), b"abab", rb"\1") == (rb"a\1a\1", 2)
    assert split(compile_pattern(rb",\s*"), b"a, b,c,") == [b"a", b"b", b"c", b""]
    assert split(compile_pattern(rb"x*"), b"ab") == [b"ab"]


async def test_scripts_match_replace_and_split(stage: Make) -> None:
    made = stage(
        "local p = msys.pcre local m = p.match('id: 42;', '(?P<name>\\\\w+): (\\\\d+)')"
        " local none, e, n = p.match('x', '(')"
        " return {m[0], m[1], m[2], m.name, p.match('a', 'b') == nil and 'none', none == nil and #e > 0, n,"
        " p.replace('a.b.c', '\\\\.', '/'), p.replace('x', 'y', 'z'), table.concat(p.split('a1b2c',"
        " '[0-9]'), '|')}"
    )
    assert await made.call() == [
        b"id: 42",
        b"id",
        b"42",
        b"id",
        b"none",
        True,
        1,
        b"a/b/c",
        b"x",
        b"a|b|c",
    ]


@pytest.mark.parametrize("call", ["replace('x', '(', 'y')", "split('x', '(')"])
async def test_a_bad_pattern_raises_where_no_error_is_returned(stage: Make, call: str) -> None:
    with pytest.raises(ScriptError, match="unterminated"):
        await stage(f"msys.pcre.{call}").call()


@pytest.fixture
def budget() -> Iterator[CpuBudget]:
    """Fifty milliseconds of the processor, kept by the real clock of processor time."""
    made = CpuBudget(0.05)
    before = signal.getsignal(signal.SIGPROF)
    made.start()
    yield made
    made.stop()
    signal.signal(signal.SIGPROF, before)


WILD = [
    ("(a+)+$", "('a'):rep(64) .. 'b'"),
    ("(?:a|a)*$", "('a'):rep(64) .. 'b'"),
    ("\\\\s+$", "(' '):rep(200000) .. 'x'"),
]


@pytest.mark.parametrize(("pattern", "subject"), WILD)
async def test_a_pattern_gone_wild_ends_the_hook_and_cannot_be_caught(
    stage: Make, budget: CpuBudget, pattern: str, subject: str
) -> None:
    made = stage(
        f"local s = {subject} local ok = pcall(msys.pcre.match, s, '{pattern}')"
        f" pcall(msys.pcre.replace, s, '{pattern}', '') return 'went on'",
        budget=budget,
    )
    with pytest.raises((BudgetError, SpentError)):
        await made.call()
    assert not budget.is_running


async def test_so_does_a_text_that_takes_too_long(stage: Make, budget: CpuBudget) -> None:
    made = stage("json.decode('[' .. ('1,'):rep(1500000) .. '1]') return 'went on'", budget=budget)
    with pytest.raises((BudgetError, SpentError)):
        await made.call()
    assert not budget.is_running


def test_time_is_up_only_while_a_pattern_runs(budget: CpuBudget) -> None:
    assert bounded(budget, lambda: compile_pattern(b"a").search(b"a")) is not None
    assert not budget.is_running
    sum(range(3_000_000))  # more than the budget, and nobody minds
