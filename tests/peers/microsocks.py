"""A real SOCKS 5 server, microsocks, that sends from an address of its own."""

import contextlib
from collections.abc import Iterator

from tests.peers.processes import find_program, free_port, peer_folder, running

PROGRAM = "microsocks/usr/bin/microsocks"
USER, PASSWORD = "outrider", "a secret"


def missing() -> str | None:
    """Why it cannot run here, or None."""
    return None if find_program(PROGRAM) else "microsocks is not unpacked; run `make peers` as root"


@contextlib.contextmanager
def microsocks(source: str) -> Iterator[int]:
    """A server that wants `USER` and `PASSWORD` and sends from `source`; gives its port."""
    program = find_program(PROGRAM)
    assert program is not None, missing()
    port = free_port()
    options = ["-i", "127.0.0.1", "-p", str(port), "-u", USER, "-P", PASSWORD, "-b", source]
    with (
        peer_folder("microsocks") as folder,
        running([str(program), *options], port=port, log=folder / "microsocks.log", cwd=folder),
    ):
        yield port
