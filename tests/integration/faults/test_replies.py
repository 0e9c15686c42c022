"""Replies that nobody waits for: late, twice, or of an ingress that is gone."""

import asyncio
import signal
from pathlib import Path

from broker.messages import Envelope, Reply
from tests.integration.faults.accounting import (
    Account,
    Request,
    outcomes,
    problems,
    requests,
    whole,
)
from tests.integration.faults.amqp import Bystander
from tests.integration.faults.clients import Client
from tests.integration.faults.plant import Plan, plant, total
from tests.integration.faults.waiting import eventually


def reply_to(envelope: Envelope) -> Reply:
    """What the ledger would answer."""
    nonce = envelope.path.rpartition("/")[2]
    body = b'{"path": "%s", "header": "%s", "body": "%s"}'
    body %= (envelope.path.encode(), nonce.encode(), envelope.body)
    return Reply(id=envelope.id, status=200, body=body)


async def test_late_and_double_replies_go_to_nobody(tmp_path: Path, amqp_url: str) -> None:
    """They are dropped and counted, and the next requests of the same clients get their own."""
    async with (
        plant(tmp_path, amqp_url, Plan(dispatchers=0)) as built,
        Bystander.at(amqp_url) as dispatcher,
    ):
        crowd = await built.crowd()
        waiting = asyncio.create_task(crowd.ask(requests(gets=50, posts=50), wait=2))
        missed = [await dispatcher.take(built.queue()) for _ in range(100)]
        late = await waiting
        asking = asyncio.create_task(crowd.ask(requests(gets=50, posts=50), wait=30))
        for stale in missed:
            envelope = await dispatcher.take(built.queue())
            await dispatcher.reply(stale.reply_to, reply_to(stale))
            await dispatcher.reply(envelope.reply_to, reply_to(envelope))
            await dispatcher.reply(envelope.reply_to, reply_to(envelope))
        results = await asking

        async def counted() -> bool:
            return await total(built.ingresses, "ingress_replies_unmatched_total") == 200

        await eventually(counted, "200 replies dropped")

    assert problems(late) == {("deadline-exceeded", "unknown"): 100}
    assert outcomes(results) == {("GET", 200): 50, ("POST", 200): 50}
    assert Account.of([*late, *results], {}) == whole(200)


async def test_replies_of_an_ingress_that_is_gone(tmp_path: Path, amqp_url: str) -> None:
    """They are dropped and counted by the dispatcher, which goes on serving another ingress."""
    async with (
        plant(tmp_path, amqp_url, Plan(ingresses=2, dispatchers=0)) as built,
        Bystander.at(amqp_url) as bystander,
    ):
        gone = built.ingresses[0]
        clients = [Client(lambda: gone.public) for _ in range(50)]
        for client in clients:
            await client.send(Request(), wait=60)
        await built.pending(50)
        built.ingresses.remove(gone)
        envelope = await bystander.take(built.queue())
        gone.signal(signal.SIGKILL)
        await gone.ended()
        await bystander.delete(envelope.reply_to)  # as the broker does a minute later
        await built.start_dispatcher()

        async def counted() -> bool:
            return await total(built.dispatchers, "broker_replies_dropped_total") == 49

        await eventually(counted, "49 replies dropped")
        for client in clients:
            client.leave()
        crowd = await built.crowd()
        after = await crowd.ask(requests(gets=50, posts=50), wait=20)
        seen = built.ledger.seen

    assert outcomes(after) == {("GET", 200): 50, ("POST", 200): 50}
    assert Account.of(after, seen) == whole(100)
