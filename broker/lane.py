"""The hot lane: publish, deliver, ack, confirm and return of one channel, by hand.

What costs most in a queue is the client library. So the frames that every message needs are built
and read here, as bytes, on a channel that aio-pika has opened; what is rare stays with aio-pika.
Frames as in AMQP 0-9-1, sections 4.2.3 to 4.2.6, and RabbitMQ's confirms and nacks.
"""

from collections.abc import Callable
from struct import Struct
from typing import Protocol

from broker.contract import OnPublished, Published

FRAME_METHOD, FRAME_HEADER, FRAME_BODY = 1, 2, 3
FRAME_END = 0xCE
FRAME_OVERHEAD = 8  # kind, channel, size, end mark

DELIVER, RETURN, ACK, NACK = (
    bytes((0, 60, 0, method)) for method in (60, 50, 80, 120)
)  # class Basic
_CONTENT_METHODS, _CONFIRM_METHODS = (DELIVER, RETURN), (ACK, NACK)

_END = bytes((FRAME_END,))
_FRAME = Struct(">BHI")
_SETTLE = Struct(">BHI4sQBB")  # a whole ack or nack frame
_TAG = Struct(">Q")
_TAG_AND_FLAG = Struct(">QB")
_CONTENT = Struct(">BHIHHQH")  # a content header frame up to and with the property flags
_CONTENT_OVERHEAD = 14  # of the header frame's payload: class, weight, body size, flags
_BASIC = 60
_PROPERTIES = 0x0500  # correlation-id and expiration, in this order

OnMessage = Callable[[int, bool, bytes], None]  # delivery tag, redelivered, body
OnReturn = Callable[[str, str], None]  # routing key, correlation id


class FrameWriter(Protocol):
    """The connection, as a lane sees it."""

    frame_max: int

    def send(self, *frames: bytes) -> None:
        """Whole frames, to leave at the end of this turn of the loop, in the order of the calls."""

    def time(self) -> float:
        """Now, on the loop's clock."""


class Lane:
    """The content of one channel: messages out and in, settlements, confirms and returns.

    On a channel in confirm mode publishes are numbered from 1 in their order; the broker's word on
    each number, or on all up to one, decides how it ended.
    """

    def __init__(self, connection: FrameWriter, channel: int) -> None:
        self.on_return: OnReturn = lambda key, correlation_id: None
        self._connection = connection
        self._channel = channel
        self._time = connection.time
        self._consumers: dict[bytes, OnMessage] = {}
        self._published = 0
        self._confirmed = 0  # the broker has spoken of every number up to this one
        self._unconfirmed: dict[int, tuple[OnPublished, bytes, float]] = {}
        self._returned: set[bytes] = set()  # by correlation id, until their confirm comes
        self._method = b""  # of the content that is arriving, as its method frame's payload
        self._header = b""
        self._missing = 0  # bytes of its body that are still to come
        self._parts: list[bytes] = []

    # --- out ------------------------------------------------------------------------------------

    def publish(
        self,
        address: bytes,
        correlation_id: bytes,
        expiration: bytes,
        body: bytes,
        on_published: OnPublished | None = None,
    ) -> None:
        """Send a message to an address made by ``publish_address``; transient and mandatory.

        ``expiration`` is its time to live in milliseconds, in ASCII digits; ``correlation_id`` has
        at most 255 bytes. ``on_published`` belongs to channels in confirm mode, and there to every
        message; it is called once, by the broker's word, or by ``expire``.
        """
        channel, length = self._channel, len(body)
        properties = b"%c%b%c%b\xce" % (
            len(correlation_id),
            correlation_id,
            len(expiration),
            expiration,
        )
        header = _CONTENT.pack(
            FRAME_HEADER,
            channel,
            _CONTENT_OVERHEAD + len(properties) - 1,
            _BASIC,
            0,
            length,
            _PROPERTIES,
        )
        room = self._connection.frame_max - FRAME_OVERHEAD
        if length <= room:
            frames = _FRAME.pack(FRAME_BODY, channel, length) + body + _END if length else b""
        else:
            frames = b"".join(
                _FRAME.pack(FRAME_BODY, channel, len(part)) + part + _END
                for part in (body[start : start + room] for start in range(0, length, room))
            )
        self._connection.send(address, header, properties, frames)
        if on_published is not None:
            self._published += 1
            self._unconfirmed[self._published] = (on_published, correlation_id, self._time())

    def publish_address(self, exchange: str, routing_key: str) -> bytes:
        """The method frame of every publish to this exchange and key: made once, used often."""
        payload = b"\0\x3c\0\x28\0\0%b%b\x01" % (_short(exchange), _short(routing_key))
        return _FRAME.pack(FRAME_METHOD, self._channel, len(payload)) + payload + _END

    def ack(self, tag: int) -> None:
        """The broker may forget this delivery."""
        self._connection.send(_SETTLE.pack(FRAME_METHOD, self._channel, 13, ACK, tag, 0, FRAME_END))

    def requeue(self, tag: int) -> None:
        """The broker puts this delivery back to the front of its queue."""
        self._connection.send(
            _SETTLE.pack(FRAME_METHOD, self._channel, 13, NACK, tag, 2, FRAME_END)
        )

    def expire(self, sent_before: float = float("inf")) -> bool:
        """Give up on confirms of messages sent before a time of the loop's clock: they are LOST.

        Returns whether there were any.
        """
        late = []
        for number, (_, _, sent_at) in self._unconfirmed.items():
            if sent_at >= sent_before:
                break
            late.append(number)
        for number in late:
            on_published, correlation_id, _ = self._unconfirmed.pop(number)
            self._returned.discard(correlation_id)
            on_published(Published.LOST)
        return bool(late)

    # --- in -------------------------------------------------------------------------------------

    def subscribe(self, consumer_tag: str, on_message: OnMessage) -> None:
        """Before basic.consume with this tag goes out: deliveries may follow its answer at once."""
        self._consumers[consumer_tag.encode()] = on_message

    def unsubscribe(self, consumer_tag: str) -> None:
        """After basic.cancel was answered."""
        self._consumers.pop(consumer_tag.encode(), None)

    def take(self, kind: int, data: bytes, start: int, end: int) -> bool:
        """One frame of this channel, its payload from start to end; False: it is aiormq's."""
        if kind == FRAME_METHOD:
            method = data[start : start + 4]
            if method in _CONTENT_METHODS:
                self._method = data[start:end]
            elif method in _CONFIRM_METHODS:
                tag, flags = _TAG_AND_FLAG.unpack_from(data, start + 4)
                self._confirm(tag, flags & 1, method == ACK)
            else:
                return False
            return True
        if not self._method:
            return False
        if kind == FRAME_HEADER:
            (self._missing,) = _TAG.unpack_from(data, start + 4)
            self._header = data[start:end]
            if not self._missing:
                self._complete(b"")
        else:
            self._body(data[start:end])
        return True

    def _body(self, part: bytes) -> None:
        self._missing -= len(part)
        if self._missing:
            self._parts.append(part)
        elif self._parts:
            self._parts.append(part)
            body = b"".join(self._parts)
            self._parts.clear()
            self._complete(body)
        else:
            self._complete(part)

    def _complete(self, body: bytes) -> None:
        method, self._method = self._method, b""
        if method.startswith(DELIVER):
            after_consumer = 5 + method[4]
            tag, redelivered = _TAG_AND_FLAG.unpack_from(method, after_consumer)
            on_message = self._consumers.get(method[5:after_consumer])
            if on_message is not None:
                on_message(tag, bool(redelivered), body)
        else:
            self._return(method)

    def _return(self, method: bytes) -> None:
        """A message that no queue took: reply code, reply text, exchange, routing key."""
        exchange = 7 + method[6]
        key = exchange + 1 + method[exchange]
        correlation_id = self._header[_CONTENT_OVERHEAD + 1 :][: self._header[_CONTENT_OVERHEAD]]
        if self._unconfirmed:
            self._returned.add(correlation_id)
        self.on_return(method[key + 1 :][: method[key]].decode(), correlation_id.decode())

    def _confirm(self, tag: int, multiple: int, acked: bool) -> None:
        if not multiple:
            self._settle(tag, acked)
            return
        for number in range(self._confirmed + 1, tag + 1):
            self._settle(number, acked)
        self._confirmed = max(self._confirmed, tag)

    def _settle(self, number: int, acked: bool) -> None:
        waiting = self._unconfirmed.pop(number, None)
        if waiting is None:
            return
        on_published, correlation_id, _ = waiting
        if not acked:
            on_published(Published.QUEUE_FULL)
        elif correlation_id in self._returned:
            self._returned.discard(correlation_id)
            on_published(Published.UNROUTABLE)
        else:
            on_published(Published.ACCEPTED)


def _short(text: str) -> bytes:
    """A short string of the protocol: one byte of length, then the bytes. Raises ValueError."""
    data = text.encode()
    if len(data) > 255:
        raise ValueError(f"{text[:40]}... has {len(data)} bytes; AMQP allows names of 255")
    return b"%c%b" % (len(data), data)
