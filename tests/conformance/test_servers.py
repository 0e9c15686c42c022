"""The servers that the other tests rely on."""

from collections.abc import Callable
from urllib.parse import urlsplit

import aio_pika
import redis.asyncio

from tests.servers import RabbitMQNode, RedisServer


async def _depth(url: str, queue: str) -> int:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        declared = await channel.declare_queue(queue, durable=True)
        return declared.declaration_result.message_count or 0


async def _store(url: str, queue: str) -> None:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await channel.declare_queue(queue, durable=True)
        message = aio_pika.Message(b"x", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, routing_key=queue)


async def test_a_killed_node_comes_back_on_its_port_with_its_queues(
    private_rabbitmq: Callable[[], RabbitMQNode],
) -> None:
    """A node that was killed and started again has its address and its durable messages."""
    node = private_rabbitmq()
    await _store(node.url, "kept")
    node.restart()
    assert await _depth(node.url, "kept") == 1


async def test_each_virtual_host_is_a_world_of_its_own(shared_rabbitmq: RabbitMQNode) -> None:
    """What one test puts into its virtual host is not seen in another's."""
    one, other = shared_rabbitmq.virtual_host(), shared_rabbitmq.virtual_host()
    await _store(one, "mine")
    assert await _depth(one, "mine") == 1
    assert await _depth(other, "mine") == 0
    assert urlsplit(one).port == urlsplit(other).port


async def test_a_killed_redis_comes_back_on_its_port(
    private_redis: Callable[[], RedisServer],
) -> None:
    """A Redis that was killed and started again answers at its address."""
    server = private_redis()
    server.restart()
    async with redis.asyncio.from_url(server.url) as client:
        assert await client.ping()


async def test_the_shared_redis_answers(redis_url: str) -> None:
    """The Redis of the whole run is there."""
    async with redis.asyncio.from_url(redis_url) as client:
        assert await client.ping()
