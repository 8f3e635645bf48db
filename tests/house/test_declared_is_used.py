"""What is declared is also used: an option that nobody reads or a metric that nobody sets is a false page."""

import re
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel

from outrider.record.metrics import DEFINITIONS
from outrider.server.settings import Settings
from outrider.sim.options import WorldOptions
from tools.project_files import ROOT

SOURCES = {path: path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py")}
BY_NAME = {
    # read by the name of the DSN's kind or of the SMTP command
    ("DsnOptions", "failed"),
    ("DsnOptions", "delayed"),
    ("DsnOptions", "relayed"),
    ("Delays", "ehlo"),
    ("Delays", "rcpt"),
    ("Delays", "rset"),
}


def models(annotation: Any, seen: set[type[BaseModel]]) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation not in seen:
        seen.add(annotation)
        yield annotation
        for field in annotation.model_fields.values():
            yield from models(field.annotation, seen)
    for inner in get_args(annotation):
        yield from models(inner, seen)


def test_every_option_is_read() -> None:
    read = "\n".join(SOURCES.values())
    seen: set[type[BaseModel]] = set()
    unread = [
        f"{model.__name__}.{name}"
        for root in (Settings, WorldOptions)
        for model in models(root, seen)
        for name in model.model_fields
        if (model.__name__, name) not in BY_NAME and not re.search(rf"\.{name}\b", read)
    ]
    assert unread == []


def test_every_metric_is_set() -> None:
    used = "\n".join(SOURCES.values())
    assert [name for name in DEFINITIONS if used.count(f'"{name}"') < 2] == []
