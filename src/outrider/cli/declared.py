"""Options that several commands share, declared once.

A function declares the options and makes one value of them; a command that has a parameter of some name
takes, in its place, all options of that function, and is given the value.
"""

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, signature
from typing import Any

Command = Callable[..., None]


def takes(place: str, declares: Callable[..., Any]) -> Callable[[Command], Command]:
    """A decorator: a command's parameter `place` becomes the options of `declares`, and gets its value."""
    options = signature(declares).parameters

    def decorated(command: Command) -> Command:
        outer = signature(command)
        parameters: list[Parameter] = []
        for name, parameter in outer.parameters.items():
            found = options.values() if name == place else (parameter,)
            parameters += (each.replace(kind=Parameter.KEYWORD_ONLY) for each in found)

        @wraps(command)
        def wrapped(**given: Any) -> None:
            given[place] = declares(**{name: given.pop(name) for name in options})
            command(**given)

        # what typer reads
        wrapped.__signature__ = outer.replace(parameters=parameters)  # type: ignore[attr-defined]
        wrapped.__annotations__ = {each.name: each.annotation for each in parameters}
        return wrapped

    return decorated
