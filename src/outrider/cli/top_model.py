"""What `outrider top` shows, without a terminal: samples and keys in, rows out.

Theory: counters of the server only rise, so rates are differences of two samples; a process that started
anew counts from nothing, which would be a negative rate and is shown as none. Where the person is, is a
stack: sites, then the paths of one, then the messages of one with their last replies.

Invariant: `press` never fails, whatever the key; the selected row exists as long as there are rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

Row = dict[str, Any]

SITES: Final = (
    "site",
    "queued",
    "waiting",
    "deferred",
    "granted",
    "on_disk",
    "connections",
    "failures",
    "per_second",
    "state",
)
PATHS: Final = ("channel", "binding", *SITES[1:8], "next_seconds", "state")
MESSAGES: Final = (
    "message_id",
    "routing_domain",
    "tenant",
    "stream",
    "attempts",
    "due_time",
    "state",
    "last_reply",
)
SUMS: Final = ("queued", "waiting", "deferred", "granted", "on_disk", "connections", "failures")
INTERVALS: Final = (0.5, 1.0, 2.0, 5.0, 10.0)
# chosen: seconds between samples
FILTER_CHARACTERS: Final = 80
HELP: Final = (
    ("up, down, k, j", "select a row; page up, page down, g and G go further"),
    ("enter, right", "look into it: from a site to its paths, then to messages and last replies"),
    ("escape, left", "back; also ends a filter"),
    ("s, S", "sort by the next, the previous column"),
    ("r", "reverse the order"),
    ("/", "filter: type a part of a name, then enter"),
    ("space, p", "pause, and go on"),
    ("+, -", "look less, more often"),
    ("h, ?", "this help"),
    ("q", "quit"),
)


@dataclass(slots=True)
class Level:
    """Where somebody is: what is shown, sorted and selected there."""

    kind: str
    title: str
    columns: Sequence[str]
    sort: str
    reverse: bool = True
    selected: int = 0
    filter: str = ""
    where: tuple[str, ...] = ()


def top_level() -> Level:
    """All sites."""
    return Level("sites", "Sites", SITES, "queued")


@dataclass(slots=True)
class Sample:
    """What was asked of the server at one moment; `error` says why nothing came.

    Attributes:
        at: Monotonic seconds.
        status: Answer of `/v1/status`.
        paths: Items of `/v1/paths`.
        detail: Answer for one path, where messages are shown.
        error: Empty when all is well.
    """

    at: float
    status: Row = field(default_factory=dict)
    paths: list[Row] = field(default_factory=list)
    detail: Row | None = None
    error: str = ""


class Top:
    """See the module."""

    def __init__(self) -> None:
        self.levels = [top_level()]
        self.sample = Sample(0.0)
        self.rates: dict[str, float] = {}
        self.site_rates: dict[str, float] = {}
        self.is_paused = False
        self.shows_help = False
        self.is_typing = False
        self.is_over = False
        self.interval = 1
        self.page = 20

    @property
    def level(self) -> Level:
        """Where somebody is now."""
        return self.levels[-1]

    @property
    def seconds(self) -> float:
        """Between two samples."""
        return INTERVALS[self.interval]

    @property
    def path(self) -> tuple[str, str, str] | None:
        """Channel, binding and site of the path whose messages are shown."""
        where = self.level.where
        return (where[0], where[1], where[2]) if self.level.kind == "messages" else None

    # samples

    def take(self, sample: Sample) -> None:
        """A new sample; a failed one keeps what was shown and says so."""
        if sample.error:
            self.sample.error = sample.error
            return
        before = self.sample
        seconds = sample.at - before.at
        if before.status and seconds > 0:
            self.rates = _rates(_totals(before.status), _totals(sample.status), seconds)
            self.site_rates = _rates(_delivered(before.status), _delivered(sample.status), seconds)
        self.sample = sample
        self._keep_selected()

    def rows(self) -> list[Row]:
        """The rows of this level, filtered and sorted."""
        level = self.level
        if level.kind == "sites":
            rows = self._sites()
        elif level.kind == "paths":
            rows = [dict(row) for row in self.sample.paths if row["site"] == level.where[0]]
        else:
            rows = list((self.sample.detail or {}).get("messages", ()))
        if level.filter:
            wanted = level.filter.lower()
            rows = [
                row
                for row in rows
                if wanted in " ".join(str(row.get(key, "")) for key in level.columns).lower()
            ]
        rows.sort(key=lambda row: _order(row.get(level.sort)), reverse=level.reverse)
        return rows

    def _sites(self) -> list[Row]:
        sites: dict[str, Row] = {}
        for path in self.sample.paths:
            site = sites.get(path["site"])
            if site is None:
                rate = self.site_rates.get(path["site"], 0.0)
                sites[path["site"]] = {key: path[key] for key in ("site", "state", *SUMS)} | {
                    "per_second": rate
                }
                continue
            for name in SUMS:
                if path[name] is not None:  # else it was not counted, of no path
                    site[name] += path[name]
            if path["state"] != site["state"]:
                site["state"] = "mixed"
        return list(sites.values())

    # keys

    def press(self, key: str) -> None:
        """One key, by name or as its character."""
        if self.is_typing:
            self._type(key)
        elif self.shows_help:
            self.shows_help = False
            self.is_over = key == "q"
        else:
            self._command(key)
        self._keep_selected()

    def _type(self, key: str) -> None:
        level = self.level
        if key in ("enter", "escape"):
            self.is_typing = False
            if key == "escape":
                level.filter = ""
        elif key == "backspace":
            level.filter = level.filter[:-1]
        elif len(key) == 1 and key.isprintable() and len(level.filter) < FILTER_CHARACTERS:
            level.filter += key

    def _command(self, key: str) -> None:
        level = self.level
        match key:
            case "q":
                self.is_over = True
            case "h" | "?":
                self.shows_help = True
            case " " | "p":
                self.is_paused = not self.is_paused
            case "/":
                self.is_typing = True
            case "r":
                level.reverse = not level.reverse
            case "s" | "S":
                columns = list(level.columns)
                step = 1 if key == "s" else -1
                level.sort = columns[(columns.index(level.sort) + step) % len(columns)]
            case "+":
                self.interval = min(self.interval + 1, len(INTERVALS) - 1)
            case "-":
                self.interval = max(self.interval - 1, 0)
            case "enter" | "right":
                self._drill()
            case "escape" | "left" | "backspace":
                self._back()
            case _:
                self._move(key)

    def _move(self, key: str) -> None:
        far = 1 << 30
        steps = {"up": -1, "k": -1, "down": 1, "j": 1, "g": -far, "G": far}
        steps |= {"page up": -self.page, "page down": self.page}
        self.level.selected += steps.get(key, 0)

    def _drill(self) -> None:
        rows = self.rows()
        if not rows or self.level.kind == "messages":
            return
        row = rows[self.level.selected]
        if self.level.kind == "sites":
            site = row["site"]
            self.levels.append(Level("paths", f"Paths of {site}", PATHS, "queued", where=(site,)))
        else:
            where = (row["channel"], row["binding"], row["site"])
            title = f"Messages of {'/'.join(where)}"
            self.sample.detail = None
            self.levels.append(Level("messages", title, MESSAGES, "due_time", reverse=False, where=where))

    def _back(self) -> None:
        if self.level.filter:
            self.level.filter = ""
        elif len(self.levels) > 1:
            self.levels.pop()

    def _keep_selected(self) -> None:
        self.level.selected = max(0, min(self.level.selected, len(self.rows()) - 1))


def line_of(top: Top) -> str:
    """The node in one line, for where there is no terminal."""
    status = top.sample.status
    queue = status["queue"]
    rates = " ".join(
        f"{name}/s {top.rates.get(name, 0.0):.1f}"
        for name in ("accepted", "delivered", "transient", "bounced")
    )
    return (
        f"{status['time']} queued {queue['alive']} held {queue['held']} in-delivery {queue['granted']} "
        f"connections {status['connections']} {rates}"
    )


def _totals(status: Row) -> dict[str, float]:
    return {"accepted": status["accepted"], **status["results"]}


def _delivered(status: Row) -> dict[str, float]:
    return {site: results.get("delivered", 0.0) for site, results in status["attempts"].items()}


def _rates(before: dict[str, float], now: dict[str, float], seconds: float) -> dict[str, float]:
    return {name: max(value - before.get(name, 0.0), 0.0) / seconds for name, value in now.items()}


def _order(value: Any) -> tuple[int, float, str]:
    """Sorts numbers among numbers and texts among texts; what is missing comes first."""
    if value is None:
        return 0, 0.0, ""
    if isinstance(value, int | float):
        return 1, float(value), ""
    return 2, 0.0, str(value)
