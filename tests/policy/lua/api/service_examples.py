"""Reads service_examples.lua: bodies by name."""

import re
from pathlib import Path
from typing import Final

_HEAD: Final = re.compile(r"^-- \[(.+)\]$", re.MULTILINE)

_, *_pieces = _HEAD.split(Path(__file__).with_suffix(".lua").read_text(encoding="utf-8"))
_BODIES: Final = dict(zip(_pieces[::2], _pieces[1::2], strict=True))

TOP: Final = {name[4:]: body for name, body in _BODIES.items() if name.startswith("top ")}
INIT: Final = {name[5:]: body for name, body in _BODIES.items() if name.startswith("init ")}
EXAMPLES: Final = {name: body for name, body in _BODIES.items() if " " not in name}
