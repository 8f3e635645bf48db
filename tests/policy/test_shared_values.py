"""Values that scripts share: what one process set another one sees, whole or not at all."""

import os
import signal
from itertools import count
from pathlib import Path

import pytest

from outrider.base.errors import StoreError
from outrider.policy import shared_values
from outrider.policy.shared_values import VALUE_OCTETS_MAX, SharedValues, Value, begin_values


@pytest.fixture(params=["folder", "memory"])
def values(request: pytest.FixtureRequest, tmp_path: Path) -> SharedValues:
    if request.param == "memory":
        return SharedValues()
    begin_values(tmp_path / "values")
    return SharedValues(tmp_path / "values")


@pytest.mark.parametrize("value", [b"", b"text", b"\x00\xff" * 40, 7, -1.5, 2.0, True, False, None, 1 << 52])
def test_a_value_comes_back_as_it_was(values: SharedValues, value: Value) -> None:
    values.put(b"name", value)
    found = values.get(b"name")
    assert (found, type(found)) == (value, type(value))
    values.put(b"name", b"other")
    assert values.get(b"name") == b"other"
    values.drop(b"name")
    values.drop(b"name")
    assert values.get(b"name") is None


def test_names_are_told_apart_as_luas_keys(values: SharedValues) -> None:
    for name in (b"1", 1, True, b"true", b"../1", b"a/b", b""):
        values.put(name, name)
    assert [values.get(name) for name in (b"1", 1.0, True, b"true", b"../1", b"a/b", b"")] == [
        b"1",
        1,
        True,
        b"true",
        b"../1",
        b"a/b",
        b"",
    ]


def test_numbers_are_as_large_as_luas(values: SharedValues) -> None:
    large = int(1e308)
    values.put(large, -large)
    assert values.get(1e308) == -1e308
    values.drop(large)
    assert values.get(1e308) is None


def test_they_are_bounded(values: SharedValues, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="at most 65536 octets"):
        values.put(b"name", b"x" * VALUE_OCTETS_MAX)
    monkeypatch.setattr(shared_values, "VALUES_MAX", 10)
    monkeypatch.setattr(shared_values, "_IN_FOLDER_MAX", 1)

    def many() -> None:
        for number in range(300):
            values.put(number, b"x")

    with pytest.raises(ValueError, match="share at most"):
        many()
    values.put(0, b"y")  # what is there can change
    assert values.get(0) == b"y"


def test_a_start_begins_with_none_and_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "values"
    begin_values(folder)
    values = SharedValues(folder)
    values.put(b"a", b"old")
    [bucket] = folder.iterdir()
    (bucket / ".17-0").write_bytes(b"half")  # who died while he wrote
    begin_values(folder)
    assert values.get(b"a") is None
    assert list(bucket.iterdir()) == []
    values.put(b"a", b"new")
    assert [(each.stat().st_mode & 0o777) for each in (folder, bucket, *bucket.iterdir())] == [
        0o700,
        0o700,
        0o600,
    ]


def test_what_cannot_be_used_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="folder of shared values"):
        begin_values(tmp_path / "no-such" / "values")
    with pytest.raises(StoreError, match="cannot be written"):
        SharedValues(tmp_path / "no-such" / "values").put(b"a", b"x")


def test_a_writer_who_is_killed_leaves_no_part_of_a_value(tmp_path: Path) -> None:
    begin_values(tmp_path / "values")
    values = SharedValues(tmp_path / "values")
    for _ in range(5):
        ready, is_ready = os.pipe()
        pid = os.fork()
        if not pid:
            try:
                other = SharedValues(tmp_path / "values")
                for number in count():
                    other.put(b"name", b"%d" % (number % 10) * 50_000)
                    if not number:
                        os.write(is_ready, b".")
            finally:
                os._exit(1)
        os.close(is_ready)
        assert os.read(ready, 1) == b"."
        os.close(ready)
        seen = [values.get(b"name") for _ in range(200)]
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        seen.append(values.get(b"name"))
        assert all(isinstance(each, bytes) and len(each) == 50_000 and len(set(each)) == 1 for each in seen)
