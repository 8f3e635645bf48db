"""Notes of hooks: texts under names, within bounds; what is secret is never written."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.policy.connection import (
    NAME_CHARACTERS,
    NOTES_CHARACTERS,
    NOTES_MAX,
    Connection,
    Context,
)
from tests.policy.acting import SMTP


def test_values_are_kept_as_their_texts() -> None:
    context = Context()
    context["number"] = 5
    context["nothing"] = None
    context["text"] = "Größe"
    assert dict(context) == {"number": "5", "nothing": "None", "text": "Größe"}


@pytest.mark.parametrize("name", [5, None, b"name", ("a",)])
def test_a_name_is_a_text(name: object) -> None:
    context = Context()
    with pytest.raises(TypeError, match="name of a note is a text"):
        context[name] = "x"  # type: ignore[index]
    assert len(context) == 0


@pytest.mark.parametrize(
    ("name", "text"),
    [("", "x"), ("n" * (NAME_CHARACTERS + 1), "x"), ("n", "half \ud800"), ("\udfff", "x")],
)
def test_what_cannot_be_written_is_refused(name: str, text: str) -> None:
    context = Context()
    with pytest.raises(ValueError, match="note"):
        context[name] = text
    assert context.public() == {}
    context["n"] = "x" * (NOTES_CHARACTERS - 1)  # and counts for nothing


def test_there_are_so_many_notes_at_most() -> None:
    context = Context()
    for number in range(NOTES_MAX):
        context[f"n{number}"] = "x"
    with pytest.raises(ValueError, match="1000 notes already"):
        context["one more"] = "x"
    context["n0"] = "y"
    del context["n1"]
    context["one more"] = "x"


def test_all_notes_together_are_bounded() -> None:
    context = Context()
    context["a"] = "x" * (NOTES_CHARACTERS // 2)
    with pytest.raises(ValueError, match="together"):
        context["b"] = "x" * (NOTES_CHARACTERS // 2)
    context["a"] = "short"
    context["b"] = "x" * (NOTES_CHARACTERS // 2)
    del context["b"]
    context["c"] = "x" * (NOTES_CHARACTERS - 10)


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.text(max_size=70_000 // 4) | st.none()), max_size=12).map(
        lambda steps: [(name, text * 4 if text else text) for name, text in steps]
    )
)
def test_the_bound_is_counted_whatever_is_set_and_deleted(steps: list[tuple[str, str | None]]) -> None:
    context = Context()
    for name, text in steps:
        if text is None:
            context.pop(name, None)
            continue
        try:
            context[name] = text
        except ValueError:
            assert sum(len(key) + len(value) for key, value in context.items()) <= NOTES_CHARACTERS
    assert context._characters == sum(len(key) + len(value) for key, value in context.items())
    msgspec.msgpack.encode(tuple(context.public().items()))


def test_a_secret_stays_one() -> None:
    context = Context()
    context.keep_secret("token")
    context["token"] = "hush-1"
    context["plain"] = "x"
    copy = context.copy()
    del copy["token"]
    copy["token"] = "hush-2"
    for each in (context, copy):
        assert each.public() == {"plain": "x"}
        assert "hush" not in repr(each)
        assert each.is_secret("token")
    assert context["token"] == "hush-1"
    context.clear()
    context["token"] = "x"
    assert context.public() == {"token": "x"}


def test_a_name_that_begins_as_one_is_a_secret_whoever_notes_it() -> None:
    context = Context()
    context["secret_token"] = "hush"
    context["secretary"] = "Ann"
    assert context.is_secret("secret_token")
    assert context.public() == {"secretary": "Ann"}
    assert context.copy().public() == {"secretary": "Ann"}
    assert context.without_secrets("KeyError: 'hush' of Ann") == "KeyError: '(secret)' of Ann"


def test_secrets_are_bounded_too() -> None:
    context = Context()
    for number in range(NOTES_MAX):
        context.keep_secret(str(number))
    context.keep_secret("5")
    with pytest.raises(ValueError, match="secret already"):
        context.keep_secret("one more")


def test_secrets_are_taken_out_of_texts() -> None:
    context = Context()
    context.keep_secret("token")
    context.keep_secret("absent")
    context["token"] = "hush"
    context["plain"] = "open"
    assert context.without_secrets("KeyError: 'hush' of open") == "KeyError: '(secret)' of open"


def test_a_copy_goes_on_by_itself() -> None:
    context = Context()
    context["a"] = "1"
    copy = context.copy()
    copy["b"] = "2"
    context["c"] = "3"
    assert (dict(context), dict(copy)) == ({"a": "1", "c": "3"}, {"a": "1", "b": "2"})


def test_nobody_puts_other_notes_or_another_client_in_the_place() -> None:
    connection = Connection(SMTP)
    for name in ("context", "message", "origin", "client"):
        with pytest.raises(AttributeError):
            setattr(connection, name, {})


def test_a_secret_that_holds_another_one_is_taken_out_whole() -> None:
    context = Context()
    for name, text in (("a", "hush"), ("b", "hush hush, not a word"), ("c", "hus"), ("d", "hush hush")):
        context.keep_secret(name)
        context[name] = text
    assert context.without_secrets("KeyError: 'hush hush, not a word'") == "KeyError: '(secret)'"
