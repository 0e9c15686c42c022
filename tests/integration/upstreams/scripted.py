"""An upstream on a real socket that does exactly what a test tells it, byte for byte."""

import asyncio
import socket
import ssl
import struct
from asyncio import StreamReader, StreamWriter, Task
from collections.abc import Awaitable, Callable
from typing import Self, cast

from dispatcher.upstream import Address

PATIENCE = 20.0  # seconds until a test that hangs is a test that failed


class Wire:
    """One accepted connection, in the hands of a script."""

    def __init__(self, reader: StreamReader, writer: StreamWriter, number: int) -> None:
        self.number = number  # 1 for the first connection
        self.requests = 0
        self._reader = reader
        self._writer = writer

    async def request(self) -> bytes:
        """One whole request: header block and the body that its Content-Length tells."""
        head = await self.request_head()
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return head + await self._reader.readexactly(length)

    async def request_head(self) -> bytes:
        """The header block only; what follows stays unread."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        self.requests += 1
        return head

    async def send(self, data: bytes) -> None:
        """Write, and wait until it has left this process.

        Raises ConnectionError when the client has closed, where uvloop raises RuntimeError.
        """
        if self._writer.is_closing():
            raise ConnectionResetError
        self._writer.write(data)
        await self._writer.drain()

    async def answer(self, data: bytes) -> bytes:
        """Read one request, send the bytes; gives the request."""
        request = await self.request()
        await self.send(data)
        return request

    def shut(self) -> None:
        """FIN: nothing more will be sent, reading goes on."""
        self._writer.write_eof()

    def close(self) -> None:
        """Close in an orderly way."""
        self._writer.close()

    def reset(self) -> None:
        """RST: the way a crashed process closes."""
        sock = cast(socket.socket, self._writer.get_extra_info("socket"))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def gone(self) -> None:
        """Return once the other side has closed the connection."""
        try:
            while await self._reader.read(65_536):
                pass
        except ConnectionError:
            pass


Script = Callable[[Wire], Awaitable[None]]


class ScriptedUpstream:
    """Listens on a free port and runs the script on each connection, closed when the script ends.

    An error of a script is raised on leaving, so that an assertion within one counts.
    """

    def __init__(self, script: Script, *, tls: ssl.SSLContext | None = None) -> None:
        self.accepted = 0
        self.first_accepted = asyncio.Event()
        self._script = script
        self._tls = tls
        self._tasks: set[Task[None]] = set()
        self._errors: list[BaseException] = []
        self._wires: list[Wire] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", 0, ssl=self._tls, limit=2**20
        )
        return self

    async def __aexit__(self, exc_type: type[BaseException] | None, *exc_info: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        if exc_type is None and self._errors:
            raise self._errors[0]

    @property
    def requests(self) -> int:
        """How many have come, on all connections."""
        return sum(wire.requests for wire in self._wires)

    @property
    def address(self) -> Address:
        """Where it listens."""
        port = self._server.sockets[0].getsockname()[1]
        scheme = "http" if self._tls is None else "https"
        return Address(scheme, "localhost" if self._tls else "127.0.0.1", port)

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = cast(Task[None], asyncio.current_task())
        self._tasks.add(task)
        self.accepted += 1
        self.first_accepted.set()
        wire = Wire(reader, writer, self.accepted)
        self._wires.append(wire)
        try:
            await self._script(wire)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client has closed, or the test is over
        except Exception as error:
            self._errors.append(error)
        finally:
            self._tasks.discard(task)
            writer.close()


def always(data: bytes) -> Script:
    """Answer every request with the same bytes, on connections that are kept."""

    async def script(wire: Wire) -> None:
        while True:
            await wire.answer(data)

    return script


def once(data: bytes) -> Script:
    """Answer one request with the bytes and close the connection."""

    async def script(wire: Wire) -> None:
        await wire.answer(data)

    return script


def pieces(*data: bytes) -> Script:
    """Answer each request in pieces that arrive one by one, on a connection that is kept."""

    async def script(wire: Wire) -> None:
        while True:
            await wire.request()
            for piece in data:
                await wire.send(piece)
                await asyncio.sleep(0.001)

    return script
