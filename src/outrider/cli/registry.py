"""Every command's name and place, and a group that imports a command only when it is asked for.

Theory: all commands together import a database library, a simulator and a DNS library, which takes longer
than what most of them do. Who asks for one command waits for its imports alone; help of the whole needs all.

Invariant: whoever goes through the commands (help, manual, tests) sees each, in this order.
"""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

PLACES: Mapping[str, str] = {
    "init": "init:init",
    "serve": "serve:serve",
    "check-config": "serve:check_config",
    "reload": "config:reload",
    "doctor": "doctor:doctor",
    "backup": "backup:backup",
    "restore": "backup:restore",
    "status": "status:status",
    "top": "top:top",
    "trace": "trace:trace",
    "preflight": "preflight:preflight",
    "inject": "inject:inject",
    "sink": "sink:sink",
    "sim": "sim:sim",
    "demo": "demo:demo",
    "config": "config:app",
    "queue": "queue:app",
    "path": "path:app",
    "explain": "explain:app",
    "tenant": "tenant:app",
    "user": "user:app",
    "key": "key:app",
    "domain": "domain:app",
    "audit": "audit:app",
    "keys": "keys:app",
    "dkim": "dkim:app",
    "source": "source:app",
    "policy": "policy:app",
}
"""Of each command the module in `outrider.cli` and what of it: a function, or a Typer with more commands."""


def load_command(name: str) -> Any:
    """The command as the parser knows it.

    Raises:
        KeyError: There is none of that name.
    """
    module, _, attribute = PLACES[name].partition(":")
    found = getattr(import_module(f"outrider.cli.{module}"), attribute)
    # what Typer makes of a command depends on the one above it
    above = typer.Typer(add_completion=False, rich_markup_mode="rich")
    above.callback()(lambda: None)
    if isinstance(found, typer.Typer):
        above.add_typer(found, name=name)
    else:
        above.command(name)(found)
    return typer.main.get_group(above).commands[name]


class _Commands(Mapping[str, Any]):
    """The commands by their names, each imported when it is first looked at."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = load_command(name)
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in PLACES

    def __iter__(self) -> Iterator[str]:
        return iter(PLACES)

    def __len__(self) -> int:
        return len(PLACES)


class CommandGroup(TyperGroup):
    """The group of all commands."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = _Commands()  # type: ignore[assignment]  # nobody adds or removes one
