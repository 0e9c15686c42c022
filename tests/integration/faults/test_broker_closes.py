"""The broker deletes queues, closes connections and channels, and stays."""

import asyncio
from pathlib import Path

from tests.integration.faults.accounting import Account, outcomes, problems, requests, whole
from tests.integration.faults.amqp import Bystander
from tests.integration.faults.plant import Plan, plant, total
from tests.integration.faults.waiting import eventually
from tests.servers import RabbitMQNode


async def test_queue_deleted(tmp_path: Path, amqp_url: str) -> None:
    """Only what was in the queue is lost; it is declared and consumed again."""
    plan = Plan(ingresses=2, dispatchers=2, concurrency=16)
    async with plant(tmp_path, amqp_url, plan) as built:
        crowd = await built.crowd()
        built.ledger.gate.clear()
        asking = asyncio.create_task(crowd.ask(requests(gets=50, posts=50), wait=4))
        await built.ledger.arrived(plan.dispatchers * plan.concurrency)
        await built.pending(100)
        async with Bystander.at(amqp_url) as bystander:
            await bystander.delete(built.queue())
        await built.consumers(2, within=5)
        built.ledger.gate.set()
        during = await asking
        after = await crowd.ask(requests(gets=50, posts=50), wait=20)
        seen = built.ledger.seen

    assert {status for _, status in outcomes(during)} == {200, 504}
    assert set(problems(during)) == {("deadline-exceeded", "unknown")}
    assert outcomes(after) == {("GET", 200): 50, ("POST", 200): 50}
    assert Account.of([*during, *after], seen) == whole(200)


async def test_connections_closed(tmp_path: Path, node: RabbitMQNode, own_vhost: str) -> None:
    """When the broker closes all connections under load, each request still has one answer."""
    async with plant(tmp_path, own_vhost, Plan(ingresses=2, dispatchers=2)) as built:
        crowd = await built.crowd()
        built.ledger.gate.clear()
        during = asyncio.create_task(crowd.ask(requests(gets=150, posts=150), wait=30))
        await built.ledger.arrived(128)
        vhost = own_vhost.rpartition("/")[2]
        await asyncio.to_thread(node.ctl, "close_all_connections", "--vhost", vhost, "maintenance")
        await built.consumers(2, within=5)
        built.ledger.gate.set()
        results = await during
        await built.ready()
        after = await crowd.ask(requests(gets=50, posts=50), wait=20)
        seen = built.ledger.seen

    gets = [result for result in results if result.request.method == "GET"]
    assert outcomes(gets) == {("GET", 200): 150}
    assert outcomes(after) == {("GET", 200): 50, ("POST", 200): 50}
    assert Account.of([*results, *after], seen) == whole(400)


async def test_channel_closed(tmp_path: Path, node: RabbitMQNode, own_vhost: str) -> None:
    """A call that outlives the broker's patience with a consumer is made once, and answered."""
    impatient = "application:set_env(rabbit, consumer_timeout, 500), "
    impatient += "application:set_env(rabbit, channel_tick_interval, 250)."
    patient = "application:set_env(rabbit, consumer_timeout, 1800000), "
    patient += "application:set_env(rabbit, channel_tick_interval, 60000)."
    await asyncio.to_thread(node.ctl, "eval", impatient)
    try:
        async with plant(tmp_path, own_vhost, Plan()) as built:
            crowd = await built.crowd()
            built.ledger.gate.clear()
            long = asyncio.create_task(crowd.ask(requests(gets=1), wait=60))

            async def closed() -> bool:
                return await total(built.dispatchers, "broker_reconnects_total") >= 2

            await eventually(closed, "two closed channels")
            built.ledger.gate.set()
            results = await long
            after = await crowd.ask(requests(gets=50, posts=50), wait=20)
            seen = built.ledger.seen
    finally:
        await asyncio.to_thread(node.ctl, "eval", patient)

    assert outcomes(results) == {("GET", 200): 1}
    assert set(seen.values()) == {1}
    assert outcomes(after) == {("GET", 200): 50, ("POST", 200): 50}
    assert Account.of([*results, *after], seen) == whole(101)
