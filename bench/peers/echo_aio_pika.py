"""Request and reply over plain aio-pika, as its RPC tutorial does them.

Usage: python -m bench.peers.echo_aio_pika server AMQP_URL
       python -m bench.peers.echo_aio_pika client AMQP_URL ORDER

ORDER is JSON: {"seconds": 3, "pids": {"server": 1, ...}, "result": FILE}
"""

import asyncio
import json
import os
import sys
import uuid
from pathlib import Path

import aio_pika
import uvloop
from aio_pika.abc import AbstractIncomingMessage

from bench.meter import measure_rate, save

IN_FLIGHT = 64
BODY = os.urandom(256)
QUEUE = "bench.echo"


async def server(amqp_url: str) -> None:
    connection = await aio_pika.connect_robust(amqp_url)
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=2 * IN_FLIGHT)
    queue = await channel.declare_queue(QUEUE, durable=True)

    async def on_message(message: AbstractIncomingMessage) -> None:
        async with message.process():
            reply = aio_pika.Message(message.body, correlation_id=message.correlation_id)
            await channel.default_exchange.publish(reply, routing_key=message.reply_to or "")

    await queue.consume(on_message)
    await asyncio.Event().wait()


class Client:
    """Calls as the tutorial's client does, and counts the answers."""

    def __init__(self, channel: aio_pika.abc.AbstractChannel, replies: str) -> None:
        self.answered = 0
        self._channel = channel
        self._replies = replies
        self._waiting: dict[str, asyncio.Future[bytes]] = {}

    async def on_reply(self, message: AbstractIncomingMessage) -> None:
        future = self._waiting.pop(message.correlation_id or "", None)
        if future is not None:
            future.set_result(message.body)

    async def call_forever(self) -> None:
        while True:
            correlation_id = str(uuid.uuid4())
            future = self._waiting[correlation_id] = asyncio.get_running_loop().create_future()
            message = aio_pika.Message(BODY, correlation_id=correlation_id, reply_to=self._replies)
            await self._channel.default_exchange.publish(message, routing_key=QUEUE)
            await future
            self.answered += 1


async def client(amqp_url: str, order: str) -> None:
    wanted = json.loads(order)
    connection = await aio_pika.connect_robust(amqp_url)
    channel = await connection.channel()
    await channel.declare_queue(QUEUE, durable=True)
    replies = await channel.declare_queue(exclusive=True)
    caller = Client(channel, replies.name)
    await replies.consume(caller.on_reply, no_ack=True)
    callers = [asyncio.create_task(caller.call_forever()) for _ in range(IN_FLIGHT)]
    pids = {"client": os.getpid(), **wanted["pids"]}
    save(
        await measure_rate(lambda: caller.answered, pids, wanted["seconds"]), Path(wanted["result"])
    )
    for task in callers:
        task.cancel()
    await connection.close()


if __name__ == "__main__":
    run = server if sys.argv[1] == "server" else client
    uvloop.run(run(*sys.argv[2:]))
