"""Redis commands: words, placeholders in them, what may be sent, and replies as rows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.store.sources.failures import SourceQueryError
from outrider.store.sources.placeholders import arguments
from outrider.store.sources.redis_command import READING, WRITING, compile_command, rows_of_reply, words_of
from outrider.store.sources.rows import Parameters, Value


def sent(text: str, parameters: Parameters, *, writable: bool = False) -> list[bytes]:
    command = compile_command(text, by_name=isinstance(parameters, dict), writable=writable)
    return words_of(command, arguments(command.order, command.needed, parameters))


@pytest.mark.parametrize(
    ("text", "parameters", "words"),
    [
        ("get a", (), [b"GET", b"a"]),
        ("HGETALL customer:?", ("a b",), [b"HGETALL", b"customer:a b"]),
        ("HMGET ?:? binding note", ("x", 5), [b"HMGET", b"x:5", b"binding", b"note"]),
        ("GET 'a ? b'", (), [b"GET", b"a ? b"]),
        ('GET "it\'s ?"?', ("!",), [b"GET", b"it's ?!"]),
        ("GET ?", (b"\xff",), [b"GET", b"\xff"]),
        ("GET $a$b$", {"a": 1, "b": 2.5}, [b"GET", b"12.5$"]),
        ("GET what?", {"a": 1}, [b"GET", b"what?"]),
        ("GET ''", (), [b"GET", b""]),
        ("GET ?", ("",), [b"GET", b""]),
        ("GET ?", ("a\r\nDEL b",), [b"GET", b"a\r\nDEL b"]),
    ],
)
def test_words(text: str, parameters: Parameters, words: list[bytes]) -> None:
    assert sent(text, parameters) == words


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "begins with its name"),
        ("? a", "begins with its name"),
        ("GE? a", "begins with its name"),
        ("GET 'a", "quote at character 5"),
        ("DEL a", "'DEL' writes; set writable"),
        ("SUBSCRIBE a", "is none of those"),
        ("EVAL 'return 1' 0", "is none of those"),
        ("FLUSHALL", "is none of those"),
        ("CONFIG GET *", "is none of those"),
    ],
)
def test_what_is_not_sent(text: str, reason: str) -> None:
    with pytest.raises(SourceQueryError, match=reason):
        compile_command(text, by_name=False, writable=False)


@pytest.mark.parametrize(
    "name", ["MULTI", "WATCH", "SELECT", "BLPOP", "SHUTDOWN", "MONITOR", "EVAL", "KEYS", "SORT"]
)
def test_no_source_may_send_what_breaks_its_connection_or_its_server(name: str) -> None:
    assert name not in READING | WRITING
    with pytest.raises(SourceQueryError, match="is none of those"):
        compile_command(f"{name} a", by_name=False, writable=True)


def test_nil_is_no_word() -> None:
    with pytest.raises(SourceQueryError, match="no word for"):
        sent("GET ?", (None,))


@given(
    st.lists(
        st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.binary(), st.integers()), max_size=4
    )
)
def test_a_parameter_stays_in_its_word(parameters: list[Value]) -> None:
    parameters = [value for value in parameters if not isinstance(value, int) or abs(value) < 1 << 63]
    text = "MGET " + " ".join("key:?" for _ in parameters)
    words = sent(text, tuple(parameters))
    assert len(words) == 1 + len(parameters)
    assert all(word.startswith(b"key:") for word in words[1:])


@pytest.mark.parametrize(
    ("name", "words", "reply", "rows"),
    [
        ("GET", [], None, []),
        ("GET", [], b"x", [{"value": "x"}]),
        ("GET", [], b"\xff", [{"value": b"\xff"}]),
        ("EXISTS", [], 0, [{"value": 0}]),
        ("HGETALL", [], [], []),
        ("HGETALL", [], [b"a", b"1", b"b", b"2"], [{"a": "1", "b": "2"}]),
        ("HMGET", [b"HMGET", b"k", b"a", b"b"], [b"1", None], [{"a": "1", "b": None}]),
        ("HMGET", [b"HMGET", b"k", b"a", b"b"], [None, None], []),
        ("SMEMBERS", [], [b"a", b"b"], [{"value": "a"}, {"value": "b"}]),
        ("GEOPOS", [], [[b"1", b"2"], None], [{"value": '["1","2"]'}, {"value": None}]),
    ],
)
def test_replies(name: str, words: list[bytes], reply: object, rows: list[dict[str, Value]]) -> None:
    assert [dict(row) for row in rows_of_reply(name, words, reply)] == rows
