"""The broker dies, is away, takes nothing, says nothing."""

import asyncio
from pathlib import Path

from tests.integration.faults.accounting import Account, outcomes, problems, requests, whole
from tests.integration.faults.partition import Partition
from tests.integration.faults.plant import Plan, plant, total
from tests.servers import RabbitMQNode

BACK_WITHIN = 10.0  # seconds from the broker's port to the last consumer
NOTICED_WITHIN = 20.0  # seconds of silence


async def test_killed_with_a_thousand_requests_in_flight(
    tmp_path: Path, node: RabbitMQNode, own_vhost: str
) -> None:
    """Every request gets one answer: GETs theirs, POSTs at once that nobody knows their outcome."""
    plan = Plan(ingresses=2, dispatchers=2)
    async with plant(tmp_path, own_vhost, plan) as built:
        crowd = await built.crowd()
        built.ledger.gate.clear()
        asking = asyncio.create_task(crowd.ask(requests(gets=500, posts=500), wait=60))
        await built.ledger.arrived(plan.dispatchers * plan.concurrency)
        await built.pending(1000)
        await asyncio.to_thread(node.kill)
        await built.pending(500)
        await asyncio.to_thread(node.start)
        await built.consumers(plan.dispatchers, BACK_WITHIN)
        built.ledger.gate.set()
        results = await asking
        await built.ready()
        after = await crowd.ask(requests(gets=50, posts=50), wait=20)
        seen = built.ledger.seen

    assert outcomes(results) == {("GET", 200): 500, ("POST", 503): 500}
    assert problems(results) == {("broker-unavailable", "unknown"): 500}
    assert outcomes(after) == {("GET", 200): 50, ("POST", 200): 50}
    assert Account.of([*results, *after], seen) == whole(1100)


async def test_away(tmp_path: Path, node: RabbitMQNode, own_vhost: str) -> None:
    """New requests are told at once and when to come back; no other waits past its deadline."""
    async with plant(tmp_path, own_vhost, Plan()) as built:
        crowd = await built.crowd()
        built.ledger.gate.clear()
        in_flight = asyncio.create_task(crowd.ask(requests(gets=50), wait=4))
        await built.ledger.arrived(50)
        await asyncio.to_thread(node.kill)
        await built.not_ready(within=3)
        before = await total(built.ingresses, "process_resident_memory_bytes")
        refused = []
        for _ in range(5):
            refused += await crowd.ask(requests(gets=300, posts=300), wait=30)
        growth = await total(built.ingresses, "process_resident_memory_bytes") - before
        late = await in_flight
        await asyncio.to_thread(node.start)
        built.ledger.gate.set()
        await built.ready(BACK_WITHIN)
        after = await crowd.ask(requests(gets=50, posts=50), wait=20)
        seen = built.ledger.seen

    assert problems(refused) == {("broker-unavailable", "no"): 3000}
    assert all(int(result.answer.headers["retry-after"]) > 0 for result in refused if result.answer)
    assert problems(late) == {("deadline-exceeded", "unknown"): 50}
    assert outcomes(after) == {("GET", 200): 50, ("POST", 200): 50}
    assert Account.of([*refused, *late, *after], seen) == whole(3150)
    assert growth < 50 * 1024**2


async def test_memory_alarm(tmp_path: Path, node: RabbitMQNode, own_vhost: str) -> None:
    """While the broker takes nothing, new requests are refused; those under way are answered."""
    async with plant(tmp_path, own_vhost, Plan()) as built:
        crowd = await built.crowd()
        built.ledger.gate.clear()
        under_way = asyncio.create_task(crowd.ask(requests(gets=25, posts=25), wait=60))
        await built.ledger.arrived(50)
        await asyncio.to_thread(node.ctl, "set_vm_memory_high_watermark", "0.0000001")
        try:
            # The broker blocks whom it hears publish; this one is on its way meanwhile.
            first = asyncio.create_task(crowd.ask(requests(gets=1), wait=60))
            await built.ingresses[0].healthy(lambda _, body: body["checks"]["broker"] == "blocked")
            refused = await crowd.ask(requests(gets=100, posts=100), wait=30)
            built.ledger.gate.set()
            await built.dispatchers[0].healthy(
                lambda _, body: body["checks"]["broker"] == "blocked"
            )
        finally:
            await asyncio.to_thread(node.ctl, "set_vm_memory_high_watermark", "0.4")
        await built.ready(within=5)
        after = await crowd.ask(requests(gets=50, posts=50), wait=20)
        answered = await under_way
        blocking = await first
        seen = built.ledger.seen

    assert outcomes(refused) == {("GET", 503): 100, ("POST", 503): 100}
    assert problems(refused) == {("broker-unavailable", "no"): 200}
    assert problems(blocking) == {("broker-unavailable", "unknown"): 1}
    assert outcomes(answered) == {("GET", 200): 25, ("POST", 200): 25}
    assert outcomes(after) == {("GET", 200): 50, ("POST", 200): 50}
    assert Account.of([*refused, *answered, *blocking, *after], seen) == whole(351)


async def test_silent(tmp_path: Path, amqp_url: str) -> None:
    """A broker that neither answers nor closes is noticed, and is as good as away."""
    async with (
        Partition.before(amqp_url) as partition,
        plant(tmp_path, partition.url, Plan()) as built,
    ):
        crowd = await built.crowd()
        built.ledger.gate.clear()
        under_way = asyncio.create_task(crowd.ask(requests(gets=25, posts=25), wait=60))
        await built.ledger.arrived(50)
        partition.open.clear()
        unaware = await crowd.ask(requests(gets=10, posts=10), wait=2)
        await built.not_ready(NOTICED_WITHIN)
        refused = await crowd.ask(requests(gets=100, posts=100), wait=30)
        partition.open.set()
        await built.ready(BACK_WITHIN)
        built.ledger.gate.set()
        answered = await under_way
        after = await crowd.ask(requests(gets=50, posts=50), wait=20)
        seen = built.ledger.seen

    assert problems(unaware) == {("deadline-exceeded", "unknown"): 20}
    assert problems(refused) == {("broker-unavailable", "no"): 200}
    assert outcomes(answered) == {("GET", 200): 25, ("POST", 503): 25}
    assert outcomes(after) == {("GET", 200): 50, ("POST", 200): 50}
    assert Account.of([*unaware, *refused, *answered, *after], seen) == whole(370)
