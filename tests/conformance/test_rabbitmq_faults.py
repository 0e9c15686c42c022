"""What only a broker outside the process can do: break, block, lose a queue, carry nonsense."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import aio_pika
import pytest
import pytest_asyncio

from broker.contract import Broker, ConnectionState, Delivery, Published
from broker.events import Event, StateWanted
from broker.messages import Reply, encode
from broker.topology import (
    DEAD_LETTER_QUEUE,
    EVENT_EXCHANGE,
    RequestQueue,
    leader_queue,
    reply_queue,
)
from tests.conformance.carriers import WITHIN, Events, Inbox, RabbitMQCarrier, envelope, published
from tests.servers import RabbitMQNode, find_rabbitmq


@pytest.fixture(scope="module")
def node_of_module() -> Iterator[RabbitMQNode]:
    """A node of these tests alone."""
    node = find_rabbitmq()
    try:
        node.start()
        yield node
    finally:
        node.stop()


@pytest.fixture
def server(node_of_module: RabbitMQNode) -> RabbitMQNode:
    """The node, alive at the start of each test, however the one before ended."""
    if not node_of_module.alive:
        node_of_module.start()
    return node_of_module


@pytest.fixture(params=["lane", "plain"])
def carrier(request: pytest.FixtureRequest, server: RabbitMQNode) -> RabbitMQCarrier:
    """Both RabbitMQ carriers in turn, on a virtual host of their own."""
    return RabbitMQCarrier(server.virtual_host(), lane=request.param == "lane")


class Desk:
    """A broker with a queue, its consumer and a reply queue: what a reconnect has to restore."""

    def __init__(self, broker: Broker, queue: RequestQueue, events: Events) -> None:
        self.broker = broker
        self.queue = queue
        self.events = events
        self.deliveries: Inbox[Delivery] = Inbox()
        self.replies: Inbox[Reply] = Inbox()

    async def subscribe(self) -> None:
        """Take messages and replies."""
        await self.broker.declare([self.queue])
        await self.broker.consume(self.queue, 5, self.deliveries)
        await self.broker.receive_replies("desk", self.replies)

    async def restored(self) -> None:
        """Return when the connection was lost and stands again."""
        await self.events.reconnections.next()
        await asyncio.wait_for(self.broker.connected(), WITHIN)

    async def works(self) -> None:
        """Fail unless a request goes out, and its reply comes home."""
        message = envelope(self.queue.service, reply_to=reply_queue("desk"))
        assert await published(self.broker, message) is Published.ACCEPTED
        delivery = await self.deliveries.next()
        assert delivery.envelope == message
        self.broker.reply(message.reply_to, Reply(id=message.id), message.deadline)
        delivery.ack()
        assert (await self.replies.next()).id == message.id


@pytest_asyncio.fixture
async def desk(carrier: RabbitMQCarrier, service: str) -> AsyncIterator[Desk]:
    """A desk that works."""
    events = Events()
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(carrier.broker(events, publish_timeout=1.0))
        await asyncio.wait_for(broker.connected(), WITHIN)
        desk = Desk(broker, RequestQueue(service, "FREE", limit=100), events)
        await desk.subscribe()
        await desk.works()
        yield desk


async def _ctl(server: RabbitMQNode, *arguments: str) -> None:
    await asyncio.to_thread(server.ctl, *arguments)


async def _until(outcome: Published, desk: Desk) -> None:
    """Publish again and again until it ends so: only trying shows what the broker does."""
    message = envelope(desk.queue.service)
    async with asyncio.timeout(WITHIN):
        while await published(desk.broker, message) is not outcome:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_a_closed_connection_is_replaced(server: RabbitMQNode, desk: Desk) -> None:
    """When the broker closes the connection, consumers and reply queue are there again."""
    await _ctl(server, "close_all_connections", "--global", "shown the door")
    await desk.restored()
    await desk.works()


async def test_unsettled_deliveries_come_again_after_a_reconnect(
    server: RabbitMQNode, desk: Desk
) -> None:
    """What was unsettled when the connection ended is redelivered; the old handle does nothing."""
    message = envelope(desk.queue.service)
    await published(desk.broker, message)
    orphan = await desk.deliveries.next()
    await _ctl(server, "close_all_connections", "--global", "shown the door")
    await desk.restored()
    again = await desk.deliveries.next()
    assert again.envelope == message
    assert again.redelivered
    orphan.retry()
    again.ack()
    await desk.works()


async def test_a_reply_waits_for_its_node_to_reconnect(carrier: RabbitMQCarrier) -> None:
    """A reply that is sent while its ingress is away is there when it returns."""
    async with carrier.broker() as dispatcher:
        await dispatcher.connected()
        async with carrier.broker() as ingress:
            await ingress.connected()
            await ingress.receive_replies("away", Inbox[Reply]())
        dispatcher.reply(reply_queue("away"), Reply(id="kept"), time.time() + 60)
        replies: Inbox[Reply] = Inbox()
        async with carrier.broker() as ingress:
            await ingress.receive_replies("away", replies)
            assert (await replies.next()).id == "kept"


async def test_a_deleted_queue_is_declared_again(carrier: RabbitMQCarrier, desk: Desk) -> None:
    """When somebody deletes the queue, it is declared and consumed again."""
    async with await aio_pika.connect(carrier.url) as connection:
        channel = await connection.channel()
        await channel.queue_delete(desk.queue.name)
    await _until(Published.ACCEPTED, desk)
    (await desk.deliveries.next()).ack()
    await desk.works()


async def test_events_are_heard_again_after_a_reconnect(server: RabbitMQNode, desk: Desk) -> None:
    """Who subscribed is subscribed on the next connection too, and can ask as soon as it stands."""
    heard: Inbox[Event] = Inbox()
    await desk.broker.subscribe([StateWanted], heard)

    def ask(state: ConnectionState) -> None:
        if state is ConnectionState.CONNECTED:
            desk.broker.publish_event(StateWanted(kind="health"))

    desk.broker.watch(ask)
    await _ctl(server, "close_all_connections", "--global", "shown the door")
    assert await heard.next() == StateWanted(kind="health")
    await desk.works()


async def test_a_leader_leads_again_after_a_reconnect(
    carrier: RabbitMQCarrier, server: RabbitMQNode, desk: Desk
) -> None:
    """Who loses its connection leads no more, and somebody leads as soon as connections stand."""
    told: Inbox[bool] = Inbox()
    await desk.broker.lead("chores", told)
    assert await told.next()
    await _ctl(server, "close_all_connections", "--global", "shown the door")
    assert not await told.next()
    assert await told.next()
    async with await aio_pika.connect(carrier.url) as connection:
        channel = await connection.channel()
        await channel.queue_delete(leader_queue("chores"))
    assert not await told.next()
    assert await told.next()
    assert desk.events.reconnections.waiting == 1


async def test_events_that_cannot_be_read_are_dropped(carrier: RabbitMQCarrier, desk: Desk) -> None:
    """Neither nonsense nor a subscriber that fails keeps the next event from its subscribers."""
    heard: Inbox[Event] = Inbox()
    reported: Inbox[dict[str, Any]] = Inbox()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported(context))

    def fail(event: Event) -> None:
        raise RuntimeError("a subscriber's fault")

    await desk.broker.subscribe([StateWanted], fail)
    await desk.broker.subscribe([StateWanted], heard)
    async with await aio_pika.connect(carrier.url) as connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange(EVENT_EXCHANGE)
        await exchange.publish(aio_pika.Message(b"\xc1nonsense"), routing_key="wanted.health")
    desk.broker.publish_event(StateWanted(kind="breaker"))
    assert await heard.next() == StateWanted(kind="breaker")
    assert str((await reported.next())["exception"]) == "a subscriber's fault"
    await desk.works()


async def test_an_event_without_its_exchange_is_lost_alone(
    carrier: RabbitMQCarrier, desk: Desk
) -> None:
    """When somebody deletes the exchange of events, requests go on as before."""
    async with await aio_pika.connect(carrier.url) as connection:
        channel = await connection.channel()
        await channel.exchange_delete(EVENT_EXCHANGE)
    desk.broker.publish_event(StateWanted(kind="health"))
    await desk.works()
    assert desk.events.reconnections.waiting == 0


async def test_undecodable_bytes_are_dead_lettered(carrier: RabbitMQCarrier, desk: Desk) -> None:
    """Bytes that are no envelope go to the dead-letter queue with the reason, and block nobody."""
    async with await aio_pika.connect(carrier.url) as connection:
        channel = await connection.channel()
        await channel.default_exchange.publish(
            aio_pika.Message(b"\xc1nonsense"), routing_key=desk.queue.name
        )
    queue, reason = await desk.events.dead_letters.next()
    assert queue == desk.queue.name
    assert reason.startswith("not an envelope")
    assert await carrier.dead_letter(reason) == b"\xc1nonsense"
    await desk.works()


async def test_dead_letters_survive_a_restart(
    carrier: RabbitMQCarrier, server: RabbitMQNode, desk: Desk
) -> None:
    """The dead-letter queue is durable, and so is what is in it."""
    message = envelope(desk.queue.service)
    await published(desk.broker, message)
    (await desk.deliveries.next()).dead_letter("poison")
    await _dead_letters_are(1, carrier)
    await asyncio.to_thread(server.restart)
    await desk.restored()
    assert await carrier.dead_letter("poison") == encode(message)
    await desk.works()


async def _dead_letters_are(number: int, carrier: RabbitMQCarrier) -> None:
    async with asyncio.timeout(WITHIN), await aio_pika.connect(carrier.url) as connection:
        channel = await connection.channel()
        while True:
            queue: Any = await channel.declare_queue(DEAD_LETTER_QUEUE, passive=True)
            if queue.declaration_result.message_count == number:
                return
            await asyncio.sleep(0.05)


async def test_a_killed_broker_is_told_and_survived(server: RabbitMQNode, desk: Desk) -> None:
    """While the broker is dead publishing is refused at once; after its return all works again."""
    states: Inbox[ConnectionState] = Inbox()
    desk.broker.watch(states)
    server.kill()
    assert await states.next() is ConnectionState.DISCONNECTED
    message = envelope(desk.queue.service)
    assert await published(desk.broker, message) is Published.UNAVAILABLE
    desk.broker.reply(reply_queue("desk"), Reply(id="lost"), time.time() + 60)
    assert await desk.events.dropped_replies.next() == (reply_queue("desk"), "lost")
    await asyncio.to_thread(server.start)
    await desk.restored()
    assert await states.next() is ConnectionState.CONNECTED
    await desk.works()


async def test_publishes_in_flight_at_the_death_all_end(server: RabbitMQNode, desk: Desk) -> None:
    """Each of many publishes that the death of the broker interrupts ends exactly once."""
    outcomes: Inbox[Published] = Inbox()
    for _ in range(1000):
        desk.broker.publish(envelope(desk.queue.service, body=b"x" * 1024), outcomes)
    server.kill()
    ended = await outcomes.take(1000)
    assert Published.UNROUTABLE not in ended
    assert Published.LOST in ended
    await asyncio.to_thread(server.start)
    await desk.restored()
    assert outcomes.waiting == 0


async def test_a_broker_that_is_away_at_the_start_is_waited_for(
    carrier: RabbitMQCarrier, server: RabbitMQNode, service: str
) -> None:
    """Entering does not need the broker; what was asked for meanwhile stands once it is there."""
    server.kill()
    events = Events()
    async with carrier.broker(events) as broker:
        assert broker.state is ConnectionState.DISCONNECTED
        desk = Desk(broker, RequestQueue(service, "FREE", limit=10), events)
        await desk.subscribe()
        assert await published(broker, envelope(service)) is Published.UNAVAILABLE
        await asyncio.to_thread(server.start)
        await asyncio.wait_for(broker.connected(), WITHIN)
        await desk.works()


async def test_a_blocked_connection_refuses_and_recovers(server: RabbitMQNode, desk: Desk) -> None:
    """Under the broker's memory alarm publishing ends in time, and works once it is over."""
    await _ctl(server, "set_vm_memory_high_watermark", "0.0000001")
    try:
        await _until(Published.UNAVAILABLE, desk)
        assert desk.broker.state is ConnectionState.BLOCKED
    finally:
        await _ctl(server, "set_vm_memory_high_watermark", "0.4")
    await asyncio.wait_for(desk.broker.connected(), WITHIN)
    await _until(Published.ACCEPTED, desk)
