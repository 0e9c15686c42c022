"""Request and reply over the gateway's own carrier, with its hot lane or without.

Usage: python -m bench.peers.echo_gateway server AMQP_URL on|off
       python -m bench.peers.echo_gateway client AMQP_URL on|off ORDER

ORDER is JSON: {"seconds": 3, "pids": {"server": 1, ...}, "result": FILE}
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path

import uvloop

from bench.meter import measure_rate, save
from broker.contract import Broker, Delivery, Published
from broker.messages import Envelope, Reply
from broker.rabbitmq import RabbitMQBroker
from broker.topology import RequestQueue, reply_queue

IN_FLIGHT = 64
BODY = os.urandom(256)
QUEUE = RequestQueue("bench-echo", "ENTERPRISE", 10_000)
_NODE = "bench-echo"
_DEADLINE = 30.0


async def server(amqp_url: str, lane: str) -> None:
    async with RabbitMQBroker(amqp_url, lane=lane == "on") as broker:

        def on_delivery(delivery: Delivery) -> None:
            envelope = delivery.envelope
            reply = Reply(id=envelope.id, status=200, body=envelope.body)
            broker.reply(envelope.reply_to, reply, envelope.deadline)
            delivery.ack()

        await broker.declare([QUEUE])
        await broker.consume(QUEUE, 2 * IN_FLIGHT, on_delivery)
        await asyncio.Event().wait()


class Client:
    """Sends the next request as soon as an answer is there."""

    def __init__(self, broker: Broker) -> None:
        self.answered = 0
        self.refused = 0
        self._broker = broker
        self._sent = 0

    def send(self) -> None:
        self._sent += 1
        now = time.time()
        envelope = Envelope(
            id=str(self._sent),
            route="echo",
            service=QUEUE.service,
            tier=QUEUE.tier,
            method="GET",
            path="/",
            target="/",
            headers=(),
            body=BODY,
            principal=None,
            deadline=now + _DEADLINE,
            idempotent=True,
            reply_to=reply_queue(_NODE),
            published_at=now,
        )
        self._broker.publish(envelope, self._on_published)

    def on_reply(self, reply: Reply) -> None:
        self.answered += 1
        self.send()

    def _on_published(self, published: Published) -> None:
        self.refused += published is not Published.ACCEPTED


async def client(amqp_url: str, lane: str, order: str) -> None:
    wanted = json.loads(order)
    async with RabbitMQBroker(amqp_url, lane=lane == "on") as broker:
        caller = Client(broker)
        await broker.declare([QUEUE])
        await broker.receive_replies(_NODE, caller.on_reply)
        await broker.connected()
        for _ in range(IN_FLIGHT):
            caller.send()
        pids = {"client": os.getpid(), **wanted["pids"]}
        rate = await measure_rate(lambda: caller.answered, pids, wanted["seconds"])
        refused = caller.refused  # what is under way is lost when the broker is left
    if refused:
        sys.exit(f"{refused} requests were refused")
    save(rate, Path(wanted["result"]))


if __name__ == "__main__":
    run = server if sys.argv[1] == "server" else client
    uvloop.run(run(*sys.argv[2:]))
