"""An upstream on loopback that sends the very bytes that a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager


class Raw:
    """Answers each request with the next of `answers`, the last one for ever.

    Attributes:
        heads: Of each request that came, lines and all.
        connections: That were made.
        left: That their other end closed.
    """

    def __init__(self, answers: Sequence[bytes], *, closes: bool) -> None:
        self.heads: list[bytes] = []
        self.connections = 0
        self.left = 0
        self._answers = list(answers)
        self._closes = closes
        self._serving: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def end(self) -> None:
        for writer in self._serving.values():
            writer.close()
        await asyncio.gather(*self._serving)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if (task := asyncio.current_task()) is not None:
            self._serving[task] = writer
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0])
                await reader.readexactly(length)
                answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
                writer.write(answer)
                await writer.drain()
                if self._closes:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            self.left += 1
        finally:
            writer.close()


@asynccontextmanager
async def raw(*answers: bytes, closes: bool = False) -> AsyncIterator[tuple[Raw, str]]:
    """One that runs, and its base URL."""
    told = Raw(answers, closes=closes)
    server = await asyncio.start_server(told.serve, "127.0.0.1", 0)
    try:
        yield told, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()
        await told.end()


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for what comes in a moment; the test's own time limit ends it otherwise."""
    while not is_so():
        await asyncio.sleep(0.005)
