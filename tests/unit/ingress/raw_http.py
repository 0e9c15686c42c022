"""A server under test, and a client that sends bytes as they are and reads what comes back."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from config.models.gateway import Limits
from ingress.request import Request, Response
from ingress.server import Server
from ingress.server_state import ServerListener

PATIENCE = 10.0  # seconds after which a test that waits has failed

Pairs = list[tuple[bytes, bytes]]


@dataclass
class Answer:
    """A response as it came: raw header lines in order."""

    status: int
    lines: list[bytes]
    body: bytes

    @property
    def pairs(self) -> Pairs:
        return [(name, value) for name, _, value in (line.partition(b": ") for line in self.lines)]

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.pairs if key.lower() == name.lower()]

    def get(self, name: bytes) -> bytes | None:
        values = self.values(name)
        assert len(values) <= 1, f"{name!r} came {len(values)} times"
        return values[0] if values else None

    @property
    def problem(self) -> dict[str, Any]:
        assert self.get(b"Content-Type") == b"application/problem+json"
        members: dict[str, Any] = json.loads(self.body)
        assert members["status"] == self.status
        assert members["request_id"].encode() == self.get(b"X-Request-ID")
        return members


class RawClient:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def head(self) -> Answer:
        """The next status line and header block."""
        async with asyncio.timeout(PATIENCE):
            head = await self._reader.readuntil(b"\r\n\r\n")
        status_line, *lines = head[:-4].split(b"\r\n")
        version, status, _ = status_line.split(b" ", 2)
        assert version == b"HTTP/1.1"
        return Answer(int(status), lines, b"")

    async def answer(self, *, to_head: bool = False) -> Answer:
        """The next response, read as RFC 9112 section 6.3 has it."""
        answer = await self.head()
        length = int(answer.get(b"Content-Length") or 0)
        if not to_head and answer.status not in (204, 304) and answer.status >= 200:
            async with asyncio.timeout(PATIENCE):
                answer.body = await self._reader.readexactly(length)
        return answer

    async def ask(self, data: bytes) -> Answer:
        await self.send(data)
        return await self.answer(to_head=data.startswith(b"HEAD"))

    async def rest(self) -> bytes:
        """All that comes until the server ends the connection."""
        async with asyncio.timeout(PATIENCE):
            return await self._reader.read()

    async def refused(self, data: bytes) -> Answer:
        """Send, and expect one problem, the end of the connection, and nothing else."""
        answer = await self.ask(data)
        assert answer.problem
        assert answer.get(b"Connection") == b"close"
        assert await self.rest() == b""
        return answer

    def end_sending(self) -> None:
        self._writer.write_eof()

    def reset(self) -> None:
        self._writer.transport.abort()


class Recorder:
    """A handler that keeps what it was asked, and answers with the body."""

    def __init__(self, limit: int = 1 << 20) -> None:
        self.limit = limit
        self.requests: list[tuple[Request, bytes]] = []

    async def __call__(self, request: Request) -> Response:
        body = await request.read_body(self.limit)
        self.requests.append((request, body))
        return Response(200, ((b"Content-Type", b"text/plain"),), b"[" + body + b"]")

    @property
    def only(self) -> tuple[Request, bytes]:
        assert len(self.requests) == 1
        return self.requests[0]


class Gate:
    """A handler that lets every request wait until the test lets it go on."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.cancelled = 0
        self._arrivals = asyncio.Semaphore(0)

    async def __call__(self, request: Request) -> Response:
        self._arrivals.release()
        try:
            await self.opened.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return Response(200, (), request.target.encode())

    async def arrived(self, count: int = 1) -> None:
        """Wait until so many more requests are here."""
        async with asyncio.timeout(PATIENCE):
            for _ in range(count):
                await self._arrivals.acquire()


@dataclass
class Running:
    """A server on a free port."""

    server: Server

    @asynccontextmanager
    async def client(self) -> AsyncIterator[RawClient]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        try:
            yield RawClient(reader, writer)
        finally:
            writer.close()


@asynccontextmanager
async def serving(
    handle: Callable[[Request], Awaitable[Response]],
    *,
    listener: ServerListener | None = None,
    **limits: Any,
) -> AsyncIterator[Running]:
    """A server with those limits."""
    async with Server(handle, Limits(**limits), listener=listener) as server:
        yield Running(server)
