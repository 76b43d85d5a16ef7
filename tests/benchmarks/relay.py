"""A TCP relay that adds latency and counts bytes: `python -m tests.benchmarks.relay LISTEN TARGET CONTROL ONE_WAY_MS`.

Each chunk is held for ONE_WAY_MS in each direction, and the first bytes of a connection one round trip longer, as a
TCP handshake across a real network would take. All ports are on 127.0.0.1. Whoever connects to CONTROL gets the counts
so far as one JSON document: `{"up": bytes to the target, "down": bytes from it, "connections": n}`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys

_CHUNK_BYTES = 256 * 1024


class Relay:
    """Forwards connections to one port, `delay` seconds late in each direction."""

    def __init__(self, target: int, delay: float) -> None:
        self._target, self._delay = target, delay
        self.counts = {"up": 0, "down": 0, "connections": 0}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its start to its end."""
        self.counts["connections"] += 1
        try:
            back, forth = await asyncio.open_connection("127.0.0.1", self._target, limit=1 << 20)
        except OSError:
            writer.close()
            return
        await asyncio.gather(
            self._forward(reader, forth, "up", 2 * self._delay), self._forward(back, writer, "down", 0.0)
        )
        forth.close()
        writer.close()

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: str, first: float
    ) -> None:
        clock = asyncio.get_running_loop().time
        ready = clock() + first
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=4096)
        sender = asyncio.create_task(_send_when_due(queue, writer))
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK_BYTES):
                self.counts[direction] += len(data)
                await queue.put((max(clock(), ready) + self._delay, data))
        await queue.put((clock() + self._delay, b""))
        await sender

    async def report(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Tell the counts."""
        writer.write(json.dumps(self.counts).encode())
        writer.close()


async def _send_when_due(queue: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
    clock = asyncio.get_running_loop().time
    gone = False
    while True:
        due, data = await queue.get()
        if not gone and (wait := due - clock()) > 0:
            await asyncio.sleep(wait)
        try:
            if not data:
                writer.write_eof()
            elif not gone:
                writer.write(data)
                await writer.drain()
        except (OSError, RuntimeError):
            gone = True  # the other side has closed; what still comes is dropped
        if not data:
            return


async def _main(listen: int, target: int, control: int, one_way_ms: float) -> None:
    relay = Relay(target, one_way_ms / 1000)
    reports = await asyncio.start_server(relay.report, "127.0.0.1", control)
    server = await asyncio.start_server(relay.serve, "127.0.0.1", listen, limit=1 << 20, backlog=512)
    async with reports, server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
