"""The gateway of the tutorials: aiohttp and aio-pika on both sides, as their own pages show them.

Usage: python -m bench.peers.textbook front AMQP_URL PORT
       python -m bench.peers.textbook back AMQP_URL UPSTREAM_URL
"""

import asyncio
import json
import sys
import uuid

import aio_pika
import aiohttp
import uvloop
from aio_pika.abc import AbstractIncomingMessage
from aiohttp import web

QUEUE = "bench.textbook"


async def front(amqp_url: str, port: str) -> None:
    connection = await aio_pika.connect_robust(amqp_url)
    channel = await connection.channel()
    replies = await channel.declare_queue(exclusive=True)
    waiting: dict[str, asyncio.Future[AbstractIncomingMessage]] = {}

    async def on_reply(message: AbstractIncomingMessage) -> None:
        future = waiting.pop(message.correlation_id or "", None)
        if future is not None:
            future.set_result(message)

    async def handle(request: web.Request) -> web.Response:
        call = {
            "method": request.method,
            "path": request.path_qs,
            "headers": dict(request.headers),
            "body": await request.text(),
        }
        correlation_id = str(uuid.uuid4())
        waiting[correlation_id] = asyncio.get_running_loop().create_future()
        message = aio_pika.Message(
            json.dumps(call).encode(), correlation_id=correlation_id, reply_to=replies.name
        )
        await channel.default_exchange.publish(message, routing_key=QUEUE)
        answer = json.loads((await waiting[correlation_id]).body)
        return web.Response(
            status=answer["status"], text=answer["body"], content_type=answer["content_type"]
        )

    await replies.consume(on_reply, no_ack=True)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(port), backlog=4096).start()
    await asyncio.Event().wait()


async def back(amqp_url: str, upstream: str) -> None:
    connection = await aio_pika.connect_robust(amqp_url)
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=128)
    queue = await channel.declare_queue(QUEUE, durable=True)
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def on_message(message: AbstractIncomingMessage) -> None:
        async with message.process():
            call = json.loads(message.body)
            async with session.request(
                call["method"],
                upstream + call["path"],
                headers=call["headers"],
                data=call["body"] or None,
            ) as response:
                answer = {
                    "status": response.status,
                    "content_type": response.content_type,
                    "body": await response.text(),
                }
            reply = aio_pika.Message(
                json.dumps(answer).encode(), correlation_id=message.correlation_id
            )
            await channel.default_exchange.publish(reply, routing_key=message.reply_to or "")

    await queue.consume(on_message)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run({"front": front, "back": back}[sys.argv[1]](*sys.argv[2:]))
