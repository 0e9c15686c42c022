"""The fast path of a link over two lanes: one for requests, one for deliveries and replies."""

from collections.abc import Callable, Coroutine
from typing import Any

from aiormq.abc import DeliveredMessage

from broker.contract import OnPublished
from broker.lane import OnMessage
from broker.link import Link

_REPLY_ADDRESSES = 1000  # ingress nodes come and go, each with a name of its own


async def _no_consumer(_: DeliveredMessage) -> None:
    """Stands for a consumer whose deliveries the lane takes before aiormq sees them."""


class LaneLink(Link):
    """Publishes and takes deliveries by the lane."""

    async def _open_channels(self) -> None:
        await super()._open_channels()
        self._publish_lane = self._protocol.open_lane(self._publishing.number)
        self._delivery_lane = self._protocol.open_lane(self._delivering.number)
        self._publish_lane.on_return = lambda key, id_: self.on_unroutable(key, id_)
        self._delivery_lane.on_return = lambda queue, id_: self.on_reply_dropped(queue, id_)
        self._addresses: dict[tuple[str, str], bytes] = {}
        self._reply_addresses: dict[str, bytes] = {}

    def _subscriber(
        self, consumer_tag: str, on_message: OnMessage
    ) -> Callable[[DeliveredMessage], Coroutine[Any, Any, None]]:
        self._delivery_lane.subscribe(consumer_tag, on_message)
        return _no_consumer

    async def cancel(self, consumer_tag: str) -> None:
        await super().cancel(consumer_tag)
        self._delivery_lane.unsubscribe(consumer_tag)

    def publish(
        self,
        exchange: str,
        routing_key: str,
        message_id: str,
        expiration_ms: int,
        body: bytes,
        on_published: OnPublished,
    ) -> None:
        address = self._addresses.get((exchange, routing_key))
        if address is None:
            address = self._publish_lane.publish_address(exchange, routing_key)
            self._addresses[exchange, routing_key] = address
        self._publish_lane.publish(
            address, message_id.encode(), b"%d" % expiration_ms, body, on_published
        )

    def reply(self, queue: str, message_id: str, expiration_ms: int, body: bytes) -> None:
        address = self._reply_addresses.get(queue)
        if address is None:
            if len(self._reply_addresses) > _REPLY_ADDRESSES:
                self._reply_addresses.clear()
            address = self._delivery_lane.publish_address("", queue)
            self._reply_addresses[queue] = address
        self._delivery_lane.publish(address, message_id.encode(), b"%d" % expiration_ms, body)

    def ack(self, tag: int) -> None:
        self._delivery_lane.ack(tag)

    def requeue(self, tag: int) -> None:
        self._delivery_lane.requeue(tag)

    def expire(self) -> bool:
        return self._publish_lane.expire(self._protocol.time() - self.publish_timeout)

    def abandon(self) -> None:
        self._publish_lane.expire()

    async def flush(self) -> None:
        self._protocol.flush()
