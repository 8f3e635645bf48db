"""The event loop: uvloop where it is installed, asyncio otherwise or on request.

uvloop pays mostly on short connections (35 %), and by 10 to 15 % on reused ones (measured with a whole SMTP
receiver).
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Literal, TypeVar

from outrider.base.errors import ConfigError

LoopName = Literal["auto", "uvloop", "asyncio"]

_T = TypeVar("_T")


def loop_factory(name: LoopName) -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes the loop `name`.

    Raises:
        ConfigError: uvloop was asked for by name and is not installed.
    """
    if name == "asyncio":
        return asyncio.new_event_loop
    try:
        import uvloop
    except ImportError as error:
        if name == "uvloop":
            raise ConfigError(
                "server.loop: uvloop is not installed; install it or say loop = 'auto'"
            ) from error
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def run(main: Coroutine[Any, Any, _T], *, loop: LoopName = "auto") -> _T:
    """Run `main` to its end on a fresh loop and close the loop; returns what `main` returns."""
    try:
        factory = loop_factory(loop)
    except ConfigError:
        main.close()
        raise
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)
