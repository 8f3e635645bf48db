"""How long a client waits for its 250 after the end of data, measured beside the load."""

import asyncio
import time

GAP_SECONDS = 0.02


class Latency:
    """One connection, one message after the other.

    Args:
        port: The program's.
        size: Octets of content.
    """

    def __init__(self, port: int, size: int) -> None:
        self.port = port
        line = b"x" * 70 + b"\r\n"
        self.content = b"Subject: probe\r\n\r\n" + line * (size // len(line)) + b".\r\n"

    async def measure(self, count: int) -> list[float]:
        """Seconds from end of data to 250 of `count` messages, sorted."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        await reader.readline()
        writer.write(b"HELO probe.test\r\n")
        await reader.readline()
        waits = []
        for _ in range(count):
            for command in (
                b"MAIL FROM:<probe@source.test>\r\n",
                b"RCPT TO:<probe@sink.test>\r\n",
                b"DATA\r\n",
            ):
                writer.write(command)
                await reader.readline()
            started = time.perf_counter()
            writer.write(self.content)
            reply = await reader.readline()
            waits.append(time.perf_counter() - started)
            if not reply.startswith(b"250"):
                raise SystemExit(f"a probe was refused: {reply!r}")
            await asyncio.sleep(GAP_SECONDS)
        writer.write(b"QUIT\r\n")
        await reader.readline()
        writer.close()
        return sorted(waits)
