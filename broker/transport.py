"""One connection to the broker, shared by lanes and aio-pika.

The byte stream is split by channel: content frames of a lane's channel go to the lane, everything
else to the StreamReader that aiormq reads. What leaves is collected for one turn of the event loop
and goes out in one write.
"""

import asyncio
from collections.abc import Callable
from struct import Struct
from typing import Any, cast

import aiormq.connection
from aiormq.connection import SSLContextProvider
from yarl import URL

from broker.lane import FRAME_END, FRAME_OVERHEAD, Lane

FRAME_MAX = 131_072  # until the connection is tuned; what RabbitMQ proposes
# Bytes that wait for the socket, beside what large messages may take of it, before publishing is
# refused: what is large must not have all others refused while it leaves.
WRITE_LIMIT = 4 * 1024**2

BLOCKED, UNBLOCKED = bytes((0, 10, 0, 60)), bytes((0, 10, 0, 61))  # class Connection
_HEARTBEAT = bytes((8, 0, 0, 0, 0, 0, 0, FRAME_END))
_FRAME = Struct(">BHI")


class FrameError(ConnectionError):
    """The broker sent what is no frame: the connection can't be trusted any more."""


class LaneProtocol(asyncio.StreamReaderProtocol):
    """Splits a connection's frames between its lanes and aiormq's reader; writes for the lanes."""

    def __init__(self, reader: asyncio.StreamReader, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(reader, loop=loop)
        self.frame_max = FRAME_MAX
        self.blocked = False
        self.writable = True
        self.lost: asyncio.Future[None] = loop.create_future()
        self.on_blocked: Callable[[bool], None] = lambda blocked: None
        self._reader = reader
        self._loop = loop
        self._lanes: dict[int, Lane] = {}
        self._tail = b""
        self._out: list[bytes] = []
        self._wire: asyncio.Transport | None = None
        self._last_fed = 0.0
        self.heard_at = loop.time()  # when the broker last sent anything at all

    def open_lane(self, channel: int) -> Lane:
        """Take over the content of a channel that aiormq has opened."""
        lane = self._lanes[channel] = Lane(self, channel)
        return lane

    def close_lane(self, channel: int) -> None:
        """Leave the channel to aiormq again."""
        self._lanes.pop(channel, None)

    def time(self) -> float:
        """Now, on the loop's clock."""
        return self._loop.time()

    # --- reading --------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Split what arrived; a frame that is not whole yet waits for its rest."""
        self.heard_at = self.time()
        if self._tail:
            data = self._tail + data
        try:
            taken = self._split(data)
        except FrameError:
            self.abort()
            return
        self._tail = data[taken:]

    def _split(self, data: bytes) -> int:
        """Hand out every whole frame; returns the number of bytes taken."""
        lanes, position, foreign, size = self._lanes, 0, 0, len(data)
        while size - position >= FRAME_OVERHEAD:
            kind, channel, length = _FRAME.unpack_from(data, position)
            if length > self.frame_max:
                if data.startswith(b"AMQP"):  # the broker names the version it wants: aiormq knows
                    self._reader.feed_data(data)
                    return size
                raise FrameError(f"a frame of {length} bytes; agreed were {self.frame_max}")
            end = position + 7 + length
            if end >= size:
                break
            if data[end] != FRAME_END:
                raise FrameError("a frame without its end mark")
            lane = lanes.get(channel)
            if lane is not None and lane.take(kind, data, position + 7, end):
                if foreign < position:
                    self._feed(data[foreign:position])
                foreign = end + 1
            elif channel == 0 and length >= 4:
                self._notice(data[position + 7 : position + 11])
            position = end + 1
        if foreign < position:
            self._feed(data[foreign:position])
        elif position:
            self._keep_alive()
        return position

    def _feed(self, frames: bytes) -> None:
        self._last_fed = self.time()
        self._reader.feed_data(frames)

    def _keep_alive(self) -> None:
        """Show aiormq a heartbeat now and then while all traffic is the lanes'.

        The broker sends heartbeats only on idle connections, and aiormq, which sees none of the
        lanes' frames, would take a busy connection for a dead one.
        """
        if self.time() - self._last_fed > 1.0:
            self._feed(_HEARTBEAT)

    def _notice(self, method: bytes) -> None:
        if method in (BLOCKED, UNBLOCKED):
            self.blocked = method == BLOCKED
            self.on_blocked(self.blocked)

    # --- writing --------------------------------------------------------------------------------

    def send(self, *frames: bytes) -> None:
        """Whole frames, to leave at the end of this turn of the loop, in the order of the calls."""
        if not self._out:
            self._loop.call_soon(self.flush)
        self._out.extend(frames)

    def flush(self) -> None:
        """Write out what was collected."""
        out, self._out = self._out, []
        if out and self._wire is not None and not self._wire.is_closing():
            self._wire.write(b"".join(out))

    def allow_large(self, size: int) -> None:
        """So many bytes of large messages may wait for the socket, beside all others."""
        if self._wire is not None:
            self._wire.set_write_buffer_limits(high=WRITE_LIMIT + size)

    def abort(self) -> None:
        """Drop the connection at once."""
        if self._wire is not None:
            self._wire.abort()

    # --- the connection's life ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Bound what may wait for the socket."""
        super().connection_made(transport)
        self._wire = cast(asyncio.Transport, transport)
        self.allow_large(0)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell aiormq's reader, and whoever waits for ``lost``."""
        self._wire = None
        self._out.clear()
        self._tail = b""
        super().connection_lost(exc)
        if not self.lost.done():
            self.lost.set_result(None)

    def pause_writing(self) -> None:
        """The socket takes no more: the lanes refuse to publish until it does."""
        self.writable = False
        super().pause_writing()

    def resume_writing(self) -> None:
        """The socket takes bytes again."""
        self.writable = True
        super().resume_writing()


class LaneTransportFactory(aiormq.connection.TransportFactory):
    """Gives aiormq a reader and a writer whose connection can carry lanes. For one connection."""

    protocol: LaneProtocol

    async def create(
        self, url: URL, **kwargs: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect, with TLS for ``amqps``. Raises AMQPConnectionError."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        self.protocol = LaneProtocol(reader, loop)
        provider: SSLContextProvider = kwargs["ssl_context_provider"]
        tls = await provider.get_context() if url.scheme == "amqps" else None
        try:
            transport, _ = await loop.create_connection(
                lambda: self.protocol, url.host or "localhost", url.port or 5672, ssl=tls
            )
        except OSError as error:
            raise aiormq.exceptions.AMQPConnectionError(*error.args) from error
        return reader, asyncio.StreamWriter(transport, self.protocol, reader, loop)
