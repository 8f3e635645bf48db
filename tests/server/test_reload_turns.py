"""Reloads take turns: what is asked for while one is under way waits, and no more of it than is needed."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from outrider.base.clock import FakeClock
from outrider.base.log import ListLog
from outrider.server.channel import Message
from outrider.server.configuration import Configuration, read
from outrider.server.doors import Doors
from outrider.server.reload import Process, Reloads

CONFIGURATION = """\
[server]
hostname = "outrider.example.test"
workers = 1
state_directory = "state"

[[listener]]
name = "smtp"
address = "127.0.0.1"
port = 0
"""


class Child:
    """A process that does what it is told, as soon as `work` is called."""

    def __init__(self) -> None:
        self.process = cast("Process", SimpleNamespace(name="control", number=0, pid=1, channel=self))
        self.told: list[tuple[str, int]] = []
        self.prepared = 0
        self.answers = 0

    def send(self, kind: str, _files: Any = (), **body: Any) -> bool:
        if kind == "answer":
            self.answers += 1
        else:
            self.told.append((kind, body["epoch"]))
        return True

    def work(self, reloads: Reloads) -> None:
        while self.told:
            kind, epoch = self.told.pop(0)
            self.prepared += kind == "prepare"
            reloads.hear(self.process, Message("done", {"epoch": epoch}, ()))


@contextmanager
def doors_of(configuration: Configuration) -> Iterator[Doors]:
    doors = Doors(configuration.settings)
    (sockets,) = doors.sockets
    with closing(sockets["smtp"]):
        yield doors


def test_signals_that_come_while_a_reload_is_under_way_are_one_more(tmp_path: Path) -> None:
    config = tmp_path / "outrider.toml"
    config.write_text(CONFIGURATION, encoding="utf-8")
    readings: list[Configuration] = []
    finished: list[None] = []

    def reading() -> Configuration:
        readings.append(read(config, {}, {}))
        return readings[-1]

    first = read(config, {}, {})
    child = Child()
    with doors_of(first) as doors:
        reloads = Reloads(
            first.settings,
            reading,
            doors,
            [child.process],
            FakeClock(),
            ListLog(),
            lambda _: None,
            lambda: finished.append(None),
        )
        for _ in range(500):
            reloads.ask()
        reloads.ask(child.process, 1)  # who asks by name is answered, each time
        reloads.ask(child.process, 1)
        assert len(readings) == 1
        config.write_text(f"{CONFIGURATION}\n[shaping]\noutbound_connections = 7\n", encoding="utf-8")
        child.work(reloads)
    assert (child.prepared, len(readings), len(finished), child.answers) == (4, 4, 2, 2)
    assert readings[1].settings.shaping.outbound_connections == 7, "the last signal is heeded"
