"""A message's life is read back from all files, closed and open, of all logs."""

import os
from pathlib import Path
from typing import Any

from outrider.base.clock import FakeClock
from outrider.base.ids import IdSource, created_time
from outrider.model.address import Address
from outrider.model.changes import ContentRef
from outrider.record.derive import events_of
from outrider.record.events import encode_lines
from outrider.record.redact import Redactor
from outrider.record.trace import ends_of, life_of, select, states_of, tail

ALICE = Address("alice", "example.com")
BOB = Address("bob", "example.org")
OTHER = "01k9q4m2x7f3a8w0z2"


def write(directory: Path, name: str, log: int, *changes: Any, offset: int = 64) -> None:
    lines = encode_lines(events_of(ContentRef(log, 1, offset, 10), changes, Redactor()))
    with (directory / name).open("ab") as file:
        file.write(lines)


def test_a_life_comes_from_all_files_in_order(tmp_path: Path, make: Any) -> None:
    write(
        tmp_path,
        "1-1.jsonl",
        1,
        make.stored(ALICE, BOB),
        make.stored(ALICE, message_id=OTHER, first_entry=90),
    )
    write(tmp_path, "1.jsonl", 1, make.altered(entry=8, held="audit"), make.altered(entry=90), offset=164)
    write(
        tmp_path,
        "2.jsonl",
        2,
        make.finished(ALICE, entry=7),
        make.finished(ALICE, entry=90, message_id=OTHER),
    )
    (tmp_path / "3.jsonl").write_bytes(b"not an event 01k9q4m2x7f3a8w0z1\n")
    life = life_of(tmp_path, "01k9q4m2x7f3a8w0z1")
    assert [(event["type"], event["entry"]) for event in life] == [
        ("reception", 7),
        ("reception", 8),
        ("delivery", 7),
        ("hold", 8),
    ]
    states = states_of(life)
    assert [(state["entry"], state["state"], state["recipient"]) for state in states] == [
        (7, "delivered", "*@example.com"),
        (8, "held", "*@example.org"),
    ]


def test_the_state_carries_the_last_reply(tmp_path: Path, make: Any) -> None:
    write(tmp_path, "1.jsonl", 1, make.stored(ALICE), make.retried(ALICE), make.altered(held="audit"))
    (state,) = states_of(life_of(tmp_path, "01k9q4m2x7f3a8w0z1"))
    assert (state["state"], state["reply"], state["tenant"]) == ("held", "451 4.7.1 Try later", "acme")
    assert state["updated_time"] == "2026-09-21T14:13:25.250000Z"


def test_files_older_than_the_message_are_not_read(tmp_path: Path, make: Any) -> None:
    message_id = IdSource(FakeClock(), 5).next()
    write(tmp_path, "1.jsonl", 1, make.stored(ALICE, message_id=message_id))
    assert created_time(message_id) == FakeClock().time
    os.utime(tmp_path / "1.jsonl", (FakeClock().time - 80_000,) * 2)
    assert len(life_of(tmp_path, message_id)) == 1
    os.utime(tmp_path / "1.jsonl", (FakeClock().time - 90_000,) * 2)
    assert life_of(tmp_path, message_id) == []


def test_a_later_look_reads_what_was_written_since_whatever_the_name_now(tmp_path: Path, make: Any) -> None:
    seen, later = "01k9q4m2x7f3a8w0z1", OTHER
    write(tmp_path, "1.jsonl", 1, make.stored(ALICE))
    with (tmp_path / "1.jsonl").open("ab") as file:
        file.write(b" " * (2 << 20) + b"\n")
    torn = encode_lines(events_of(ContentRef(1, 1, 9, 10), (make.stored(BOB, message_id=later),), Redactor()))
    with (tmp_path / "1.jsonl").open("ab") as file:
        file.write(torn[:20])
    ends = ends_of(tmp_path)
    with (tmp_path / "1.jsonl").open("ab") as file:
        file.write(torn[20:])
    (tmp_path / "1.jsonl").rename(tmp_path / "1-1.jsonl")
    write(tmp_path, "1.jsonl", 1, make.finished(BOB, message_id=later), offset=164)
    kinds = [event["type"] for event in life_of(tmp_path, later, ends)]
    assert kinds == ["reception", "delivery"], "of the line that was not whole, and of the next file"
    assert life_of(tmp_path, seen)
    assert life_of(tmp_path, seen, ends) == [], "it was there before"
    assert life_of(tmp_path, later, ends_of(tmp_path)) == []


def test_a_release_makes_it_queued_again(tmp_path: Path, make: Any) -> None:
    write(tmp_path, "1.jsonl", 1, make.stored(ALICE), make.altered(held="audit"), make.altered())
    assert [state["state"] for state in states_of(life_of(str(tmp_path), "01k9q4m2x7f3a8w0z1"))] == ["queued"]


def test_a_line_that_is_being_written_does_not_count(tmp_path: Path, make: Any) -> None:
    write(tmp_path, "1.jsonl", 1, make.stored(ALICE))
    whole = (tmp_path / "1.jsonl").read_bytes()
    (tmp_path / "1.jsonl").write_bytes(whole + whole[:-1])
    assert len(life_of(tmp_path, "01k9q4m2x7f3a8w0z1")) == 1


def test_nothing_is_known_where_nothing_was_written(tmp_path: Path) -> None:
    assert life_of(tmp_path / "events", "01k9q4m2x7f3a8w0z1") == []
    assert tail(tmp_path / "events", 3) == []


def test_tail_gives_the_newest_of_all_logs(tmp_path: Path, make: Any) -> None:
    write(tmp_path, "1.jsonl", 1, *[make.stored(ALICE)] * 5)
    write(tmp_path, "2.jsonl", 2, *[make.finished(ALICE)] * 2)
    assert [event["type"] for event in tail(tmp_path, 3)] == ["reception", "delivery", "delivery"]


def test_select_filters(tmp_path: Path, make: Any) -> None:
    write(tmp_path, "1.jsonl", 1, make.stored(ALICE), make.finished(ALICE), make.finished(BOB))
    found = select(tmp_path, lambda event: event["domain"] == "example.org", b'"type":"delivery"')
    assert [event["recipient"] for event in found] == ["*@example.org"]
