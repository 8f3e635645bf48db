"""A real HAProxy from a configuration of its own, in front of a listener: PROXY protocol of both versions."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.peers.processes import find_program, free_port, peer_folder, running

CONFIGURATION = """\
global
  maxconn 100
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen first
  bind 127.0.0.1:{first}
  server outrider 127.0.0.1:{port} send-proxy
listen second
  bind 127.0.0.1:{second}
  server outrider 127.0.0.1:{port} send-proxy-v2 proxy-v2-options crc32c,unique-id
  unique-id-format %[uuid()]
"""
EGRESS = """\
global
  maxconn 100
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen egress
  bind 127.0.0.1:{port} accept-proxy
"""
PROGRAM = "haproxy/usr/sbin/haproxy"


@dataclass(frozen=True, slots=True)
class HaProxy:
    """A running HAProxy: ports by the version of the header that it sends."""

    ports: dict[int, int]
    folder: Path


def missing() -> str | None:
    """Why HAProxy cannot run here, or None."""
    return None if find_program(PROGRAM) else "HAProxy is not unpacked; run `make peers` as root"


@contextlib.contextmanager
def haproxy(port: int) -> Iterator[HaProxy]:
    """An HAProxy in front of the loopback port."""
    program = find_program(PROGRAM)
    assert program is not None, missing()
    first, second = free_port(), free_port()
    with peer_folder("haproxy") as folder:
        (folder / "haproxy.cfg").write_text(CONFIGURATION.format(first=first, second=second, port=port))
        command = [str(program), "-db", "-f", str(folder / "haproxy.cfg")]
        with running(command, port=first, log=folder / "haproxy.log", cwd=folder):
            yield HaProxy({1: first, 2: second}, folder)


@contextlib.contextmanager
def haproxy_egress(sources: Sequence[str]) -> Iterator[int]:
    """An HAProxy that connects to wherever a PROXY header says, from these addresses; gives its port."""
    program = find_program(PROGRAM)
    assert program is not None, missing()
    port = free_port()
    lines = [EGRESS.format(port=port)]
    for number, source in enumerate(sources):
        lines.append(f"  server from{number} 0.0.0.0 source {source}\n")
        lines.append(f"  use-server from{number} if {{ src {source} }}\n")
    with peer_folder("haproxy") as folder:
        (folder / "haproxy.cfg").write_text("".join(lines))
        command = [str(program), "-db", "-f", str(folder / "haproxy.cfg")]
        with running(command, port=port, log=folder / "haproxy.log", cwd=folder):
            yield port
