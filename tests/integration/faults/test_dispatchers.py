"""A dispatcher dies with calls under way."""

import asyncio
import signal
from pathlib import Path

from tests.integration.faults.accounting import Account, outcomes, problems, requests, whole
from tests.integration.faults.plant import Plan, plant, total


async def test_killed_in_mid_call(tmp_path: Path, amqp_url: str) -> None:
    """Another one answers its GETs; its POSTs are not repeated, and their clients are told so."""
    plan = Plan(dispatchers=2, concurrency=16)
    async with plant(tmp_path, amqp_url, plan) as built:
        crowd = await built.crowd()
        victim = built.dispatchers[0]
        built.ledger.gate.clear()
        asked = requests(gets=50, posts=50)
        asking = asyncio.create_task(crowd.ask(asked, wait=5))
        await built.ledger.arrived(plan.dispatchers * plan.concurrency)
        await built.pending(100)
        victim.signal(signal.SIGKILL)
        await victim.ended()
        built.dispatchers.remove(victim)
        built.ledger.gate.set()
        results = await asking
        redelivered = await total(built.dispatchers, "dispatcher_redelivered_total")
        after = await crowd.ask(requests(gets=50, posts=50), wait=20)
        seen = built.ledger.seen

    posts = [result for result in results if result.request.method == "POST"]
    unknown = {("outcome-unknown", "unknown"), ("deadline-exceeded", "unknown")}
    assert redelivered > 0
    assert outcomes(results)["GET", 200] == 50
    assert {status for _, status in outcomes(posts)} <= {200, 502, 504}
    assert set(problems(posts)) <= unknown
    assert problems(posts)["deadline-exceeded", "unknown"] > 0  # some were with the upstream
    assert outcomes(after) == {("GET", 200): 50, ("POST", 200): 50}
    assert Account.of([*results, *after], seen) == whole(200)
