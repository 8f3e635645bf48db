"""An HTTP server that answers with the request: its line, its fields, its content."""

import asyncio
import ssl
from types import TracebackType
from typing import Self


class Echo:
    """Listens on loopback; `/status/N` answers N, `/to/PATH` redirects there, `/away` to `target`."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._server: asyncio.Server | None = None
        self.url = ""
        self.target = ""
        self.requests: list[bytes] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        scheme = "http" if self._tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        body = await reader.readexactly(int(fields.get("content-length", 0)))
        self.requests.append(head + body)
        path = lines[0].split(" ")[1]
        status, more = "200 OK", ""
        if path.startswith("/status/"):
            status = f"{path[8:]} Whatever"
        elif path == "/away":
            status, more = "302 Found", f"Location: {self.target}\r\n"
        elif path.startswith("/to/"):
            status, more = "302 Found", f"Location: {path[3:]}\r\n"
        text = "\n".join([lines[0], *sorted(f"{name}: {value}" for name, value in fields.items())]).encode()
        content = text + b"\n\n" + body
        writer.write(
            f"HTTP/1.1 {status}\r\nX-Served-By: test\r\n{more}Content-Length: {len(content)}\r\n\r\n".encode()
        )
        if not lines[0].startswith("HEAD"):
            writer.write(content)
        await writer.drain()
        writer.close()
