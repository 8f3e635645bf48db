"""The floor to compare with: a journal relay without policy, queue or limits, in asyncio and uvloop.

Append each message to one file, one fdatasync for all that arrived meanwhile, then the 250, then forward over
a fixed number of connections, then a done record with the next commit. No time-outs, retries, DNS, addresses
or checks: it is not a mail server, it is what any durable relay in this language has to do at least.

Usage: bare.py LISTEN_PORT SINK_PORT DIRECTORY [--workers N] [--connections N] [--per-connection N]
"""

import argparse
import asyncio
import os
import queue
import signal
import socket
import sys
import threading
import zlib
from collections import deque
from pathlib import Path
from typing import Any, cast

import uvloop

END = b"\r\n.\r\n"
OK = b"250 2.0.0 Ok\r\n"


class Store:
    """One file, one thread, one fdatasync for everything that is waiting."""

    def __init__(self, path: Path, relay: "Forwarder") -> None:
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.posix_fallocate(self.file, 0, 512 << 20)
        self.relay = relay
        self.loop = asyncio.get_running_loop()
        self.waiting: list[Job] = []
        self.finished: list[bytes] = []
        self.busy = False
        self.jobs: queue.SimpleQueue[list[bytes]] = queue.SimpleQueue()
        threading.Thread(target=self.run, daemon=True).start()

    def append(self, receiver: "Receiver", envelope: bytes, content: bytes) -> None:
        self.waiting.append((receiver, envelope, content))
        if not self.busy:
            self.busy = True
            self.loop.call_soon(self.start)

    def start(self) -> None:
        self.batch, self.waiting = self.waiting, []
        finished, self.finished = self.finished, []
        chunks: list[bytes] = []
        for _, envelope, content in self.batch:
            head = len(envelope).to_bytes(4, "big") + len(content).to_bytes(4, "big")
            chunks += (head + zlib.crc32(content, zlib.crc32(envelope)).to_bytes(4, "big"), envelope, content)
        chunks += finished
        self.jobs.put(chunks)

    def run(self) -> None:
        while True:
            chunks = self.jobs.get()
            for start in range(0, len(chunks), 1000):
                os.writev(self.file, chunks[start : start + 1000])
            os.fdatasync(self.file)
            self.loop.call_soon_threadsafe(self.done)

    def done(self) -> None:
        batch = self.batch
        for receiver, _, _ in batch:
            receiver.stored()
        self.relay.add(batch)
        if self.waiting:
            self.start()
        else:
            self.busy = False


class Receiver(asyncio.Protocol):
    """Commands one at a time, content to the end of data, nothing checked."""

    store: Store

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.buffer = b""
        self.envelope = b""
        self.in_data = False
        self.is_waiting = False
        self.transport.write(b"220 bare\r\n")

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.is_waiting:
            self.work()

    def work(self) -> None:
        while self.buffer and not self.is_waiting:
            if self.in_data:
                end = self.buffer.find(END)
                if end < 0:
                    return
                content = self.buffer[: end + 2]
                self.buffer = self.buffer[end + 5 :]
                self.in_data = False
                self.is_waiting = True
                self.store.append(self, self.envelope, content)
                return
            end = self.buffer.find(b"\r\n")
            if end < 0:
                return
            line = self.buffer[:end]
            self.buffer = self.buffer[end + 2 :]
            verb = line[:4].upper()
            if verb == b"MAIL":
                self.envelope = line[5:] + b"\n"
                self.transport.write(OK)
            elif verb == b"RCPT":
                self.envelope += line[3:] + b"\n"
                self.transport.write(OK)
            elif verb == b"DATA":
                self.in_data = True
                self.transport.write(b"354 go\r\n")
            elif verb == b"EHLO":
                self.transport.write(b"250-bare\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
            elif verb == b"QUIT":
                self.transport.write(b"221 bye\r\n")
                self.transport.close()
            else:
                self.transport.write(OK)

    def stored(self) -> None:
        self.is_waiting = False
        self.transport.write(OK)
        if self.buffer:
            self.work()


Job = tuple[Receiver, bytes, bytes]
"""Who waits for the 250, the envelope's lines, the content."""


class Sender(asyncio.Protocol):
    """Pipelined MAIL, RCPT, DATA; content on 354; next on 250."""

    def __init__(self, relay: "Forwarder") -> None:
        self.relay = relay

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.buffer = b""
        self.state = "greeting"
        self.count = 0
        self.content = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if self.buffer[-2:] != b"\r\n":
            return
        lines = self.buffer.split(b"\r\n")
        last = lines[-2]
        state = self.state
        if state == "greeting":
            self.buffer = b""
            self.state = "ehlo"
            self.transport.write(b"EHLO bare\r\n")
        elif state == "ehlo":
            if last[3:4] != b"-":
                self.buffer = b""
                self.idle()
        elif state == "data":
            if last[:3] == b"354":
                self.buffer = b""
                self.state = "body"
                self.transport.write(self.content + b".\r\n")
        elif state == "body":
            self.buffer = b""
            self.relay.finished()
            self.idle()

    def idle(self) -> None:
        if self.relay.per_connection and self.count >= self.relay.per_connection:
            self.transport.write(b"QUIT\r\n")
            self.state = "quit"
            self.relay.connect()
            return
        job = self.relay.take()
        if job is None:
            self.state = "idle"
            self.relay.idle.append(self)
        else:
            self.send(job)

    def send(self, job: Job) -> None:
        _, envelope, self.content = job
        mail, *recipients = envelope.split(b"\n")[:-1]
        lines = [b"MAIL " + mail, *(b"RCPT " + line[2:] for line in recipients), b"DATA\r\n"]
        self.count += 1
        self.state = "data"
        self.transport.write(b"\r\n".join(lines))

    def connection_lost(self, exc: Exception | None) -> None:
        if self.state == "body":
            sys.stderr.write(f"bare: a message was lost with its connection: {exc}\n")


class Forwarder:
    def __init__(self, sink: tuple[str, int], connections: int, per_connection: int) -> None:
        self.sink = sink
        self.per_connection = per_connection
        self.jobs: deque[Job] = deque()
        self.idle: list[Sender] = []
        self.to_open = connections
        self.store: Store
        self.opening: set[asyncio.Task[Any]] = set()

    def connect(self) -> None:
        loop = asyncio.get_running_loop()
        task = loop.create_task(loop.create_connection(lambda: Sender(self), *self.sink))
        self.opening.add(task)
        task.add_done_callback(self.opening.discard)

    def add(self, batch: list[Job]) -> None:
        self.jobs.extend(batch)
        while self.jobs and self.idle:
            self.idle.pop().send(self.jobs.popleft())
        while self.jobs and self.to_open:
            self.to_open -= 1
            self.connect()

    def take(self) -> Job | None:
        return self.jobs.popleft() if self.jobs else None

    def finished(self) -> None:
        self.store.finished.append(b"done\0\0\0\0\0\0\0\0")


async def worker(options: argparse.Namespace, number: int) -> None:
    loop = asyncio.get_running_loop()
    relay = Forwarder(
        ("127.0.0.1", options.sink), options.connections // options.workers, options.per_connection
    )
    relay.store = Receiver.store = Store(Path(options.directory) / f"journal-{number}", relay)
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("127.0.0.1", options.listen))
    listener.listen(1000)
    await loop.create_server(Receiver, sock=listener)
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("listen", type=int)
    parser.add_argument("sink", type=int)
    parser.add_argument("directory")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--connections", type=int, default=20)
    parser.add_argument("--per-connection", type=int, default=0)
    options = parser.parse_args()
    children = []
    for number in range(options.workers):
        pid = os.fork()
        if pid == 0:
            uvloop.run(worker(options, number))
            os._exit(0)
        children.append(pid)

    def stop(_number: int, _frame: object) -> None:
        for pid in children:
            os.kill(pid, signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    for pid in children:
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
