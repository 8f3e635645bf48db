"""What `outrider top` shows: rates, sorting, filtering, drilling down, and no key that breaks it."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from outrider.cli.top import parse_keys, screen
from outrider.cli.top_model import INTERVALS, Sample, Top, line_of


def status(accepted: float = 0.0, delivered: float = 0.0) -> dict[str, Any]:
    return {
        "time": "2026-11-24T10:00:00Z",
        "accepted": accepted,
        "results": {"delivered": delivered},
        "attempts": {"mx.one.test": {"delivered": delivered}},
        "queue": {"alive": 5, "held": 1, "granted": 2, "resident": 5, "unreadable": 0},
        "connections": 3,
        "clock_steps_seconds": 0.0,
    }


def path(site: str, binding: str = "default", queued: int = 1, state: str = "active") -> dict[str, Any]:
    counts = dict.fromkeys(("waiting", "deferred", "granted", "on_disk", "connections", "failures"), 0)
    names = {"channel": "smtp", "binding": binding, "site": site, "state": state}
    return {**names, "queued": queued, "next_seconds": None, **counts}


PATHS = [
    path("mx.one.test", "a", 5),
    path("mx.one.test", "b", 2, "suspended"),
    path("mx.two.test", "a", 6),
]
MESSAGES = [
    {"message_id": "m1", "routing_domain": "one.test", "due_time": "2", "last_reply": "450 Later"},
    {"message_id": "m2", "routing_domain": "one.test", "due_time": "1", "last_reply": "421 Busy"},
]


@pytest.fixture
def top() -> Top:
    view = Top()
    view.take(Sample(10.0, status(), PATHS))
    return view


def press(view: Top, *keys: str) -> None:
    for key in keys:
        view.press(key)


def test_sites_are_sums_of_their_paths_the_largest_first(top: Top) -> None:
    assert [(row["site"], row["queued"], row["state"]) for row in top.rows()] == [
        ("mx.one.test", 7, "mixed"),
        ("mx.two.test", 6, "active"),
    ]


def test_rates_are_differences_and_never_negative(top: Top) -> None:
    top.take(Sample(12.0, status(accepted=20.0, delivered=10.0), PATHS))
    assert top.rates == {"accepted": 10.0, "delivered": 5.0}
    assert {row["site"]: row["per_second"] for row in top.rows()} == {"mx.one.test": 5.0, "mx.two.test": 0.0}
    assert "queued 5 held 1 in-delivery 2 connections 3 accepted/s 10.0 delivered/s 5.0" in line_of(top)
    top.take(Sample(13.0, status(accepted=1.0), PATHS))  # a process has started anew
    assert top.rates["accepted"] == 0.0


def test_one_looks_from_a_site_into_its_paths_and_their_messages_and_back(top: Top) -> None:
    press(top, "enter")
    assert [(row["binding"], row["queued"]) for row in top.rows()] == [("a", 5), ("b", 2)]
    press(top, "down", "enter")
    assert top.path == ("smtp", "b", "mx.one.test")
    assert top.rows() == []
    top.take(Sample(11.0, status(), PATHS, {"messages": MESSAGES}))
    assert [row["last_reply"] for row in top.rows()] == ["421 Busy", "450 Later"], "the first due first"
    press(top, "enter", "escape")
    assert (top.level.kind, top.level.selected) == ("paths", 1)
    press(top, "left", "left", "left")
    assert top.level.kind == "sites"


@pytest.mark.parametrize("width", [30, 40, 60, 80, 200])
def test_a_narrow_terminal_shows_fewer_columns_and_whole_names(top: Top, width: int) -> None:
    console = Console(width=width, height=20, color_system=None, force_terminal=True)
    more = {
        "hostname": "mx.test",
        "up_seconds": 1.0,
        "workers": [],
        "suspensions": 0,
        "stressed": [],
        "granting": True,
    }
    top.take(Sample(11.0, {**status(), **more}, PATHS))
    with console.capture() as captured:
        console.print(screen(top, Path("outrider.toml"), width))
    words = captured.get().split()
    assert {"mx.one.test", "mx.two.test", "queued", "state"} <= set(words)
    assert ("failures" in words) is (width > 100)


def test_sorting_goes_through_the_columns_and_turns_round(top: Top) -> None:
    press(top, "S")
    assert top.level.sort == "site"
    assert [row["site"] for row in top.rows()] == ["mx.two.test", "mx.one.test"]
    press(top, "r")
    assert [row["site"] for row in top.rows()] == ["mx.one.test", "mx.two.test"]
    press(top, "s", "s")
    assert top.level.sort == "waiting"


def test_a_filter_is_typed_and_taken_away(top: Top) -> None:
    press(top, "/", "T", "w", "x", "backspace", "q", "backspace", "enter")
    assert [row["site"] for row in top.rows()] == ["mx.two.test"]
    assert not top.is_over, "letters of a filter are no commands"
    press(top, "escape")
    assert len(top.rows()) == 2


def test_pause_help_interval_and_quit(top: Top) -> None:
    press(top, " ")
    assert top.is_paused
    press(top, "p", "h")
    assert (top.is_paused, top.shows_help) == (False, True)
    press(top, "x")
    assert not top.shows_help
    press(top, *"+++++++++")
    assert top.seconds == INTERVALS[-1]
    press(top, *"---------")
    assert top.seconds == INTERVALS[0]
    press(top, "q")
    assert top.is_over


def test_a_server_that_is_away_leaves_what_was_shown(top: Top) -> None:
    top.take(Sample(11.0, error="nobody answers"))
    assert (top.sample.error, len(top.rows())) == ("nobody answers", 2)
    top.take(Sample(12.0, status(), PATHS))
    assert top.sample.error == ""


KEYS = [
    "up",
    "down",
    "page up",
    "page down",
    "enter",
    "escape",
    "left",
    "right",
    "backspace",
    *"qhpsSrgG/+-jk xé?",
]


@given(st.lists(st.sampled_from(KEYS), max_size=60), st.lists(st.sampled_from(PATHS), max_size=3))
def test_no_keys_break_it_and_the_selected_row_exists(keys: list[str], paths: list[dict[str, Any]]) -> None:
    view = Top()
    view.take(Sample(1.0, status(), PATHS))
    for number, key in enumerate(keys):
        view.press(key)
        if number % 7 == 3:
            view.take(Sample(2.0 + number, status(), paths, {"messages": MESSAGES}))
        assert 0 <= view.level.selected <= max(len(view.rows()) - 1, 0)
        assert 1 <= len(view.levels) <= 3


@pytest.mark.parametrize(
    ("octets", "keys"),
    [
        (b"\x1b[A\x1b[B\x1bOC", ["up", "down", "right"]),
        (b"\x1b", ["escape"]),
        (b"q\r\x7f", ["q", "enter", "backspace"]),
        (b"\x1b[5~\x1b[6~", ["page up", "page down"]),
        (b"\x1b[1;5Px", ["x"]),
        ("é/€".encode(), ["é", "/", "€"]),
        (b"\x1b\x1b[A", ["escape", "up"]),
        (b"\x01\x02", []),
    ],
)
def test_keys_of_terminals(octets: bytes, keys: list[str]) -> None:
    assert parse_keys(octets) == keys


@given(st.binary(max_size=40))
def test_whatever_a_terminal_sends_is_read_to_its_end(octets: bytes) -> None:
    assert all(parse_keys(octets))
