"""Many clients at once, each with one connection and one request that waits for its answer."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

_AT_ONCE = 200  # connections being made at the same time
_CONNECT_TIMEOUT = 30.0


class _Client(asyncio.Protocol):
    """Reads the status line; what follows it is not looked at."""

    def __init__(self, request: bytes, on_status: Callable[[str], None]) -> None:
        self._request = request
        self._on_status = on_status
        self._done = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        # The first bytes of an answer on loopback hold its status line.
        self._finish(data[9:12].decode(errors="replace"))
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish("closed")

    def _finish(self, status: str) -> None:
        if not self._done:
            self._done = True
            self._on_status(status)


class Crowd:
    """Sends the same POST over ``size`` connections and counts the answers by status."""

    def __init__(self, url: str, headers: Mapping[str, str], body: bytes, size: int) -> None:
        address = urlsplit(url)
        self.statuses: Counter[str] = Counter()
        self._host, self._port = address.hostname or "", address.port or 80
        self.size = size
        self._all_answered = asyncio.Event()
        lines = [f"POST {address.path} HTTP/1.1", f"Host: {address.netloc}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"Content-Length: {len(body)}", "", ""]
        self._request = "\r\n".join(lines).encode() + body

    async def send(self) -> None:
        """Connect and send, everyone once."""
        gate = asyncio.Semaphore(_AT_ONCE)
        await asyncio.gather(*(self._connect(gate) for _ in range(self.size)))

    async def all_answered(self, timeout: float) -> None:
        """Return when everyone has an answer, or after ``timeout`` seconds."""
        try:
            await asyncio.wait_for(self._all_answered.wait(), timeout)
        except TimeoutError:
            self.statuses["none"] = self.size - self.statuses.total()

    async def _connect(self, gate: asyncio.Semaphore) -> None:
        loop = asyncio.get_running_loop()
        async with gate, asyncio.timeout(_CONNECT_TIMEOUT):
            await loop.create_connection(
                lambda: _Client(self._request, self._count), self._host, self._port
            )

    def _count(self, status: str) -> None:
        self.statuses[status] += 1
        if self.statuses.total() == self.size:
            self._all_answered.set()
