"""Clients that keep their connections, and can tell what was sent from what was not.

Sockets by hand, for HTTP libraries hide what has to be counted here: they repeat requests of their
own accord when a kept connection turns out to be closed.
"""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit

from tests.integration.faults.accounting import Answer, Request, Result

GRACE = 2.0  # seconds past its deadline after which a request counts as lost, on a busy machine
_REFUSED_AGAIN = 0.02  # seconds before a refused client tries the next address

Choose = Callable[[], str]


class Client:
    """One client: a request at a time, on a connection that it keeps while it can.

    ``choose`` gives the URL for the next connection. It asks again only if nothing was sent.
    """

    def __init__(self, choose: Choose) -> None:
        self._choose = choose
        self._reader: StreamReader | None = None
        self._writer: StreamWriter | None = None

    async def ask(self, request: Request, wait: float) -> Result:
        """Send it with a deadline of ``wait`` seconds; the answer, or why there is none."""
        try:
            async with asyncio.timeout(wait + GRACE):
                return Result(request, await self._exchange(request, wait))
        except TimeoutError:
            failure = "no answer"
        except (OSError, EOFError) as error:
            failure = type(error).__name__
        self.leave()
        return Result(request, None, failure)

    async def send(self, request: Request, wait: float) -> StreamReader:
        """Send it, and leave the answer unread."""
        reader, writer = await self._connected()
        body = request.body
        head = (
            f"{request.method} {request.path} HTTP/1.1\r\nHost: gateway\r\nX-Nonce: {request.nonce}"
            f"\r\nX-Request-Timeout: {wait:g}\r\n"
        )
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        writer.write(f"{head}{length}\r\n".encode() + body)
        await writer.drain()
        return reader

    def leave(self) -> None:
        """Close the connection at once, whatever is under way on it."""
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None

    async def surplus(self) -> bytes:
        """End the connection in an orderly way; what came on it that was not asked for."""
        if self._reader is None or self._writer is None:
            return b""
        with suppress(OSError):
            self._writer.write_eof()
            async with asyncio.timeout(GRACE):
                return await self._reader.read()
        return b""

    async def _exchange(self, request: Request, wait: float) -> Answer:
        reader = await self.send(request, wait)
        answer = await read_answer(reader)
        if answer.headers.get("connection") == "close":
            self.leave()
        return answer

    async def _connected(self) -> tuple[StreamReader, StreamWriter]:
        if self._reader is not None and self._writer is not None:
            if not self._reader.at_eof() and not self._writer.transport.is_closing():
                return self._reader, self._writer
            self.leave()
        while True:
            address = urlsplit(self._choose())
            try:
                opened = await asyncio.open_connection(address.hostname, address.port)
            except ConnectionRefusedError:
                await asyncio.sleep(_REFUSED_AGAIN)
                continue
            self._reader, self._writer = opened
            return opened


async def read_answer(reader: StreamReader) -> Answer:
    """One response with a length, as all of the gateway's have."""
    status_line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
    pairs = (line.split(": ", 1) for line in lines)
    headers = {name.lower(): value for name, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Answer(int(status_line.split(" ")[1]), headers, body)


class Crowd:
    """As many clients as there are requests at a time.

    They are used again and again, so that an answer that comes twice would be taken for the next
    one; leaving fails if one came that nobody asked for.
    """

    def __init__(self, *urls: str) -> None:
        self._urls: Sequence[str] = urls
        self._turn = 0
        self._idle: list[Client] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, exc_type: type[BaseException] | None, *exc_info: object) -> None:
        surplus = await asyncio.gather(*(client.surplus() for client in self._idle))
        for client in self._idle:
            client.leave()
        if exc_type is None:
            assert not any(surplus), "answers that nobody asked for"

    async def ask(self, requests: Sequence[Request], wait: float) -> list[Result]:
        """All at once, each with a deadline of ``wait`` seconds."""
        return await asyncio.gather(*(self._ask(request, wait) for request in requests))

    async def _ask(self, request: Request, wait: float) -> Result:
        client = self._idle.pop() if self._idle else Client(self._next_url)
        result = await client.ask(request, wait)
        self._idle.append(client)
        return result

    def _next_url(self) -> str:
        self._turn += 1
        return self._urls[self._turn % len(self._urls)]
