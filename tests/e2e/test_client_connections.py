"""With four workers a client gets as many connections as it may have, no more and no fewer."""

import os
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack

from tests.e2e.outrider_process import OutriderProcess, configuration_for
from tests.patience import PATIENCE_SECONDS
from tests.peers.processes import free_port, wait_until

LIMIT = 10


def greeting(stack: ExitStack, port: int) -> str:
    """The code that a new connection hears; it stays open."""
    connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS))
    return connection.recv(512)[:3].decode()


def test_a_client_has_its_limit_over_all_workers(serve: Callable[[str], OutriderProcess]) -> None:
    configuration = configuration_for({"example.test": free_port()}, workers=4).replace(
        'trusted_networks = ["127.0.0.0/8"]', f"[listener.limits]\nconnections_per_client = {LIMIT}"
    )
    server = serve(configuration)
    port = server.ports["smtp"]
    with ExitStack() as stack:
        heard = [greeting(stack, port) for _ in range(LIMIT + 10)]
        assert heard == ["220"] * LIMIT + ["421"] * 10
    # all are gone: those of a worker that died go with it
    with ExitStack() as stack:
        wait_until(lambda: greeting(stack, port) == "220", "the end of the first connections")
        for worker in server.command("status")["workers"]:
            os.kill(worker["pid"], signal.SIGKILL)
        wait_until(lambda: server.log().count("worker.buried") == 4, "the burial of the workers")
        wait_until(lambda: len(server.command("status")["workers"]) == 4, "their successors")
        again = [greeting(stack, port) for _ in range(LIMIT + 1)]
        assert again == ["220"] * LIMIT + ["421"]
