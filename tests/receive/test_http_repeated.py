"""Names that stand twice in an object of a JSON text, against a parser that shows every member."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.receive import http_repeated
from outrider.receive.http_repeated import repeated
from outrider.receive.problems import pointer_of

Members = list[tuple[str, Any]]
NAMES = st.sampled_from(["a", "b", "\\", '"', '":', "é", "\ud800", ""]) | st.text(max_size=3)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers() | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(NAMES, inner), max_size=4).map(tuple),
    max_leaves=12,
)
"""A tuple stands for an object, so that names may come again."""


def written(value: Any, *, escaped: bool, space: str) -> str:
    if isinstance(value, tuple):
        members = [
            f"{written(name, escaped=escaped or not at, space=space)}{space}:{space}"
            f"{written(inner, escaped=escaped, space=space)}"
            for at, (name, inner) in enumerate(value)
        ]
        return "{" + f"{space},".join(members) + space + "}"
    if isinstance(value, list):
        return "[" + ",".join(written(inner, escaped=escaped, space=space) for inner in value) + "]"
    return json.dumps(value, ensure_ascii=escaped or (isinstance(value, str) and "\ud800" in value))


def expected(value: Any, place: tuple[str | int, ...] = ()) -> list[str]:
    """In the order of the text: what stands again, before what is in it."""
    found: list[str] = []
    if isinstance(value, tuple):
        seen: list[str] = []
        for name, inner in value:
            here = (*place, name.encode("utf-8", "surrogatepass").decode("utf-8", "replace"))
            found += [pointer_of(*here)] * (seen.count(name) == 1) + expected(inner, here)
            seen.append(name)
    if isinstance(value, list):
        for number, inner in enumerate(value):
            found += expected(inner, (*place, number))
    return found


@given(value=VALUES, escaped=st.booleans(), space=st.sampled_from(["", " ", "\r\n\t"]), long=st.booleans())
def test_a_name_is_told_of_if_and_only_if_it_comes_again_in_its_object(
    *, value: Any, escaped: bool, space: str, long: bool
) -> None:
    try:
        body = written(value, escaped=escaped, space=space).encode()
    except UnicodeEncodeError:
        return  # a half of a pair that met another in a text that is not escaped
    with pytest.MonkeyPatch.context() as patch:
        if long:
            patch.setattr(http_repeated, "LONG_OCTETS", 0)
        assert repeated(body, 100) == expected(value)
        assert repeated(bytearray(body), 1) == expected(value)[:1]
