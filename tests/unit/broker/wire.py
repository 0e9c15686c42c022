"""Frames made by pamqp, a transport that records, and a lane between them."""

import asyncio

import pamqp.frame
from pamqp import body, commands, header
from pamqp.base import Frame
from pamqp.heartbeat import Heartbeat

from broker.lane import Lane
from broker.transport import LaneProtocol

LANE, OTHER = 7, 3  # channel numbers


class RecordingTransport(asyncio.Transport):
    """Keeps what is written, and whether the connection was dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


class Wire:
    """A connection whose broker is the test."""

    def __init__(self) -> None:
        self.reader = asyncio.StreamReader()
        self.now = 0.0
        self.protocol = LaneProtocol(self.reader, asyncio.get_running_loop())
        self.protocol.time = lambda: self.now  # type: ignore[method-assign]  # time stands still
        self.transport = RecordingTransport()
        self.protocol.connection_made(self.transport)
        self.lane: Lane = self.protocol.open_lane(LANE)

    def receive(self, *frames: bytes) -> None:
        """The broker sends these, in one read."""
        self.protocol.data_received(b"".join(frames))

    def sent(self) -> bytes:
        """All that has left so far."""
        self.protocol.flush()
        return b"".join(self.transport.writes)

    def seen_by_aiormq(self) -> bytes:
        """All that went to aiormq's reader."""
        return bytes(self.reader._buffer)  # type: ignore[attr-defined]  # asyncio's own


def method(frame: Frame | Heartbeat, channel: int = LANE) -> bytes:
    """One method frame."""
    return pamqp.frame.marshal(frame, channel)


def content(
    opening: Frame,
    data: bytes,
    *,
    properties: commands.Basic.Properties | None = None,
    channel: int = LANE,
    part: int = 131_064,
) -> list[bytes]:
    """A method with its content header and body, as frames with at most ``part`` bytes of body."""
    head = header.ContentHeader(0, len(data), properties or commands.Basic.Properties())
    pieces = [data[start : start + part] for start in range(0, len(data), part)]
    frames: list[Frame | header.ContentHeader | body.ContentBody] = [opening, head]
    frames += (body.ContentBody(piece) for piece in pieces)
    return [pamqp.frame.marshal(frame, channel) for frame in frames]


def deliver(data: bytes, tag: int = 1, *, redelivered: bool = False, part: int = 131_064) -> bytes:
    """A delivery to the consumer ``consumer``."""
    opening = commands.Basic.Deliver("consumer", tag, redelivered, "exchange", "routing.key")
    return b"".join(content(opening, data, part=part))


def returned(correlation_id: str, key: str = "svc.FREE") -> bytes:
    """A message that no queue took."""
    opening = commands.Basic.Return(312, "NO_ROUTE", "gateway.requests", key)
    properties = commands.Basic.Properties(correlation_id=correlation_id, expiration="1000")
    return b"".join(content(opening, b"body", properties=properties))
