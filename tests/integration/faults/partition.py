"""A link to the broker that can fall silent: nothing is closed, nothing arrives."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Self
from urllib.parse import urlsplit


class Partition:
    """A TCP proxy; while ``open`` is not set, what either side sends is kept back."""

    def __init__(self, target: str) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self._target = urlsplit(target)
        self.url = ""

    @classmethod
    @asynccontextmanager
    async def before(cls, amqp_url: str) -> AsyncIterator[Self]:
        """Listen on a free port; ``url`` is the broker's, by way of here."""
        proxy = cls(amqp_url)
        server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        proxy.url = proxy._target._replace(netloc=f"guest:guest@127.0.0.1:{port}").geturl()
        async with server:
            yield proxy

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        far = await asyncio.open_connection(self._target.hostname, self._target.port)
        try:
            await asyncio.gather(self._pass(reader, far[1]), self._pass(far[0], writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for end in (writer, far[1]):
                end.transport.abort()

    async def _pass(self, reader: StreamReader, writer: StreamWriter) -> None:
        while data := await reader.read(65_536):
            await self.open.wait()
            writer.write(data)
            await writer.drain()
        with suppress(OSError):
            writer.write_eof()
