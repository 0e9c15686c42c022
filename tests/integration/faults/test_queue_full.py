"""More requests than a queue may hold."""

import asyncio
from pathlib import Path

from tests.integration.faults.accounting import Account, outcomes, problems, requests, whole
from tests.integration.faults.plant import Plan, plant, total
from tests.integration.faults.waiting import eventually


async def test_refusals_are_the_brokers_own(tmp_path: Path, amqp_url: str) -> None:
    """Who is refused was refused by the broker and never called; everybody else is answered."""
    plan = Plan(ingresses=2, queue_limit=50, concurrency=8)
    async with plant(tmp_path, amqp_url, plan) as built:
        crowd = await built.crowd()
        built.ledger.gate.clear()
        asked = requests(gets=150, posts=150)
        asking = asyncio.create_task(crowd.ask(asked, wait=60))

        async def refusals() -> float:
            label = 'result="QUEUE_FULL"'
            return await total(built.ingresses, "ingress_not_accepted_total", label)

        async def many_refused() -> bool:
            return await refusals() >= 200

        await eventually(many_refused, "200 refusals")
        built.ledger.gate.set()
        results = await asking
        refused = await refusals()
        seen = built.ledger.seen

    told = [result for result in results if result.answer and result.answer.status == 503]
    assert problems(told) == {("queue-full", "no"): refused}
    assert all(result.answer.headers["retry-after"] == "1" for result in told if result.answer)
    assert {result.request.nonce for result in told}.isdisjoint(seen)
    assert {status for _, status in outcomes(results)} == {200, 503}
    assert len(seen) == 300 - refused
    assert Account.of(results, seen) == whole(300)
