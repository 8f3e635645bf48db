"""Placeholders are found where they are, and nowhere else."""

import sqlite3
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.store.sources.failures import SourceQueryError
from outrider.store.sources.placeholders import TEXT_MAX, Compiled, Dialect, arguments, compile_query

LITE, POSTGRES, MY = Dialect.SQLITE, Dialect.POSTGRESQL, Dialect.MYSQL


@pytest.mark.parametrize(
    ("dialect", "text", "expected", "count"),
    [
        (POSTGRES, "a = ? AND b = ?", "a = $1 AND b = $2", 2),
        (POSTGRES, "'?' || \"?\" || ?", "'?' || \"?\" || $1", 1),
        (POSTGRES, "'it''s ?' = ?", "'it''s ?' = $1", 1),
        (POSTGRES, r"'\' = ?", r"'\' = $1", 1),  # no escape in a standard string
        (POSTGRES, r"E'\'?' = ?", r"E'\'?' = $1", 1),
        (POSTGRES, r"some' ? ' = ?", r"some' ? ' = $1", 1),
        (POSTGRES, "-- ?\n?", "-- ?\n$1", 1),
        (POSTGRES, "/* ? /* ? */ ? */ ?", "/* ? /* ? */ ? */ $1", 1),
        (POSTGRES, "$$ ? $$ ?", "$$ ? $$ $1", 1),
        (POSTGRES, "$a$ ? $b$ ? $a$ ?", "$a$ ? $b$ ? $a$ $1", 1),
        (POSTGRES, "a ?? b AND c ??| d AND e = ?", "a ? b AND c ?| d AND e = $1", 1),
        (POSTGRES, "a ? b AND c = $1", "a ? b AND c = $1", 1),
        (POSTGRES, "a[1:2]::text = ?", "a[1:2]::text = $1", 1),
        (POSTGRES, "a$1 = ?", "a$1 = $1", 1),  # the name of a column
        (POSTGRES, "$2 = $1", "$2 = $1", 2),
        (MY, "a = ?", "a = ?", 1),
        (MY, r"'\'?' = ?", r"'\'?' = ?", 1),
        (MY, r'"\"?" = ?', r'"\"?" = ?', 1),
        (MY, "`?` = ?", "`?` = ?", 1),
        (MY, "# ?\n?", "# ?\n?", 1),
        (MY, "5--? -- ?\n", "5--? -- ?\n", 1),
        (MY, "/* ? */ /*! ? */ ?", "/* ? */ /*! ? */ ?", 2),
        (MY, "a = %s AND b LIKE 'x%%' AND c = 5 %% 2", "a = ? AND b LIKE 'x%%' AND c = 5 % 2", 1),
        (MY, "a %size = ?", "a %size = ?", 1),
        (LITE, "[?] = ?", "[?] = ?", 1),
        (LITE, "a = ?2 AND b = ?1 AND c = ?2", "a = ? AND b = ? AND c = ?", 2),
        (LITE, "'\\' = ?", "'\\' = ?", 1),
        (LITE, "/* ? /* */ ?", "/* ? /* */ ?", 1),
    ],
)
def test_by_position(dialect: Dialect, text: str, expected: str, count: int) -> None:
    compiled = compile_query(text, dialect, by_name=False)
    assert compiled.text == expected
    assert compiled.needed == count


@pytest.mark.parametrize(
    ("dialect", "text", "expected", "order"),
    [
        (POSTGRES, "a = :x AND b = $y AND c = :x", "a = $1 AND b = $2 AND c = $1", ("x", "y")),
        (POSTGRES, "a::text = :x AND ':y' = $z$ :y $z$", "a::text = $1 AND ':y' = $z$ :y $z$", ("x",)),
        (POSTGRES, "a ? b AND c = :x", "a ? b AND c = $1", ("x",)),
        (MY, "a = :x AND b = %(y)s AND c = :x", "a = ? AND b = ? AND c = ?", ("x", "y", "x")),
        (MY, "@a := 1 AND `:x` = $x", "@a := 1 AND `:x` = ?", ("x",)),
        (LITE, "a = :x AND b = @y AND c = $x", "a = ? AND b = ? AND c = ?", ("x", "y", "x")),
    ],
)
def test_by_name(dialect: Dialect, text: str, expected: str, order: tuple[str, ...]) -> None:
    assert compile_query(text, dialect, by_name=True) == Compiled(expected, order, 0)


@pytest.mark.parametrize(
    ("dialect", "text", "by_name", "reason"),
    [
        (POSTGRES, "a = 'x", False, "quote at character 5"),
        (POSTGRES, 'a = "x', False, "quote at character 5"),
        (MY, "a = `x", False, "quote at character 5"),
        (MY, r"a = 'x\'", False, "quote at character 5"),
        (POSTGRES, "a /* b /* c */", False, "comment at character 3"),
        (LITE, "a /* b", False, "comment at character 3"),
        (LITE, "? = ?1", False, "mixes"),
        (MY, "? = %s", False, "mixes"),
        (LITE, "a = ?", True, "by name"),
        (MY, "a = ?", True, "by name"),
        (POSTGRES, "$0", False, "count from 1"),
        (LITE, "?999999", False, "numbers its placeholders wrongly"),
        (LITE, "x" * (TEXT_MAX + 1), False, "longer than"),
    ],
)
def test_what_is_wrong_is_said(dialect: Dialect, text: str, by_name: bool, reason: str) -> None:
    with pytest.raises(SourceQueryError, match=reason):
        compile_query(text, dialect, by_name=by_name)


def test_arguments_follow_their_placeholders() -> None:
    compiled = compile_query("?2 ?1 ?2", LITE, by_name=False)
    assert arguments(compiled.order, compiled.needed, ("a", "b")) == ("b", "a", "b")
    named = compile_query(":x :y", LITE, by_name=True)
    assert arguments(named.order, named.needed, {"y": 1.0, "z": 3}) == (None, 1)


PIECES = st.sampled_from(
    [
        "?",
        "'",
        '"',
        "`",
        "[",
        "]",
        "--",
        "#",
        "/*",
        "*/",
        "\\",
        "$",
        "$$",
        "$a$",
        ":",
        "%",
        "E",
        "\n",
        " ",
        "a",
        "1",
    ]
)


@given(st.lists(PIECES, max_size=30).map("".join), st.sampled_from(Dialect), st.booleans())
def test_any_text_is_compiled_or_refused(text: str, dialect: Dialect, by_name: bool) -> None:
    try:
        compiled = compile_query(text, dialect, by_name=by_name)
    except SourceQueryError:
        return
    assert len(compiled.order) >= compiled.needed or not compiled.order


@given(
    st.lists(
        st.sampled_from(["?", "'a?'", '"b?"', "`c?`", "[d?]", "-- ?\n", "/* ? */", "'it''s?'", " "]),
        max_size=20,
    )
)
def test_sqlite_counts_the_same(pieces: list[str]) -> None:
    """SQLite itself says how many placeholders a text has."""
    text = "SELECT 1 WHERE 1 IN (" + ", ".join(piece for piece in pieces if piece.strip()) + "\n)"
    needed = compile_query(text, LITE, by_name=False).needed
    database = sqlite3.connect(":memory:")
    try:
        database.execute(text, ("x",) * needed)
    except sqlite3.OperationalError as error:
        assert "syntax" in str(error) or "no such column" in str(error)  # noqa: PT017 - both are about the rest
    finally:
        database.close()


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize("piece", ["'", "/*", "$$", "$a", "''", "?", "[", "--", "E'\\"])
def test_a_long_text_takes_no_longer_than_it_is_long(dialect: Dialect, piece: str) -> None:
    """A pattern that went back and forth would not end within the test's time."""
    text = piece * (TEXT_MAX // len(piece))
    try:
        compile_query(text, dialect, by_name=False)
    except SourceQueryError:
        return
    assert set(text) <= set(string.printable)
