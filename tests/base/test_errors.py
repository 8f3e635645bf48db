"""What is told of errors that nobody foresaw."""

import pytest

from outrider.base.errors import where


def test_a_fault_is_told_by_kind_and_place_and_without_what_it_quotes() -> None:
    with pytest.raises(UnicodeDecodeError) as raised:
        b"a secret \xff".decode()
    assert "a secret" in repr(raised.value)
    told = where(raised.value)
    assert told["error"] == "UnicodeDecodeError"
    assert told["place"].startswith("test_a_fault_is_told_by_kind_and_place")
    assert "secret" not in repr(told)


def test_an_error_that_was_not_raised_has_no_place() -> None:
    assert where(KeyError("ann")) == {"error": "KeyError", "place": "unknown"}
