"""Events over a RabbitMQ link: rare, so they go by its channel for what is rare."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Coroutine
from typing import Any
from uuid import uuid4

from broker.contract import OnEvent
from broker.events import (
    Event,
    Kind,
    UndecodableEvent,
    decode_event,
    encode_event,
    kind_of,
    topic,
)
from broker.link import Link
from broker.topology import EVENT_EXCHANGE, EVENT_QUEUE_LIMIT

log = logging.getLogger(__name__)


class EventSender:
    """Sends events one at a time, so that their order is kept.

    ``current_link`` gives the link that is ready for use, or None; ``spawn`` runs a coroutine in
    the background and tells of its failure.
    """

    def __init__(
        self,
        current_link: Callable[[], Link | None],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._current_link = current_link
        self._spawn = spawn
        self._waiting: deque[Event] = deque(maxlen=EVENT_QUEUE_LIMIT)
        self._sending = False

    def send(self, event: Event) -> None:
        """Soon; never, if there is no link."""
        if self._current_link() is None:
            return
        self._waiting.append(event)
        if not self._sending:
            self._sending = True
            self._spawn(self._send())

    async def _send(self) -> None:
        try:
            while self._waiting and (link := self._current_link()) is not None:
                event = self._waiting.popleft()
                await link.publish_transient(EVENT_EXCHANGE, topic(event), encode_event(event))
        finally:
            self._waiting.clear()  # after a fault: stale once there is another link
            self._sending = False


def new_event_queue() -> str:
    """A name that no link has used: an earlier link's queue stays until the broker notices."""
    return f"{EVENT_EXCHANGE}.{uuid4().hex}"


async def declare_event_queue(link: Link, name: str, kinds: Collection[Kind]) -> None:
    """A queue of this link's own that gets the events of these kinds. Raises LinkError."""
    await link.declare_own_queue(
        name, {"x-max-length": EVENT_QUEUE_LIMIT, "x-overflow": "drop-head"}
    )
    for kind in kinds:
        await link.bind_queue(name, EVENT_EXCHANGE, f"{kind_of(kind)}.#")


def take_event(on_event: OnEvent, link: Link, tag: int, redelivered: bool, body: bytes) -> None:
    """Hand over what came; what can't be read is dropped."""
    try:
        event = decode_event(body)
    except UndecodableEvent as error:
        log.warning("dropped an event: %s", error)
        return
    # Apart from the link's own reading, which a fault of the subscriber must not break.
    asyncio.get_running_loop().call_soon(on_event, event)
